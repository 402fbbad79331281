package stdio

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Patient writes to a file that may be non-blocking, and waits where that has no
// room. Who shares the file (a shell, ssh, another program of the pipeline) can make
// it so at any time: O_NONBLOCK belongs to the open file, not to the descriptor.
type Patient struct{ File *os.File }

func (p Patient) Write(data []byte) (n int, err error) {
	for {
		m, err := p.File.Write(data[n:])
		n += m
		if !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
		if err := waitWritable(int(p.File.Fd())); err != nil {
			return n, err
		}
	}
}

// Whole returns how many bytes a write keeps together, whoever else writes and whenever
// the process ends: those of PIPE_BUF where the file is a pipe (pipe(7)). 0: there is no
// such number.
func (p Patient) Whole() int {
	const pipeBuf = 4096 // include/uapi/linux/limits.h
	var st unix.Stat_t
	if unix.Fstat(int(p.File.Fd()), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return 0
	}
	return pipeBuf
}

// Gone returns an error where nobody reads the file any more: a pipe without a reader,
// a terminal that is hung up.
func (p Patient) Gone() error {
	fds := []unix.PollFd{{Fd: int32(p.File.Fd())}}
	_, _ = unix.Poll(fds, 0) // where it fails nothing is known
	if fds[0].Revents&(unix.POLLERR|unix.POLLHUP) == 0 {
		return nil
	}
	if p.Whole() > 0 {
		return &os.PathError{Op: "write", Path: p.File.Name(), Err: unix.EPIPE}
	}
	return &os.PathError{Op: "write", Path: p.File.Name(), Err: unix.EIO}
}

// waitWritable waits until a file takes more, or until its next write fails.
func waitWritable(fd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// ErrUnread says that nobody can read what a run would write.
var ErrUnread = errors.New("stdout is closed (or it is /dev/null, open for reading too): nothing to write to")

// CheckReadable returns ErrUnread where stdout was closed when this process began.
// The Go runtime has then opened /dev/null there, for reading and writing (checkfds,
// runtime/fds_unix.go, Go 1.26). A shell's >/dev/null is open for writing alone. A
// daemon's is open for both, but it is one open file with stdin and stderr.
func CheckReadable(file *os.File) error {
	fd := int(file.Fd())
	if !isOpenNull(fd) {
		return nil
	}
	for other := range 3 {
		if other != fd && sameFile(other, fd) {
			return nil
		}
	}
	return ErrUnread
}

// isOpenNull reports whether a descriptor is /dev/null, open for reading and writing.
func isOpenNull(fd int) bool {
	var st, null unix.Stat_t
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || unix.Fstat(fd, &st) != nil || unix.Stat(os.DevNull, &null) != nil {
		return false
	}
	return flags&unix.O_ACCMODE == unix.O_RDWR && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == null.Rdev
}

// sameFile reports whether two descriptors of this process are one open file.
func sameFile(a, b int) bool {
	const kcmpFile = 0 // KCMP_FILE, include/uapi/linux/kcmp.h
	pid := uintptr(os.Getpid())
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, uintptr(a), uintptr(b), 0)
	return errno == 0 && order == 0
}
