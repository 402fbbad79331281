package table

import (
	"testing"
	"unsafe"
)

// A table may have hundreds of thousands of rows, and tens of thousands in FIN_WAIT2.
func TestRowSize(t *testing.T) {
	const mostEnding = 104
	if n := unsafe.Sizeof(ending{}); n > mostEnding {
		t.Errorf("what is known of an end has %d bytes, at most %d", n, mostEnding)
	}
	const most = 256 // a size of the allocator: a byte more takes 32
	if n := unsafe.Sizeof(row{}); n > most {
		t.Errorf("a row has %d bytes, at most %d", n, most)
	}
}
