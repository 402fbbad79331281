package service

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager listens as a service manager does.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

// told returns the next state that was told; empty: none was.
func told(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n := 0
	// What was told is here already: there is nothing to wait for.
	err = raw.Control(func(fd uintptr) { n, _, _ = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT) })
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:max(n, 0)])
}

func TestManager(t *testing.T) {
	conn := manager(t)
	t.Setenv("WATCHDOG_USEC", "3000000000") // 50 minutes
	m := Handlers()[0].(*Manager)
	if m.every != 1000*time.Second {
		t.Fatalf("a sign of life every %v", m.every)
	}
	steps := []struct {
		name string
		do   func() error
		want string
	}{
		{"the first time", m.Idle, "READY=1"},
		{"too early", m.Idle, ""},
		{"when it is due", func() error { m.next = time.Now(); return m.Idle() }, "WATCHDOG=1"},
		{"too early again", m.Idle, ""},
		{"at the end", func() error { return m.Stop(nil, "signal") }, "STOPPING=1"},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		if got := told(t, conn); got != s.want {
			t.Errorf("%s: %q, want %q", s.name, got, s.want)
		}
	}
}

// TestNoWatchdog is ready, and gives no sign of life that nobody asks for.
func TestNoWatchdog(t *testing.T) {
	for _, limit := range []string{"", "0", "x"} {
		conn := manager(t)
		t.Setenv("WATCHDOG_USEC", limit)
		h := Handlers()[0]
		for _, want := range []string{"READY=1", "", ""} {
			if err := h.Idle(); err != nil {
				t.Fatal(err)
			}
			if got := told(t, conn); got != want {
				t.Errorf("WATCHDOG_USEC=%q: %q, want %q", limit, got, want)
			}
		}
	}
}

func TestReload(t *testing.T) {
	conn := manager(t)
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	Reload(func() {
		at, ok := strings.CutPrefix(told(t, conn), "RELOADING=1\nMONOTONIC_USEC=")
		if usec, err := strconv.ParseInt(at, 10, 64); !ok || err != nil || usec < now.Nano()/1000 {
			t.Errorf("it was told %q", at)
		}
	})
	if got := told(t, conn); got != "READY=1" {
		t.Errorf("afterwards it was told %q", got)
	}
}

// TestNobody has no service manager, and one that is gone.
func TestNobody(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if h := Handlers(); len(h) != 0 {
		t.Errorf("%d outputs", len(h))
	}
	called := false
	Reload(func() { called = true })
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := Handlers()[0].Idle(); err != nil || !called {
		t.Errorf("reloaded: %v; %v", called, err)
	}
}
