package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fileOf makes a file below a proc root and returns the root.
func fileOf(t testing.TB, text []byte) string {
	t.Helper()
	proc := t.TempDir()
	if err := os.WriteFile(filepath.Join(proc, "file"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return proc
}

// TestReadPieces checks that the pieces of a file add up to the file, and that each
// piece ends at the end of a line.
func TestReadPieces(t *testing.T) {
	many := []byte(strings.Repeat("0123456789 abcdefghijklmnopqrstuvwxyz\n", 3*readFileStart/38))
	long := bytes.Repeat([]byte("x"), 2*readFileStart+1)
	for name, text := range map[string][]byte{
		"empty":                 {},
		"one line":              []byte("a\n"),
		"no newline":            []byte("a\nb"),
		"many lines":            many,
		"the last is not ended": append(slices.Clone(many), "end"...),
		"a whole piece":         many[:readFileStart],
		"a newline at its end":  append(bytes.Repeat([]byte("y"), readFileStart-1), '\n'),
		"a line over pieces":    slices.Concat(many, long, []byte("\n"), many),
		"only a long line":      long,
		"zero bytes":            bytes.Repeat([]byte{0, '\n'}, readFileStart),
	} {
		t.Run(name, func(t *testing.T) {
			pieces, err := readPieces(fileOf(t, text), "file")
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for piece := range pieces {
				if n := len(got) + len(piece); n < len(text) && !bytes.HasSuffix(piece, []byte("\n")) {
					t.Errorf("a piece ends within a line, at %d", n)
				}
				got = append(got, piece...)
			}
			if !bytes.Equal(got, text) {
				t.Errorf("%d bytes, want the %d of the file", len(got), len(text))
			}
		})
	}
}

// TestReadPiecesStops breaks off early. The goroutine that reads ahead must end, too.
func TestReadPiecesStops(t *testing.T) {
	proc := fileOf(t, bytes.Repeat([]byte("line\n"), 4*piecesAhead*readFileStart/5))
	before := openFiles(t)
	for range 20 {
		pieces, err := readPieces(proc, "file")
		if err != nil {
			t.Fatal(err)
		}
		for range pieces {
			break
		}
		for range pieces {
			break // no harm
		}
	}
	for range 1000 {
		if openFiles(t) == before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d files are open, %d before", openFiles(t), before)
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := listDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestReadPiecesFails reads a file that does not exist, and one that cannot be read.
func TestReadPiecesFails(t *testing.T) {
	proc := t.TempDir()
	for name, want := range map[string]string{"none": "open", ".": "read"} {
		_, err := readPieces(proc, name)
		if _, all := readFile(proc, name); fmt.Sprint(all) != fmt.Sprint(err) {
			t.Errorf("%s: %v, and read at once %v", name, err, all)
		}
		if e := new(fs.PathError); !errors.As(err, &e) || e.Op != want {
			t.Errorf("%s: %v, want one of %s", name, err, want)
		}
	}
}
