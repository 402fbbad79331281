package tracer

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
)

// TestConnectWithoutPort has a connect find no local port, before the hook that reports
// connects with their port: it is told from its beginning, with its process.
func TestConnectWithoutPort(t *testing.T) {
	netns := testnet.New(t)
	testnet.Set(t, netns, "net/ipv4/ip_local_port_range", "40000 40000")
	w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1})
	w.table()
	testnet.In(t, netns, func() { connectTwice(t) })
	w.table()
	w.stop()
	found := 0
	for _, k := range w.walks {
		c := &k.conn
		if c.Remote.Port() != 9 || c.Local.Port() != 0 || len(k.states) < 3 {
			continue
		}
		found++
		if k.states[0] != snapshot.Close || k.states[1] != snapshot.SynSent || !c.StartKnown {
			t.Errorf("walked %v, start known: %t", k.states, c.StartKnown)
		}
		if c.Owner.Process == nil || c.Owner.Process.PID != os.Getpid() {
			t.Errorf("owner %+v, want this process", c.Owner.Process)
		}
	}
	if found != 1 {
		for _, k := range w.walks {
			t.Logf("%v %v %v", k.conn.Local, k.conn.Remote, k.states)
		}
		t.Errorf("%d connects without a port, want 1", found)
	}
}

// connectTwice has a listener, and two connects to it of which the second finds no port.
func connectTwice(t *testing.T) {
	to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9}
	open := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	server := open()
	if err := errors.Join(unix.Bind(server, to), unix.Listen(server, 8), unix.Connect(open(), to)); err != nil {
		t.Error(err)
		return
	}
	if err := unix.Connect(open(), to); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("the second connect: %v, want EADDRNOTAVAIL", err)
	}
}
