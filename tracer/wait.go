package tracer

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waiter waits for files that others wake the reader by. The goroutine waits in the poller
// of the Go runtime and not in a system call of its own: a thread that stays in one is
// looked after by the runtime's monitor, which wakes every 20 µs for that and took a fifth
// of the tracer's CPU time under load.
type waiter struct {
	file  *os.File // an epoll instance, which the poller watches
	conn  syscall.RawConn
	epoll int // its descriptor
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
	w := waiter{file: os.NewFile(uintptr(epoll), "epoll"), epoll: epoll}
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

// poll waits in the same way, for a few milliseconds and while records come. It is a system
// call that the runtime does not know of: the goroutine keeps its thread and its processor,
// and goes on as soon as the call returns. In wait the thread looks for other work first,
// and each time that it finds none the runtime's monitor starts anew to wake every 20 µs:
// a tenth of the CPU time where closes alone are told. A signal ends the call, which is how
// the runtime has a goroutine stop. Where there is one processor, others need it meanwhile.
func (w *waiter) poll(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if runtime.GOMAXPROCS(0) == 1 {
		return w.wait(d)
	}
	var event unix.EpollEvent
	millis := (d + time.Millisecond - 1) / time.Millisecond
	_, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(w.epoll), uintptr(unsafe.Pointer(&event)), 1, uintptr(millis), 0, 0)
	if err != 0 && err != unix.EINTR {
		return err
	}
	return nil
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
