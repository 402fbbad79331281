package tracer

import (
	"slices"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestQueries makes queries as fast as the machine can, each by a socket of its own, and
// wants each told: its process, its peer where it had one, and its end; and nothing lost.
func TestQueries(t *testing.T) {
	count := 40_000
	if inMachine {
		count = 4_000
	}
	netns := testnet.New(t)
	w := watchSockets(t, Options{NetnsPath: netns, Protocols: UDP, Reconcile: -1})
	w.rows() // it is attached
	p, err := load.Start(load.Queries(count), netns)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := p.Go(); err != nil {
		t.Fatal(err)
	}
	if err := p.Done(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	pid := p.PID()
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	w.compareSockets(netns, false)
	w.stop()
	queries, connected, wrong := 0, 0, 0
	for _, k := range w.told {
		if k.row.Local.Port() == load.QueryPort {
			continue
		}
		queries++
		owner := k.row.Owner.Process
		if owner == nil || owner.PID != pid || !k.row.StartKnown || k.kinds[len(k.kinds)-1] != table.SocketClose {
			if wrong++; wrong < 10 {
				t.Errorf("told %v of %+v", k.kinds, k.row)
			}
		}
		if slices.Contains(k.kinds, table.SocketConnect) {
			connected++
			if k.row.Remote.Port() != load.QueryPort {
				t.Errorf("connected to %v", k.row.Remote)
			}
		}
	}
	if queries != count || connected != count/2 || wrong > 0 || w.lost > 0 {
		t.Errorf("%d queries told of %d, %d connected, %d wrong, %d events lost", queries, count, connected, wrong, w.lost)
	}
	t.Logf("%.0f queries a second", float64(count)/took.Seconds())
}
