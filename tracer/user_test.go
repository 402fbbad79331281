package tracer

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
)

// TestUsers has connections of another user when the tracer starts, and timewait
// sockets, which have no user in the kernel. The judge is fchown: the kernel's own
// table has the user 0 for some of them.
func TestUsers(t *testing.T) {
	const nobody = 65534
	for _, set := range append(hookSets[:1:1], struct {
		name  string
		kinds []string
	}{"from proc", []string{"tp_btf", "sockops", "cgroup"}}) {
		t.Run(set.name, func(t *testing.T) {
			skipSet(t, set.kinds)
			netns := testnet.New(t)
			sockets := live(t, netns)
			for _, fd := range sockets.sockets {
				if err := unix.Fchown(fd, nobody, nobody); err != nil {
					t.Fatal(err)
				}
			}
			p := closedConnections(t, netns)
			w := startWatch(t, Options{NetnsPath: netns, Hooks: set.kinds, Reconcile: -1})
			w.table()
			for _, fd := range sockets.sockets[1:] { // both shut down: FIN_WAIT1, LAST_ACK, a timewait socket
				if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil {
					t.Fatal(err)
				}
			}
			w.table()
			w.stop()
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			timewait := 0
			for _, k := range w.walks {
				c := &k.first
				if !k.listed {
					c = &k.conn
				}
				switch {
				case c.State == snapshot.TimeWait && k.listed:
					timewait++
					if c.HasUID {
						t.Errorf("%v %v: the user of a timewait socket is %d", c.Local, c.Remote, c.UID)
					}
				case c.Remote.Port() == load.Port || c.Local.Port() == load.Port:
				case !k.conn.HasUID || k.conn.UID != nobody:
					t.Errorf("%v %v %v: user %d (known: %t), want %d", c.Local, c.Remote, k.states, k.conn.UID, k.conn.HasUID, nobody)
				}
			}
			if timewait == 0 {
				t.Error("no timewait socket was listed")
			}
		})
	}
}

// closedConnections makes connections of which timewait sockets are left. The
// server goes on until it is stopped.
func closedConnections(t *testing.T, netns string) *load.Process {
	t.Helper()
	server, err := load.Start(load.Server(), netns)
	if err != nil {
		t.Fatal(err)
	}
	client, err := load.Start(load.Client(0, 3, load.FIN), netns)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() error{client.Go, client.Done, client.Stop} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	testnet.WaitClosed(t, netns)
	return server
}
