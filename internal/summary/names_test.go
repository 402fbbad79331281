package summary

import (
	"testing"

	"github.com/nettrace/nettrace/internal/field"
)

// TestNames checks that each of the names is one that a list takes, in the stream or in
// the views.
func TestNames(t *testing.T) {
	names := Names()
	if len(names) < 40 {
		t.Fatalf("only %d names", len(names))
	}
	for _, name := range names {
		_, stream := Parse(&Options{List: name, In: field.Stream | field.Conns | field.Others})
		_, view := Parse(&Options{List: name, In: field.View})
		if stream != nil && view != nil {
			t.Errorf("%s: %v; %v", name, stream, view)
		}
	}
}
