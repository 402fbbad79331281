package tracer

import (
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
)

// detach takes the programs away that see what happens.
func detach(t *testing.T, tr *Tracer) {
	t.Helper()
	for _, l := range tr.hooks.links {
		if _, iter := l.(*link.Iter); !iter {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSweep takes the programs away before connections end that are kept in the kernel.
// A comparison with the kernel's table forgets them soon, and tells each close once.
func TestSweep(t *testing.T) {
	netns := testnet.New(t)
	c := startCloses(t, Options{NetnsPath: netns, Reconcile: -1, Closes: ClosesAlone}).kept()
	p, err := load.Start(load.Holder(0, 10), netns)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Go(), p.Done()); err != nil {
		t.Fatal(err)
	}
	if left := c.left(); left < 20 {
		t.Fatalf("%d of 20 ends are kept", left)
	}
	detach(t, c.tracer)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	testnet.WaitClosed(t, netns)
	c.tracer.Resync()
	for end := time.Now().Add(time.Minute); c.left() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if left := c.left(); left > 0 {
		t.Errorf("%d ends are still kept", left)
	}
	c.end()
	c.stop()
	if len(c.closes) != 20 {
		t.Errorf("%d closes were told, want 20", len(c.closes))
	}
}

// TestOwnerSearch has connections come and go between looks for their owners.
func TestOwnerSearch(t *testing.T) {
	s := ownerSearch{known: make([]sought, 2)}
	for i, c := range []struct {
		now, cookie uint64
		due         uint64 // of it, set afterwards
		want        bool
	}{
		{1, 7, 0, false}, // it may be gone at the next look
		{2, 7, 4, true},
		{3, 7, 4, false},
		{4, 7, 9, true},
		{9, 8, 0, false}, // another one is in its place
		{10, 8, 0, true},
		{11, 8, 0, true}, // it was not established
	} {
		if got := s.wants(c.now)(1, c.cookie); got != c.want {
			t.Errorf("look %d: connection %d is read: %t", i, c.cookie, got)
		}
		s.known[1].due = c.due
	}
	if s.known[0] != (sought{}) {
		t.Errorf("place 0: %+v", s.known[0])
	}
}
