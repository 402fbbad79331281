package stdio

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWholeAndGone looks at a pipe with and without a reader, and at a file.
func TestWholeAndGone(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pipe := NewOut(Patient{File: out}, false)
	if n := pipe.Whole(); n != 4096 {
		t.Errorf("a pipe keeps %d bytes whole", n)
	}
	if err := pipe.Gone(); err != nil {
		t.Errorf("the reader is gone: %v", err)
	}
	_ = in.Close()
	if err := pipe.Gone(); !errors.Is(err, unix.EPIPE) {
		t.Errorf("without a reader: %v", err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, o := range []*Out{NewOut(Patient{File: file}, false), NewOut(io.Discard, false)} {
		if n, err := o.Whole(), o.Gone(); n != 0 || err != nil {
			t.Errorf("a file: %d, %v", n, err)
		}
	}
}
