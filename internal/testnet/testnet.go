// Package testnet makes network namespaces for tests, and reads what the kernel
// shows of their sockets.
package testnet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/netns"
	"github.com/nettrace/nettrace/snapshot"
)

// New makes a network namespace with its loopback interface up, deletes it when
// the test ends, and returns the path of its file. Without root or ip(8) it skips
// the test.
func New(t testing.TB) string {
	t.Helper()
	return newBy(t, func(f func() error) error { return f() })
}

// NewFrom is New, but the namespace takes after another one, of which it gets some of
// its sysctls.
func NewFrom(t testing.TB, parent string) string {
	t.Helper()
	return newBy(t, func(f func() error) error { return netns.Do(parent, f) })
}

// newBy is New; run runs f in the namespace that the new one takes after.
func newBy(t testing.TB, run func(f func() error) error) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip(8), package iproute2")
	}
	name := fmt.Sprintf("nt-%d-%d", os.Getpid(), time.Now().UnixNano()%1e9)
	ip := func(args ...string) {
		var out []byte
		err := run(func() (err error) {
			out, err = exec.Command("ip", args...).CombinedOutput()
			return err
		})
		if err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "del", name) })
	ip("-n", name, "link", "set", "lo", "up")
	return filepath.Join(netns.Dir, name)
}

// Set writes a sysctl of the namespace, such as net/ipv4/tcp_fin_timeout.
func Set(t testing.TB, path, name, value string) {
	t.Helper()
	In(t, path, func() {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
			t.Error(err)
		}
	})
}

// In runs f on a thread in the namespace. f must not call t.FailNow.
func In(t testing.TB, path string, f func()) {
	t.Helper()
	err := netns.Do(path, func() error { f(); return nil })
	if err != nil {
		t.Error(err)
	}
}

// TCPSockets returns the TCP sockets of the namespace, IPv4 before IPv6, in the
// order of /proc/net/tcp and tcp6.
func TCPSockets(t testing.TB, path string) []snapshot.Socket {
	t.Helper()
	var all []snapshot.Socket
	In(t, path, func() {
		for _, ipv6 := range []bool{false, true} {
			sockets, err := snapshot.ReadSockets("/proc/thread-self", snapshot.TCP, ipv6)
			if err != nil {
				t.Error(err)
				return
			}
			for s, err := range sockets {
				if err != nil {
					t.Error(err)
					continue
				}
				all = append(all, s)
			}
		}
	})
	return all
}

// WaitClosed waits until no TCP connection of the namespace is being opened or closed. The
// kernel may lose the last FIN of a connection while a timewait socket replaces the full
// one: it is sent again after some 200 ms or, if a RST answered it, the timewait socket
// stays in FIN_WAIT2 for net.ipv4.tcp_fin_timeout, a minute unless set.
func WaitClosed(t testing.TB, path string) {
	t.Helper()
	var busy []snapshot.Socket
	for end := time.Now().Add(70 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		busy = slices.DeleteFunc(TCPSockets(t, path), func(s snapshot.Socket) bool {
			return s.State == snapshot.TimeWait || s.State == snapshot.Listen || s.State == snapshot.Established
		})
		if len(busy) == 0 {
			return
		}
	}
	t.Errorf("%d connections do not come to an end, one is %v to %v, %v", len(busy), busy[0].Local, busy[0].Remote, busy[0].State)
}
