package tracer

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
)

// reusedPort is the port of a timewait socket that TestOrder uses again.
const reusedPort = 5555

// TestOrder uses the port of a timewait socket again, while other connections come
// and go. The timewait socket's end is reported in its place, not later.
func TestOrder(t *testing.T) {
	netns := testnet.New(t)
	w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1})
	w.table()
	testnet.In(t, netns, func() {
		if err := reusePort(t); err != nil {
			t.Error(err)
		}
	})
	w.table()
	w.stop()
	reused := 0
	for _, k := range w.walks {
		if k.conn.Local.Port() == reusedPort {
			reused++
		}
	}
	if reused != 2 {
		t.Errorf("%d connections from port %d", reused, reusedPort)
	}
	if w.late > time.Millisecond {
		t.Errorf("a change was reported %v after one with a later time", w.late)
	}
}

// reusePort makes the connections of TestOrder.
func reusePort(t *testing.T) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 8000}
	if err := errors.Join(unix.Bind(fd, to), unix.Listen(fd, 64)); err != nil {
		return err
	}
	if err := pair(fd, reusedPort, to, false); err != nil {
		return err
	}
	time.Sleep(1200 * time.Millisecond) // a timewait socket of the last second keeps its port
	if err := pair(fd, reusedPort, to, true); err != nil {
		return err
	}
	for range 60 {
		if err := pair(fd, 0, to, true); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// pair makes a connection from a port, and ends it by FIN or RST.
func pair(listener, port int, to *unix.SockaddrInet4, reset bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}),
		unix.Connect(fd, to),
	)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	accepted, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if reset && err == nil {
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	return errors.Join(err, unix.Close(fd), unix.Close(accepted))
}
