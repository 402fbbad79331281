package tracer

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestDirection has a client that shares its port with a listener (SO_REUSEPORT).
// Nobody saw who opened the connections that were there before the tracer. Of the one
// that is made later the calls of the test say it.
func TestDirection(t *testing.T) {
	netns := testnet.New(t)
	const shared, other = 8003, 8004
	testnet.In(t, netns, func() {
		if err := errors.Join(listenShared(t, shared), listenShared(t, other), connectShared(t, shared, other)); err != nil {
			t.Error(err)
		}
	})
	w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1})
	w.table()
	testnet.In(t, netns, func() {
		if err := connectShared(t, other, shared); err != nil {
			t.Error(err)
		}
	})
	w.table()
	w.stop()
	before, after := 0, 0
	for _, k := range w.walks {
		c := &k.conn
		switch {
		case c.Remote.Port() == 0:
		case k.listed:
			before++
			if c.Direction != table.DirectionUnknown {
				t.Errorf("%v %v: direction %d, which nobody saw", c.Local, c.Remote, c.Direction)
			}
		default:
			after++
			want := table.Incoming
			if c.Local.Port() == other {
				want = table.Outgoing
			}
			if c.Direction != want {
				t.Errorf("%v %v: direction %d, want %d", c.Local, c.Remote, c.Direction, want)
			}
		}
	}
	if before != 2 || after != 2 {
		t.Errorf("%d ends were there before and %d came, want 2 and 2", before, after)
	}
}

// sharedSocket makes a socket that is bound to a port of 127.0.0.1 as others may be.
func sharedSocket(t *testing.T, host byte, port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, host}, Port: port}),
	)
}

func listenShared(t *testing.T, port int) error {
	fd, err := sharedSocket(t, 1, port)
	if err != nil {
		return err
	}
	return unix.Listen(fd, 8)
}

// connectShared connects from one port to another. The client of the second pair has
// another address than the first one, whose connection has both ports already.
func connectShared(t *testing.T, from, to int) error {
	host := byte(1)
	if from > to {
		host = 2
	}
	fd, err := sharedSocket(t, host, from)
	if err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: to})
}
