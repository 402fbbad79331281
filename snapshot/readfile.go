package snapshot

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// readFileStart is the first size of the buffer for a file. The size of a proc
// file is not known before it is read, and small reads of a large table cost
// much, so it starts generous.
const readFileStart = 64 << 10

// readFile reads a file below a proc root. Its error is one of opening it, as
// an *fs.PathError. What a failing read gave before stands: tables of the
// kernel end early rather than not at all.
func readFile(proc, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(proc, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 0, readFileStart)
	for {
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err != nil {
			if !errors.Is(err, io.EOF) && len(b) == 0 {
				return nil, err
			}
			return b, nil
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
	}
}
