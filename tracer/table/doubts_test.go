package table_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// scan scans with given rows and answers, and returns what was found. Rows are read
// now, questions answered as the socket's cookie says: nil is that there is no such socket,
// a missing one that nobody could be asked.
func (h *host) scan(rows []table.Event, answers map[uint64][]*table.Event) (found table.Resync, again bool, asked []uint64) {
	h.t.Helper()
	h.clock += 10e6
	h.table.BeginScan(h.clock, false)
	for _, e := range rows {
		h.apply(e)
	}
	for range 20 {
		doubts := h.table.Doubts()
		for _, q := range doubts {
			asked = append(asked, q.Cookie)
			h.clock += 10e6
			a := table.Answer{After: h.clock, Time: h.clock + 1000}
			if list, ok := answers[q.Cookie]; ok && len(list) > 0 {
				a.Known = true
				if list[0] != nil {
					row := *list[0]
					row.After, row.Time, row.Netns = a.After, a.Time, 1
					a.Row = &row
				}
				answers[q.Cookie] = list[1:]
			}
			h.clock = a.Time
			h.table.Answer(q, a)
		}
		if len(doubts) == 0 {
			break
		}
	}
	found, again = h.table.EndScan(h.clock)
	if err := h.table.Check(); err != nil {
		h.t.Error(err)
	}
	return found, again, asked
}

func rowOf(cookie uint64, state snapshot.State, remote uint16) table.Event {
	return socket(table.EventRow, cookie, 0, state, remote)
}

// TestDoubts has the kernel's table say something else than the events. One connection is
// there, to port 100, ESTABLISHED as far as events go.
func TestDoubts(t *testing.T) {
	type rows = []table.Event
	type answers = []*table.Event
	is := func(state snapshot.State) *table.Event {
		e := rowOf(1, state, 100)
		return &e
	}
	moved := rowOf(1, snapshot.Established, 200)
	waiting := rowOf(1, snapshot.TimeWait, 100)
	waiting.Mini = true
	ending := rowOf(1, snapshot.Close, 100)
	for _, c := range []struct {
		name    string
		rows    rows
		answers answers
		found   table.Resync
		again   bool
		asked   int
		want    []string // changes
	}{
		{"it agrees", rows{*is(snapshot.Established)}, nil, table.Resync{}, false, 0, nil},
		{
			"it contradicts, twice",
			rows{*is(snapshot.CloseWait)},
			answers{is(snapshot.CloseWait)},
			table.Resync{Changed: 1},
			false, 1,
			[]string{"100 ESTABLISHED>CLOSE_WAIT nobody"},
		},
		{"it contradicts, and then not", rows{*is(snapshot.CloseWait)}, answers{is(snapshot.Established)}, table.Resync{}, false, 1, nil},
		{"it contradicts, and nobody can be asked", rows{*is(snapshot.CloseWait)}, nil, table.Resync{}, true, 1, nil},
		{
			"it is gone", nil,
			answers{nil, nil},
			table.Resync{Removed: 1},
			false, 2,
			[]string{"100 ESTABLISHED>CLOSE nobody"},
		},
		{"it was not shown and is there", nil, answers{nil, is(snapshot.Established)}, table.Resync{}, false, 2, nil},
		{"it is at its end, then gone", nil, answers{&ending, nil, nil}, table.Resync{Removed: 1}, false, 3, []string{"100 ESTABLISHED>CLOSE nobody"}},
		{
			"it left a timewait socket", nil,
			answers{&waiting},
			table.Resync{Changed: 1},
			false, 1,
			[]string{"100 ESTABLISHED>TIME_WAIT nobody"},
		},
		{
			"it has another peer",
			rows{moved},
			answers{&moved},
			table.Resync{Added: 1, Removed: 1},
			false, 1,
			[]string{"100 ESTABLISHED>CLOSE nobody", "200 CLOSE>ESTABLISHED nobody"},
		},
		{"it was not shown, and nobody can be asked", nil, nil, table.Resync{}, true, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, table.Config{CanScan: true})
			if cookie := h.establish(100); cookie != 1 {
				t.Fatalf("the connection has cookie %d", cookie)
			}
			h.got = nil
			found, again, asked := h.scan(c.rows, map[uint64][]*table.Event{1: c.answers})
			if found != c.found || again != c.again || len(asked) != c.asked {
				t.Errorf("found %+v, again %t, asked for %v", found, again, asked)
			}
			h.want(c.want...)
		})
	}
}

// TestUnseenTwice has a listener and a connection that nobody can be asked for not be
// shown by two scans: they are gone after the second one.
func TestUnseenTwice(t *testing.T) {
	h := newHost(t, table.Config{CanScan: true})
	h.process(1, "server", true)
	listener := h.listen(1)
	h.establish(100)
	h.got = nil
	answers := map[uint64][]*table.Event{listener: {nil, nil}} // another one in its place is found
	if found, again, _ := h.scan(nil, answers); found.Found() || !again {
		t.Errorf("the first scan found %+v, again %t", found, again)
	}
	h.want()
	if found, again, _ := h.scan(nil, answers); found.Removed != 2 || again {
		t.Errorf("the second scan found %+v, again %t", found, again)
	}
	slices.Sort(h.got)
	h.want("0 LISTEN>CLOSE 1/server/1", "100 ESTABLISHED>CLOSE 1/server/3")
}

// TestRowsOfTheEnded applies rows that were read before their sockets ended, and were
// merged later: none of them comes back. Afterwards the same addresses may be used again.
func TestRowsOfTheEnded(t *testing.T) {
	for _, late := range []bool{false, true} {
		h := newHost(t, table.Config{CanScan: true, LateCookies: late})
		h.clock += 10e6
		h.table.BeginScan(h.clock, true)
		after := h.clock
		h.apply(socket(table.EventState, 1, snapshot.Established, snapshot.Close, 100))
		gone := socket(table.EventMiniGone, 2, 0, 0, 101)
		h.apply(gone)
		h.apply(socket(table.EventState, 3, snapshot.Listen, snapshot.Close, 0))
		h.settle()
		mini := rowOf(2, snapshot.TimeWait, 101)
		mini.Mini, mini.Sock = true, 0
		sibling := rowOf(4, snapshot.Listen, 0)
		sibling.Inode = 44
		for _, e := range []table.Event{rowOf(1, snapshot.Established, 100), mini, rowOf(3, snapshot.Listen, 0), sibling} {
			e.After, e.Time, e.Netns = after, h.clock, 1
			h.table.Apply(&e)
		}
		h.table.EndScan(h.clock)
		var left []netip.AddrPort
		for c := range h.table.All {
			left = append(left, c.Remote)
		}
		if len(left) != 1 || h.table.Len() != 1 {
			t.Errorf("late cookies %t: left are %v, want the listener", late, tableRows(h.table))
		}
		if found, again, _ := h.scan([]table.Event{rowOf(5, snapshot.Established, 100), sibling}, map[uint64][]*table.Event{5: {ptr(rowOf(5, snapshot.Established, 100))}}); found.Added != 1 || again {
			t.Errorf("late cookies %t: the next scan found %+v, again %t", late, found, again)
		}
	}
}

// TestAnswersOfTheEnded has the kernel answer that a mini-socket is in the place of a
// connection whose end no event reported, and the mini-socket end before the answer is
// merged: neither of them is left.
func TestAnswersOfTheEnded(t *testing.T) {
	waiting, request := rowOf(1, snapshot.TimeWait, 100), rowOf(2, snapshot.SynRecv, 100)
	waiting.Mini, request.Mini = true, true
	for _, c := range []struct {
		name string
		late bool
		row  table.Event
	}{
		{"its timewait socket", false, waiting},
		{"its timewait socket, late cookies", true, waiting},
		{"a later request, late cookies", true, request},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, table.Config{CanScan: true, LateCookies: c.late})
			began := socket(table.EventState, 1, snapshot.SynRecv, snapshot.Established, 100)
			if c.late {
				began.Cookie = 0
			}
			h.apply(began)
			h.got = nil
			h.clock += 10e6
			h.table.BeginScan(h.clock, false)
			h.apply(c.row)
			asked := 0
			for doubts := h.table.Doubts(); len(doubts) > 0; doubts = h.table.Doubts() {
				h.clock += 10e6
				a := table.Answer{Known: true, After: h.clock, Time: h.clock}
				if asked++; asked == 1 {
					a.Row = ptr(c.row)
					a.Row.After, a.Row.Time, a.Row.Netns = a.After, a.Time, 1
					gone := socket(table.EventMiniGone, 3, 0, 0, 100)
					gone.Cookie = c.row.Cookie
					h.apply(gone)
				}
				h.table.Answer(doubts[0], a)
			}
			found, again := h.table.EndScan(h.clock)
			if found != (table.Resync{Removed: 1}) || again || asked != 3 {
				t.Errorf("found %+v, again %t, asked %d times", found, again, asked)
			}
			if h.table.Len() != 0 {
				t.Errorf("left: %v", tableRows(h.table))
			}
			h.want("100 ESTABLISHED>CLOSE nobody")
		})
	}
}

// TestLaterLifeEnded has a socket connect again, which no event reports, and end between
// the reading of its row and the merging: it does not come back.
func TestLaterLifeEnded(t *testing.T) {
	for _, cookie := range []uint64{1, 0} { // of sock_diag and of /proc
		h := newHost(t, table.Config{CanScan: true})
		h.establish(100)
		h.apply(socket(table.EventState, 1, snapshot.Established, snapshot.Close, 100))
		h.settle()
		h.got = nil
		h.table.BeginScan(h.clock, false)
		row := rowOf(1, snapshot.SynSent, 200)
		row.Sock, row.Cookie, row.Netns = 0, cookie, 1
		row.After, row.Time = h.clock, h.clock
		question := table.Question{Head: snapshot.Head{Cookie: cookie, Netns: 1, Local: row.Local, Remote: row.Remote}}
		h.apply(socket(table.EventState, 1, snapshot.SynSent, snapshot.Close, 200))
		if cookie == 0 {
			h.table.Apply(&row)
		} else {
			h.table.Answer(question, table.Answer{Known: true, Row: &row, After: row.After, Time: row.Time})
		}
		if found, again := h.table.EndScan(h.clock); found.Found() || again || h.table.Len() != 0 {
			t.Errorf("cookie %d: found %+v, again %t, left: %v", cookie, found, again, tableRows(h.table))
		}
		h.want()
	}
}

// TestTimewaitMovedOn has a timewait socket go FIN_WAIT2 -> TIME_WAIT between the reading
// of its row and the merging, be it unknown to the table or its full socket not known to
// have ended. The step is reported once, and the initial table has what was before it.
func TestTimewaitMovedOn(t *testing.T) {
	for _, c := range []struct {
		name    string
		initial bool
		before  []table.Event
		want    []string
	}{
		{"initial", true, nil, []string{"100 FIN_WAIT2>TIME_WAIT nobody"}},
		{"unknown", false, nil, []string{"100 CLOSE>FIN_WAIT2 nobody", "100 FIN_WAIT2>TIME_WAIT nobody"}},
		{
			"full", false,
			[]table.Event{socket(table.EventState, 1, snapshot.SynRecv, snapshot.Established, 100)},
			[]string{"100 ESTABLISHED>FIN_WAIT2 nobody", "100 FIN_WAIT2>TIME_WAIT nobody"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, table.Config{CanScan: true})
			for _, e := range c.before {
				h.apply(e)
			}
			h.got = nil
			h.clock += 10e6
			h.table.BeginScan(h.clock, c.initial)
			row := rowOf(1, snapshot.FinWait2, 100)
			row.Sock, row.Mini, row.Netns, row.After, row.Time = 0, true, 1, h.clock, h.clock
			moved := socket(table.EventMiniState, 2, 0, snapshot.TimeWait, 100)
			moved.Cookie = row.Cookie
			h.apply(moved)
			h.table.Apply(ptr(row))
			for _, q := range h.table.Doubts() {
				h.table.Answer(q, table.Answer{Known: true, Row: ptr(row), After: row.After, Time: row.Time})
			}
			for listed := range h.table.InitialRows {
				if listed.State != snapshot.FinWait2 {
					t.Errorf("listed in %v", listed.State)
				}
			}
			if _, again := h.table.EndScan(h.clock); again {
				t.Error("something was left in doubt")
			}
			h.want(c.want...)
			for left := range h.table.All {
				if left.State != snapshot.TimeWait {
					t.Errorf("left in %v", left.State)
				}
			}
			if s := h.table.Stats(); h.table.Len() != 1 || s.Open != 0 || s.Closed != 1 {
				t.Errorf("%d left, counted %+v", h.table.Len(), s)
			}
		})
	}
}

// TestUnclaimedAtStart has the timer of a timewait socket start about when the snapshot
// ends: the socket is in the initial table or reported, not both, and not neither.
func TestUnclaimedAtStart(t *testing.T) {
	for _, c := range []struct {
		name   string
		merged bool // before the snapshot ended
		listed int
		want   []string
	}{
		{"merged before", true, 1, nil},
		{"merged after", false, 0, []string{"100 CLOSE>TIME_WAIT nobody"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, table.Config{CanScan: true})
			born := socket(table.EventMiniBorn, 1, 0, snapshot.TimeWait, 100)
			h.table.BeginScan(h.clock, true)
			if c.merged {
				h.apply(born)
				h.table.EndScan(h.clock)
			} else {
				h.table.EndScan(h.clock + 10e6)
				h.apply(born)
			}
			listed := 0
			for range h.table.InitialRows {
				listed++
			}
			if listed != c.listed {
				t.Errorf("%d are listed, want %d", listed, c.listed)
			}
			h.settle()
			h.want(c.want...)
		})
	}
}

func ptr(e table.Event) *table.Event { return &e }

// TestScanRefreshes has a scan show that timewait sockets left FIN_WAIT2. Where no event
// tells that, the row is as good as a refresh: nothing is asked for, and nothing counts as
// found.
func TestScanRefreshes(t *testing.T) {
	for _, refreshes := range []bool{true, false} {
		t.Run(fmt.Sprintf("refreshes %t", refreshes), func(t *testing.T) {
			h := newHost(t, table.Config{CanScan: true, RefreshMinis: refreshes})
			h.apply(socket(table.EventState, 1, snapshot.SynRecv, snapshot.Established, 100))
			h.apply(socket(table.EventState, 1, snapshot.Established, snapshot.FinWait1, 100))
			h.apply(socket(table.EventState, 1, snapshot.FinWait1, snapshot.FinWait2, 100))
			h.apply(socket(table.EventMiniBorn, 1, 0, snapshot.FinWait2, 100))
			h.apply(socket(table.EventState, 1, snapshot.FinWait2, snapshot.Close, 100))
			h.got = nil
			row := rowOf(1, snapshot.TimeWait, 100)
			row.Sock, row.Mini = 0, true
			found, again, asked := h.scan([]table.Event{row}, map[uint64][]*table.Event{1: {&row}})
			if again || found.Found() == refreshes || (len(asked) == 0) != refreshes {
				t.Errorf("found %+v, again %t, asked for %d", found, again, asked)
			}
			h.want("100 FIN_WAIT2>TIME_WAIT nobody")
		})
	}
}

// TestTimewaitAtFormerAddress has a scan find a timewait socket whose birth was lost, and its
// timer start again where another one was whose end was lost too: the table has each once.
func TestTimewaitAtFormerAddress(t *testing.T) {
	for _, last := range []table.EventKind{table.EventMiniBorn, table.EventMiniGone} {
		h := newHost(t, table.Config{CanScan: true})
		at := uint64(0xffff888000400000)
		for _, e := range []table.Event{
			socket(table.EventState, 1, snapshot.SynRecv, snapshot.Established, 100),
			socket(table.EventState, 1, snapshot.Established, snapshot.FinWait1, 100),
			socket(table.EventMiniBorn, 1, 0, snapshot.TimeWait, 100),
			socket(table.EventState, 1, snapshot.FinWait1, snapshot.Close, 100),
		} {
			if e.Kind == table.EventMiniBorn {
				e.Sock = at
			}
			h.apply(e)
		}
		stays, found := rowOf(1, snapshot.TimeWait, 100), rowOf(2, snapshot.TimeWait, 200)
		for _, row := range []*table.Event{&stays, &found} {
			row.Sock, row.Mini = 0, true
		}
		h.scan([]table.Event{stays, found}, map[uint64][]*table.Event{2: {&found}})
		if h.table.Len() != 2 {
			t.Fatalf("%d rows: %v", h.table.Len(), tableRows(h.table))
		}
		e := socket(last, 2, snapshot.TimeWait, snapshot.TimeWait, 200)
		e.Sock = at
		h.apply(e)
		h.settle()
		h.settle()
		if err := h.table.Check(); err != nil {
			t.Error(err)
		}
		ports := make(map[uint16]int)
		for c := range h.table.All {
			ports[c.Remote.Port()]++
		}
		if want := map[uint16]int{100: 1, 200: 1}; last == table.EventMiniBorn && !maps.Equal(ports, want) {
			t.Errorf("started again: %v", ports)
		}
		if want := map[uint16]int{100: 1}; last == table.EventMiniGone && !maps.Equal(ports, want) {
			t.Errorf("ended: %v", ports)
		}
	}
}
