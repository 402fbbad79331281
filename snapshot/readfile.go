package snapshot

import (
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// readFileStart is the first size of the buffer for a file. The size of a proc
// file is not known before it is read, and small reads of a large table cost
// much, so it starts generous.
const readFileStart = 64 << 10

// readFile reads a file below a proc root. Its error is one of opening it, as
// an *fs.PathError. What a failing read gave before stands: tables of the
// kernel end early rather than not at all.
//
// It asks the kernel directly: an *os.File has the runtime wait for the file,
// which takes more calls than reading most views.
func readFile(proc, name string) ([]byte, error) {
	path := filepath.Join(proc, name)
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := make([]byte, 0, readFileStart)
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, b[len(b):cap(b)]) })
		if err != nil && len(b) == 0 {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if err != nil || n == 0 {
			return b, nil
		}
		b = b[:len(b)+n]
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
	}
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
