package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestService plays the service manager: it is told when the initial table is
// complete, then that the run lives, and that it ends.
func TestService(t *testing.T) {
	netns := newNetns(t)
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "3000000")
	tr := trace(t, netns, "")
	told := func() string {
		t.Helper()
		b := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("%v; %s", err, tr.stderr.String())
		}
		return string(b[:n])
	}
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := told(); got != want {
			t.Errorf("it was told %q, want %q", got, want)
		}
	}
	if err := tr.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for {
		got := told()
		if got == "STOPPING=1" {
			break
		}
		if !strings.HasPrefix(got, "WATCHDOG") {
			t.Errorf("at the end it was told %q", got)
		}
	}
	if err := tr.cmd.Wait(); err != nil {
		t.Errorf("%v; %s", err, tr.stderr.String())
	}
}

// TestServiceCommand runs the command line of the unit, with a file elsewhere.
func TestServiceCommand(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/systemd/nettrace.service")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(unit), "\nExecStart=/usr/bin/nettrace ")
	line, _, _ := strings.Cut(rest, "\n")
	file := filepath.Join(t.TempDir(), "log")
	line = strings.ReplaceAll(line, "/var/log/nettrace/nettrace.ndjson", file)
	stdout, stderr, status := nettraceIn(t, newNetns(t), 0, append(strings.Fields(line), "--duration", "100ms")...)
	text, err := os.ReadFile(file)
	if status != 0 || stdout != "" || err != nil || !strings.Contains(string(text), `"event":"stop"`) {
		t.Errorf("%s: status %d, %v, %s%s", line, status, err, stdout, stderr)
	}
}

// TestServiceAlone runs in a network namespace without interfaces, as with
// PrivateNetwork=yes, and is asked for such a one: the start record says so of the first.
func TestServiceAlone(t *testing.T) {
	netns := newNetns(t)
	const alone = "no interface but lo"
	for name, c := range map[string]struct {
		args []string
		want bool
	}{
		"its own":     {nil, true},
		"by polling":  {[]string{"--hooks", "none"}, true},
		"asked for":   {[]string{"--netns", netns}, false},
		"all of them": {[]string{"--all-netns"}, false},
	} {
		stdout, stderr, status := nettraceIn(t, netns, 0, append([]string{"-tc", "--json", "--duration", "100ms"}, c.args...)...)
		start, _, _ := strings.Cut(stdout, "\n")
		if status != 0 || strings.Contains(start, alone) != c.want || strings.Contains(stderr, alone) && !c.want {
			t.Errorf("%s: status %d, want it told: %v; %s %s", name, status, c.want, start, stderr)
		}
	}
}
