package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// mode is that of new files, less the umask: addresses and programs of a host are not
// for everyone.
const mode = 0o640

// stallInterval is how long a Write waits at a time for a reader that takes nothing.
// The Sink looks after it whether something else is due.
const stallInterval = 200 * time.Millisecond

// opened is an open file.
type opened struct {
	*os.File
	dev, ino uint64
	regular  bool // it has a size, and can be locked
	waits    bool // a Write may wait for a reader
	unended  bool // its last line has no end, from an earlier run
	size     int64
	born     time.Time // has a monotonic reading: the wall clock may be set
}

// errUnread says that a FIFO has no reader.
var errUnread = errors.New("nobody reads this FIFO")

// isUnread reports whether an error says that a FIFO has no reader yet.
func isUnread(err error) bool { return errors.Is(err, errUnread) }

// openPath opens a file to append to, and locks it. It does not wait for the reader of
// a FIFO.
func openPath(path string, now time.Time) (*opened, error) {
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, mode)
		if err != nil {
			return nil, explain(path, err)
		}
		o := &opened{File: f}
		if err := o.study(now); err != nil {
			_ = f.Close()
			return nil, err
		}
		if !o.regular || o.isAt(path) {
			return o, nil
		}
		_ = f.Close() // another run has rotated it before the lock was ours
	}
}

// explain adds the way out to an error of opening.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, unix.ENXIO):
		if st, err := os.Stat(path); err == nil && st.Mode()&fs.ModeSocket != 0 {
			return fmt.Errorf("open %s: it is a socket: name it unix:%s or unixgram:%s", path, path, path)
		}
		return fmt.Errorf("open %s: %w yet", path, errUnread)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w (its directory %s is missing)", err, filepath.Dir(path))
	}
	return err
}

// study finds out what was opened, and locks it.
func (o *opened) study(now time.Time) error {
	var st unix.Stat_t
	if err := o.control(func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return fmt.Errorf("stat %s: %w", o.Name(), err)
	}
	o.dev, o.ino, o.born = st.Dev, st.Ino, now
	o.regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	o.waits = o.SetWriteDeadline(time.Time{}) == nil
	if !o.regular {
		return nil
	}
	o.size = st.Size
	if err := o.lock(); err != nil {
		return err
	}
	if o.size > 0 {
		o.studyOld()
	}
	return nil
}

// control calls the kernel with the descriptor. (Fd would make it a blocking one.)
func (o *opened) control(call func(fd int) error) error {
	raw, err := o.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = call(int(fd)) }); err != nil {
		return err
	}
	return result
}

// lock keeps a second run from the file. File systems without locks do without.
func (o *opened) lock() error {
	err := o.control(func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("open %s: another nettrace writes to it (it is locked): give each a file of its own", o.Name())
	}
	return nil
}

// studyOld finds out what an earlier run has left: how old it is, and whether its last
// line has an end. What cannot be found out is taken to be well.
func (o *opened) studyOld() {
	var st unix.Statx_t
	err := o.control(func(fd int) error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	})
	if err == nil && st.Mask&unix.STATX_BTIME != 0 {
		// From here on a clock counts that nobody sets: the one of now.
		if age := o.born.Round(0).Sub(time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))); age > 0 {
			o.born = o.born.Add(-age)
		}
	}
	reader, err := os.Open(o.Name())
	if err != nil {
		return
	}
	defer reader.Close()
	var last [1]byte
	n, _ := reader.ReadAt(last[:], o.size-1)
	o.unended = n == 1 && last[0] != '\n'
}

// endTorn ends the line that an earlier run has left without its end.
func (o *opened) endTorn() error {
	if !o.unended {
		return nil
	}
	n, err := o.append([]byte{'\n'})
	o.unended = n == 0
	return err
}

// isAt reports whether a path leads to the file.
func (o *opened) isAt(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Dev == o.dev && st.Ino == o.ino
}

// truncated takes the size from the file. It reports whether that is less than it was:
// O_APPEND goes on at the new end then.
func (o *opened) truncated() bool {
	var st unix.Stat_t
	if !o.regular || o.control(func(fd int) error { return unix.Fstat(fd, &st) }) != nil {
		return false
	}
	less := st.Size < o.size
	o.size = st.Size
	return less
}

// append writes. It returns early without an error where a reader takes nothing.
func (o *opened) append(data []byte) (int, error) {
	if o.waits {
		_ = o.SetWriteDeadline(time.Now().Add(stallInterval)) // study has tried it
	}
	n, err := o.Write(data)
	o.size += int64(n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, nil
	}
	return n, err
}
