package tracer

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
)

// fastOpenAlways is what net.ipv4.tcp_fastopen needs for clients without a cookie
// (TFO_CLIENT_ENABLE and TFO_CLIENT_NO_COOKIE, include/net/tcp.h).
const fastOpenAlways = "5"

// TestFastOpenConnect has connect() return before anything is sent: the SYN waits for
// the first write. The socket is in /proc with its port from there on, so that is
// reported, too: with the port by a hook that sees what connect() returns, else without.
func TestFastOpenConnect(t *testing.T) {
	netns := testnet.New(t)
	testnet.Set(t, netns, "net/ipv4/tcp_fastopen", fastOpenAlways)
	w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1})
	w.table()
	hooked := w.tracer.hooks.chosen[Connects] != "" // else it has no port before the first write
	var local unix.Sockaddr
	testnet.In(t, netns, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1); err != nil {
			t.Error(err)
			return
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9}); err != nil {
			t.Error(err)
			return
		}
		if local, err = unix.Getsockname(fd); err != nil {
			t.Error(err)
		}
	})
	w.table()
	w.stop()
	own, ok := local.(*unix.SockaddrInet4)
	if !ok || own.Port == 0 {
		t.Fatalf("the socket has no port: %v", local)
	}
	found := 0
	for _, k := range w.walks {
		if c := &k.conn; c.State == snapshot.SynSent && c.Remote.Port() == 9 {
			found++
			if int(c.Local.Port()) != own.Port && (hooked || c.Local.Port() != 0) {
				t.Errorf("reported with the port %d, getsockname says %d", c.Local.Port(), own.Port)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d connections in SYN_SENT, want 1", found)
	}
}
