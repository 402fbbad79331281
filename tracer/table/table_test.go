package table_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// Without losses every transition is reported once and in order, each end once, and
// the table is the kernel's. Events that both copies of the program report, or
// that the row has already, change nothing.
func TestTableReportsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, merged, w := newModel(t)
		merged.EndInitial() // there is nothing yet
		apply := m.feed
		m.feed = func(e table.Event) {
			apply(e)
			if e.Kind == table.EventState && rapid.IntRange(0, 9).Draw(t, "twice") == 0 {
				apply(e)
			}
		}
		m.run(300)
		merged.Settle(m.clock + 1e9)
		if diff := cmp.Diff(m.table(), tableRows(merged)); diff != "" {
			t.Fatalf("the table differs (-kernel +table):\n%s", diff)
		}
		m.checkOwners(merged, true)
		if n := merged.Len(); n != len(m.socks) {
			t.Fatalf("%d sockets counted, want %d", n, len(m.socks))
		}
		m.checkTotals(merged, w)
		if len(w.wrong) > 0 {
			t.Fatalf("inferred: %q", w.wrong)
		}
		if w.torn > 0 {
			t.Fatalf("%d closes differ from what the transition before them carried", w.torn)
		}
		for _, s := range slices.Concat(m.socks, m.ended) {
			key := fmt.Sprintf("%v %v", s.local, s.remote)
			if diff := cmp.Diff(s.walked, w.walks[key]); diff != "" {
				t.Fatalf("%s: (-kernel +reported):\n%s", key, diff)
			}
			want := 0
			if s.task == 0 && (slices.Contains(m.ended, s) || s.state == snapshot.TimeWait) {
				want = 1 // a listener has no close
			}
			if w.closes[key] != want {
				t.Fatalf("%s: closed %d times, want %d: %v", key, w.closes[key], want, s.walked)
			}
			if w.ends[key] != s.outcome {
				t.Fatalf("%s: outcome %d, want %d: %v", key, w.ends[key], s.outcome, s.walked)
			}
		}
	})
}

// Attached in the middle, with the first pass in the middle of more events,
// every socket is listed or reported from its birth, once, and the rest follows.
func TestTableSeamlessStart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, merged, w := newModel(t)
		feed := m.feed
		m.feed = func(table.Event) {} // not attached yet
		m.run(200)
		for _, s := range m.socks {
			s.known, s.walked = false, nil
		}
		m.ended = nil
		m.feed = feed
		if m.proc = rapid.Bool().Draw(t, "proc"); m.proc { // mini-sockets of before are not followed then
			m.socks = slices.DeleteFunc(m.socks, func(s *modelSock) bool { return s.mini != 0 })
		}
		m.clock += 1e9
		m.run(50)
		if _, again := m.scan(merged, true, 3); again {
			t.Fatal("something was left in doubt")
		}
		listed := make(map[string]snapshot.State)
		for r := range merged.InitialRows {
			key := fmt.Sprintf("%v %v", r.Local, r.Remote)
			if _, twice := listed[key]; twice {
				t.Fatalf("%s is listed twice", key)
			}
			listed[key] = r.State
		}
		merged.EndInitial()
		m.run(100)
		merged.Settle(m.clock + 1e9)
		if diff := cmp.Diff(m.table(), tableRows(merged)); diff != "" {
			t.Fatalf("the table differs (-kernel +table):\n%s", diff)
		}
		m.checkOwners(merged, false)
		m.checkTotals(merged, w)
		if len(w.wrong) > 0 {
			t.Fatalf("inferred: %q", w.wrong)
		}
		for _, s := range slices.Concat(m.socks, m.ended) {
			checkStart(t, s, listed, w)
		}
	})
}

func checkStart(t *rapid.T, s *modelSock, listed map[string]snapshot.State, w *recorder) {
	key := fmt.Sprintf("%v %v", s.local, s.remote)
	first, isListed := listed[key]
	walk := w.walks[key]
	if s.known {
		if isListed {
			t.Fatalf("%s was born later and is listed", key)
		}
		if diff := cmp.Diff(s.walked, walk); diff != "" {
			t.Fatalf("%s: (-kernel +reported):\n%s", key, diff)
		}
		return
	}
	if len(walk) > 0 {
		if isListed && walk[0] != first {
			t.Fatalf("%s is listed as %v and goes on with %v", key, first, walk)
		}
		walk = walk[1:]
	} else if !isListed && len(s.walked) == 0 {
		t.Fatalf("%s is neither listed nor reported", key)
	}
	if !isListed && len(walk) > 0 && walk[0] == snapshot.SynRecv {
		walk = walk[1:] // of its request socket, which was there before: its child shows it
	}
	// What happened before the row was read, and was reported by no event, is in the row.
	if !strings.HasSuffix(fmt.Sprint(s.walked), strings.TrimPrefix(fmt.Sprint(walk), "[")) {
		t.Fatalf("%s: reported %v, the kernel did %v", key, walk, s.walked)
	}
}

// Whatever is lost, one or two scans mend the table, though they come amid events.
func TestTableHeals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, merged, w := newModel(t)
		m.scan(merged, true, 0) // there is nothing yet
		merged.EndInitial()
		apply := m.feed
		m.feed = func(e table.Event) {
			if rapid.IntRange(0, 3).Draw(t, "lose") > 0 {
				apply(e)
			}
		}
		m.run(200)
		m.feed = apply
		if _, again := m.scan(merged, false, rapid.IntRange(0, 2).Draw(t, "busy")); again {
			m.scan(merged, false, 0)
		}
		m.clock += 1e9
		merged.Settle(m.clock) // what silence decides is no matter of the scan
		if diff := cmp.Diff(m.table(), tableRows(merged)); diff != "" {
			t.Fatalf("the table differs (-kernel +table):\n%s", diff)
		}
		before := merged.Stats().Reported
		if found, again := m.scan(merged, false, 0); again || found != (table.Resync{}) || merged.Stats().Reported != before {
			t.Fatalf("a scan of a right table changed it: %+v", found)
		}
		if found, again := m.scan(merged, false, 3); again || found != (table.Resync{}) {
			t.Fatalf("a scan of a right table amid events changed it: %+v", found)
		}
		m.run(100)
		merged.Settle(m.clock + 1e9)
		if diff := cmp.Diff(m.table(), tableRows(merged)); diff != "" {
			t.Fatalf("the table differs after it was mended (-kernel +table):\n%s", diff)
		}
		m.checkOwners(merged, false)
		m.checkTotals(merged, w)
	})
}

// TestTableMissedTimewait has a connection whose full socket's end only sock_ops
// saw, and nobody the birth of its timewait socket: when the peer closes too, the
// timer that is started again shows both.
func TestTableMissedTimewait(t *testing.T) {
	w := newRecorder()
	merged := table.New(table.Config{CanScan: true}, noProcesses(), w.change)
	e := table.Event{
		Kind: table.EventState, Cookie: 5, Netns: 1, Sock: 0x1000,
		Local: netip.MustParseAddrPort("127.0.0.1:1000"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
	}
	life := []snapshot.State{snapshot.Close, snapshot.SynSent, snapshot.Established, snapshot.FinWait1, snapshot.FinWait2, snapshot.Close}
	for i := range len(life) - 1 {
		e.Time += 1000
		if e.Old, e.New = life[i], life[i+1]; e.New == snapshot.Close {
			e.Kind = table.EventMissed
		}
		merged.Apply(&e)
	}
	merged.Settle(e.Time + 2*grace)
	e.Kind, e.Sock, e.Old, e.New, e.Time = table.EventMiniBorn, 0x2000, 0, snapshot.TimeWait, e.Time+3*grace
	merged.Apply(&e)
	merged.Settle(e.Time + 2*grace)
	e.Kind, e.New, e.Time = table.EventMiniGone, 0, e.Time+3*grace
	merged.Apply(&e)
	merged.Settle(e.Time + 2*grace)

	key := fmt.Sprintf("%v %v", e.Local, e.Remote)
	want := append(slices.Clone(life[:len(life)-1]), snapshot.TimeWait, snapshot.Close)
	if got := w.walks[key]; !slices.Equal(got, want) || w.closes[key] != 1 || len(w.wrong) != 0 {
		t.Errorf("reported %v, %d closes, inferred changes %q, want %v, one and none", got, w.closes[key], w.wrong, want)
	}
	if merged.Len() != 0 {
		t.Errorf("left: %v", tableRows(merged))
	}
}
