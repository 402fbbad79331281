package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// TestOptionsOfStream checks that options of netstat's socket view select and show the
// same in the stream. That is alike on every kernel, so its name keeps it out of the
// machines' suites, where it takes a minute.
func TestOptionsOfStream(t *testing.T) {
	for _, c := range []struct {
		option     string
		has, hasNo string
	}{
		{"-c", "SYN_SENT", "LISTEN -> CLOSE"},
		{"-ac", "LISTEN -> CLOSE", ""},
		{"-lc", "LISTEN -> CLOSE", "SYN_SENT"},
		{"-4c", "127.0.0.1", "tcp6"},
		{"-6c", "tcp6", "127.0.0.1"},
		{"-tcp", filepath.Base(os.Args[0]), ""},
		{"-ce", "INODE", ""},
	} {
		t.Run(c.option, func(t *testing.T) {
			netns := newNetns(t)
			stdout, stderr := textDuring(t, netns, c.option, func() { runLoad(t, load.Story(), netns) })
			_, changes, _ := strings.Cut(stdout, "\nTIME ")
			if !strings.Contains(changes, c.has) || c.hasNo != "" && strings.Contains(changes, c.hasNo) {
				t.Errorf("want %q and not %q in:\n%s", c.has, c.hasNo, stdout)
			}
			if !strings.Contains(stderr, "changes reported") {
				t.Errorf("no totals on stderr: %s", stderr)
			}
			if strings.Contains(stderr, "no hook for") {
				t.Errorf("stderr is no terminal, and has what hooks cannot do: %s", stderr)
			}
		})
	}
}

// TestLeftOutOfStream checks that what is asked for by name and is not streamed is said in one line, with records too. It is alike on every kernel too.
func TestLeftOutOfStream(t *testing.T) {
	netns := newNetns(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-ctS"}, "nettrace: -c does not stream these yet, they are left out: SCTP sockets\n"},
		{[]string{"-c", "-A", "inet,ipx"}, "nettrace: -c does not stream these yet, they are left out: IPX sockets\n"},
		{[]string{"-ct"}, ""},
	} {
		for _, more := range []string{"--color=never", "--json"} {
			_, stderr, status := nettraceIn(t, netns, 0, append(c.args, more, "--duration", "10ms")...)
			said := ""
			for line := range strings.Lines(stderr) {
				if strings.Contains(line, "left out") {
					said += line
				}
			}
			if status != 0 || said != c.want {
				t.Errorf("%q %s: status %d, want %q on stderr: %s", c.args, more, status, c.want, stderr)
			}
		}
	}
}

// textDuring returns the text of a stream. f runs after the stream's header is there.
func textDuring(t *testing.T, netns, option string, f func(), more ...string) (stdout, stderr string) {
	t.Helper()
	tr := &tracing{t: t, path: filepath.Join(t.TempDir(), "text")}
	out, err := os.Create(tr.path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	tr.cmd = nettraceCommand(t, append([]string{option, "--require-bpf", "--netns", netns}, more...)...)
	tr.cmd.Stdout, tr.cmd.Stderr = out, &tr.stderr
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // in case the test fails before its end
		_ = tr.cmd.Process.Kill()
		_ = tr.cmd.Wait()
	})
	read := func() string {
		b, err := os.ReadFile(tr.path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for i := 0; !strings.Contains(read(), "\nTIME "); i++ {
		if i == 3000 {
			t.Fatalf("no header: %s%s", read(), tr.stderr.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	f()
	tr.quiet()
	if err := errors.Join(tr.cmd.Process.Signal(syscall.SIGINT), tr.cmd.Wait()); err != nil {
		t.Errorf("%v: %s", err, tr.stderr.String())
	}
	return read(), tr.stderr.String()
}
