package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/load"
)

// TestStreamShortLived has processes that connect once and end at once. The name and
// the command line of each must be reported.
func TestStreamShortLived(t *testing.T) {
	netns := newNetns(t)
	tr := trace(t, netns, "")
	const count = 50
	pids := make(map[int]string)
	for n := range count {
		pids[runLoad(t, load.Client(n, 1, load.Refused), netns)] = load.Address(n).String()
	}
	tr.quiet()
	for _, l := range lives(t, tr.stop()) {
		r := l.closes[0]
		if pids[r.PID] != r.RemoteAddr {
			t.Errorf("%s belongs to pid %d, which connected to %q", r.RemoteAddr, r.PID, pids[r.PID])
		}
		delete(pids, r.PID)
		exe, _ := os.Executable() // cannot fail: load.Start has called it
		if comm := filepath.Base(exe); !strings.HasPrefix(comm, r.Comm) || r.Comm == "" {
			t.Errorf("pid %d is called %q, want the start of %q", r.PID, r.Comm, comm)
		}
		if !strings.HasPrefix(exe, r.Cmdline) || r.Cmdline == "" {
			t.Errorf("pid %d has the command line %q, want %q", r.PID, r.Cmdline, exe)
		}
	}
	if len(pids) > 0 {
		t.Errorf("nothing was told of %v", pids)
	}
}

// TestStreamKnowsOwners checks that the initial table has the owner of a socket that
// was opened before the start.
func TestStreamKnowsOwners(t *testing.T) {
	netns := newNetns(t)
	server := startLoad(t, load.Server(), netns)
	tr := trace(t, netns, "")
	records := tr.stop()
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	for _, r := range records {
		if r.Event != "socket" {
			continue
		}
		if r.PID != server.PID() || r.State != "LISTEN" || r.LocalPort != load.Port || r.OwnerSrc != "files" || r.Comm == "" {
			t.Errorf("the listener of pid %d is told as %+v", server.PID(), r)
		}
		return
	}
	t.Error("the listener is not in the initial table")
}
