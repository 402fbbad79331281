package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
	"github.com/nettrace/nettrace/internal/load"
)

// TestPrivilegeFiles has files renamed after the drop: each is opened again, with
// the capabilities that are documented for its directory.
func TestPrivilegeFiles(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	override := capability.Of(unix.CAP_DAC_OVERRIDE)
	for _, c := range []struct {
		name  string
		owner int // of the directory
		args  []string
		keep  capability.Set
		user  int
	}{
		{"the own directory", 0, nil, owning(), 0},
		{"that of another user", nobody, nil, owning() | override, 0},
		{"that of the new user", nobody, []string{"--run-as", "65534"}, owning(), nobody},
		{"no capability", nobody, []string{"--run-as", "65534", "--no-owner"}, 0, nobody},
	} {
		t.Run(c.name, func(t *testing.T) {
			netns := newNetns(t)
			server := startLoad(t, load.Server(), netns)
			defer func() { _ = server.Stop() }()
			file := filepath.Join(directoryOf(t, c.owner), "log")
			tr := trace(t, netns, "", append(c.args, "--output", "-", "--output", file)...)
			checkThreads(t, tr, c.keep|always(), c.user)
			runLoad(t, load.Client(0, 5, load.FIN), netns)
			tr.quiet()
			if err := errors.Join(os.Rename(file, file+".1"), tr.cmd.Process.Signal(syscall.SIGHUP)); err != nil {
				t.Fatal(err)
			}
			waitForLine(t, file, `"reason":"reopen"`)
			runLoad(t, load.Client(5, 5, load.FIN), netns)
			tr.quiet()
			tr.stop()
			for _, name := range []string{file, file + ".1"} {
				text, err := os.ReadFile(name)
				if err != nil || bytes.Count(text, []byte(`"event":"tcp_close"`)) != 10 {
					t.Errorf("%s: %v, %d closes, want 10", name, err, bytes.Count(text, []byte(`"event":"tcp_close"`)))
				}
				st, err := os.Stat(name)
				if err != nil || int(st.Sys().(*syscall.Stat_t).Uid) != c.user || st.Mode() != 0o640 {
					t.Errorf("%s: %v, %+v, want that of user %d", name, err, st, c.user)
				}
			}
			if tr.stderr.Len() > 0 && bytes.Contains(tr.stderr.Bytes(), []byte("denied")) {
				t.Error(tr.stderr.String())
			}
		})
	}
}

// TestPrivilegeFileRefused goes on as a user who may not write where the file is to be.
func TestPrivilegeFileRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	file := filepath.Join(directoryOf(t, 0), "log")
	cmd := nettraceCommand(t, "-tc", "--run-as", "65534", "--output", file)
	checkRefused(t, cmd, newNetns(t), "log: permission denied")
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
}

// directoryOf returns a directory of a user that all may enter.
func directoryOf(t *testing.T, user int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nettrace")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, user, user)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// waitForLine waits until a file has a text.
func waitForLine(t *testing.T, file, text string) {
	t.Helper()
	var b []byte
	for range 3000 {
		b, _ = os.ReadFile(file) // it may not be there yet
		if bytes.Contains(b, []byte(text)) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no %s in %s: %s", text, file, b)
}
