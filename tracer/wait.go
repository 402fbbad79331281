package tracer

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// waiter waits for files that others wake the reader by. The goroutine waits in the poller
// of the Go runtime and not in a system call of its own: a thread that stays in one is
// looked after by the runtime's monitor, which wakes every 20 µs for that and took a fifth
// of the tracer's CPU time under load.
type waiter struct {
	file *os.File // an epoll instance, which the poller watches
	conn syscall.RawConn
}

// newWaiter waits for some files. It is edge-triggered: it sees that somebody wakes it, not
// that there is something to read.
func newWaiter(files ...int) (waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return waiter{}, fmt.Errorf("wait for the kernel: %w", err)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	for _, fd := range files {
		err = errors.Join(err, unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &event))
	}
	err = errors.Join(err, unix.SetNonblock(epoll, true)) // else os.NewFile leaves the poller out
	w := waiter{file: os.NewFile(uintptr(epoll), "epoll")}
	if err == nil {
		w.conn, err = w.file.SyscallConn()
	}
	if err != nil {
		return waiter{}, fmt.Errorf("wait for the kernel: %w", errors.Join(err, w.close()))
	}
	return w, nil
}

// wait waits until somebody wakes the reader, but not longer than d. A wake that came
// since the last wait counts.
func (w *waiter) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if err := w.file.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	err := w.conn.Read(takeWake)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// takeWake reports whether somebody woke the reader, and forgets it.
func takeWake(epoll uintptr) bool {
	var events [1]unix.EpollEvent
	n, err := unix.EpollWait(int(epoll), events[:], 0)
	return n > 0 && err == nil
}

func (w *waiter) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}
