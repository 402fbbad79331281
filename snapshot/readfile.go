package snapshot

import (
	"bytes"
	"errors"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// readFileStart is the first size of the buffer for a file. The size of a proc
// file is not known before it is read, and small reads of a large table cost
// much, so it starts generous.
const readFileStart = 64 << 10

// readFile reads a file below a proc root. Its error is one of opening it, as
// an *fs.PathError. What a failing read gave before stands: tables of the
// kernel end early rather than not at all.
func readFile(proc, name string) ([]byte, error) {
	f, err := openFile(proc, name)
	if err != nil {
		return nil, err
	}
	defer f.close()
	b := make([]byte, 0, readFileStart)
	for {
		var end bool
		if b, end, err = f.fill(b); end {
			return b, err
		}
		b = slices.Grow(b, 1)
	}
}

// readPieces reads a file as readFile does and yields it in pieces of whole lines:
// a large one is read ahead while the pieces that came are looked at. They have to
// be gone over, once; where that stops early the rest is not read.
func readPieces(proc, name string) (iter.Seq[[]byte], error) {
	f, err := openFile(proc, name)
	if err != nil {
		return nil, err
	}
	b, end, err := f.fill(make([]byte, 0, readFileStart))
	if end {
		f.close()
		return slices.Values([][]byte{b}), err
	}
	var (
		pieces  = make(chan []byte, piecesAhead)
		stopped = make(chan struct{})
		stop    = sync.OnceFunc(func() { close(stopped) })
	)
	go func() {
		defer f.close()
		defer close(pieces)
		for !end {
			if whole := bytes.LastIndexByte(b, '\n') + 1; whole == 0 {
				b = slices.Grow(b, len(b))
			} else {
				select {
				case pieces <- b[:whole]:
				case <-stopped:
					return
				}
				b = append(make([]byte, 0, max(readFileStart, 2*(len(b)-whole))), b[whole:]...)
			}
			b, end, _ = f.fill(b) // some of it was read
		}
		select {
		case pieces <- b:
		case <-stopped:
		}
	}()
	return func(yield func([]byte) bool) {
		defer stop()
		for piece := range pieces {
			if !yield(piece) {
				return
			}
		}
	}, nil
}

// piecesAhead is how many pieces may wait, a megabyte.
const piecesAhead = 16

// file is an open file of a proc root. It asks the kernel directly: an *os.File
// has the runtime wait for the file, which takes more calls than reading most views.
type file struct {
	path string
	fd   int
}

func openFile(proc, name string) (file, error) {
	path := filepath.Join(proc, name)
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return file{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return file{path, fd}, nil
}

// CheckSocketFile returns the error that ReadSockets would, and one if the file is
// not the kernel's own: something else may be mounted in its place.
func CheckSocketFile(proc string, p Protocol, ipv6 bool) error {
	f, err := openFile(proc, socketFile(p, ipv6))
	if err != nil {
		return err
	}
	defer f.close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(f.fd, &fs); err != nil {
		return err
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		return errors.ErrUnsupported
	}
	return nil
}

func (f file) close() { _ = unix.Close(f.fd) } // opened for reading

// fill reads on to the end of b's capacity, or to the end of the file. It fails
// when the first read does and there is nothing in b.
func (f file) fill(b []byte) (filled []byte, end bool, err error) {
	for len(b) < cap(b) {
		n, err := retry(func() (int, error) { return unix.Read(f.fd, b[len(b):cap(b)]) })
		switch {
		case n > 0:
		case err != nil && len(b) == 0:
			return nil, true, &fs.PathError{Op: "read", Path: f.path, Err: err}
		default:
			return b, true, nil
		}
		b = b[:len(b)+n]
	}
	return b, false, nil
}

// retry makes a system call until no signal interrupts it.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
