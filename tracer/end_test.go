package tracer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
)

// TestExactEnd has clients at full speed and a listener that is older than the
// tracer, and stops the tracer when they are done. The clients know what they did:
// of each end of each connection one close is reported, or it is still open.
func TestExactEnd(t *testing.T) {
	rounds, each := 20, 4000
	switch {
	case testing.Short():
		rounds, each = 4, 1000
	case inMachine: // which is slow
		each = 100
	}
	sets := append(slices.Clone(hookSets), struct {
		name  string
		kinds []string
	}{"without a second witness", []string{"tp_btf", "cgroup", "iter", "sock_diag", "syscall"}})
	for _, set := range sets {
		t.Run(set.name, func(t *testing.T) {
			skipSet(t, set.kinds)
			rounds := rounds
			if inMachine && set.kinds != nil { // to start all of a round takes longer than its load
				rounds /= 4
			}
			missed, inferred := 0, 0
			for range rounds {
				m, i := endOfRun(t, Options{Hooks: set.kinds, Reconcile: -1}, each)
				missed, inferred = missed+m, inferred+i
			}
			t.Logf("of %d connections %d closes were not reported, %d were inferred", 2*rounds*each, missed, inferred)
			if missed > 0 {
				t.Errorf("%d closes were not reported", missed)
			}
		})
	}
}

// TestEndWithoutEvents takes the programs away before connections end. At the end of
// the run the kernel's table shows that they did.
func TestEndWithoutEvents(t *testing.T) {
	netns := testnet.New(t)
	p, err := load.Start(load.Holder(0, 10), netns)
	if err != nil {
		t.Fatal(err)
	}
	w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1})
	w.table()
	if err := errors.Join(p.Go(), p.Done()); err != nil {
		t.Fatal(err)
	}
	w.table()
	detach(t, w.tracer)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	testnet.WaitClosed(t, netns)
	w.stop()
	if wrong := w.checkCloses(10, 0, false); wrong > 0 || w.inferred != 20 {
		t.Errorf("%d ends are wrong, %d of 20 closes inferred", wrong, w.inferred)
	}
}

// endOfRun is one run of TestExactEnd, with each connections of each of two clients.
// It returns how many closes were not reported exactly once, and how many were
// inferred.
func endOfRun(t *testing.T, opts Options, each int) (missed, inferred int) {
	t.Helper()
	opts.NetnsPath = testnet.New(t)
	start := func(role string) *load.Process {
		p, err := load.Start(role, opts.NetnsPath)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	server := start(load.Server())
	clients := []*load.Process{start(load.Client(0, each, -1)), start(load.Client(each, each, -1))}
	holder := start(load.Holder(2*each, 10))
	w := startWatch(t, opts)
	w.table()
	for _, p := range append(clients, holder) {
		if err := p.Go(); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range append(clients, holder) {
		if err := p.Done(); err != nil {
			t.Fatal(err)
		}
	}
	testnet.WaitClosed(t, opts.NetnsPath)
	w.stop()
	missed = w.checkCloses(2*each, 10, true)
	inferred = w.inferred
	ended := uint64(2*2*each - 2*each/3) // of a connection that is refused there is one end
	if s := w.tracer.Stats().Table; s.Open != 20 || s.Closed != ended || s.Opened != ended+20 || s.Before != 0 {
		t.Errorf("counted %+v, want %d ends of connections and 20 that are open", s, ended)
	}
	for _, p := range append(clients, holder, server) {
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	return missed, inferred
}

// checkCloses returns how many ends of the connections of clients were not reported
// as they were: made ended, a third of them refused if refused is set, and as many
// as held are open.
func (w *watch) checkCloses(made, held int, refused bool) (wrong int) {
	w.t.Helper()
	closes, open := make(map[string]int), make(map[string]int)
	for _, k := range w.walks {
		name := endName(k.conn.Local, k.conn.Remote)
		if name == "" {
			continue
		}
		closes[name] += k.closed
		// Without cookies (before 5.12) a timewait socket that only a scan saw is tied
		// to nothing. It is no open connection.
		if k.closed == 0 && k.states[len(k.states)-1] != snapshot.TimeWait {
			open[name]++
		}
	}
	for n := range made + held {
		ends := []string{fmt.Sprint("client ", n), fmt.Sprint("server ", n)}
		if n < made && refused && load.EndingOf(n) == load.Refused {
			ends = ends[:1]
		}
		for _, end := range ends {
			want := [2]int{1, 0}
			if n >= made {
				want = [2]int{0, 1}
			}
			if got := [2]int{closes[end], open[end]}; got != want {
				if wrong++; wrong < 5 {
					w.t.Errorf("%s: %d closes and %d open, want %v", end, got[0], got[1], want)
					for _, k := range w.walks {
						if endName(k.conn.Local, k.conn.Remote) == end {
							w.t.Logf("%v %v %v", k.conn.Local, k.conn.Remote, k.states)
						}
					}
				}
			}
		}
	}
	return wrong
}

// endName says which end of which connection of the load a socket is; empty: none.
func endName(local, remote netip.AddrPort) string {
	if n, ok := load.Number(remote.Addr()); ok {
		return fmt.Sprint("client ", n)
	}
	if n, ok := load.Number(local.Addr()); ok {
		return fmt.Sprint("server ", n)
	}
	return ""
}
