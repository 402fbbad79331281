package table_test

import (
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestCloseToldOnce has a scan find a timewait socket of which no event told. If that of
// the end of its full socket came, the close was reported, and what becomes of the
// timewait socket ends nothing.
func TestCloseToldOnce(t *testing.T) {
	mini := func(state snapshot.State) table.Event {
		e := rowOf(1, state, 100)
		e.Mini, e.Sock = true, 0
		return e
	}
	full := []snapshot.State{snapshot.Established, snapshot.FinWait1, snapshot.FinWait2, snapshot.Close}
	for _, c := range []struct {
		name    string
		cfg     table.Config
		initial bool // the first scan is the one of the start
		full    bool // the full socket's events came
		others  int  // connections that ended since
		last    []table.Event
	}{
		{name: "a peer that closes", full: true, last: []table.Event{mini(snapshot.TimeWait)}},
		{name: "a peer that never closes", full: true},
		{name: "the first scan", initial: true, full: true, last: []table.Event{mini(snapshot.TimeWait)}},
		{name: "lockdown", cfg: table.Config{UnseenMinis: true}, full: true, last: []table.Event{mini(snapshot.TimeWait)}},
		{name: "lockdown, many ended since", cfg: table.Config{UnseenMinis: true}, full: true, others: 100_000},
		{name: "no event came", last: []table.Event{mini(snapshot.TimeWait)}},
		{name: "no event came, and no end", last: nil},
		{name: "lockdown, before the start", cfg: table.Config{UnseenMinis: true}, initial: true, last: []table.Event{mini(snapshot.TimeWait)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.CanScan = true
			h, closes := newHost(t, c.cfg), 0
			h.table = table.New(c.cfg, noProcesses(), func(change *table.Change) {
				if change.Kind == table.ChangeClose && change.Conn.Remote.Port() == 100 {
					closes++
				}
			})
			if c.full {
				for i := range full[:len(full)-1] {
					h.apply(socket(table.EventState, 1, full[i], full[i+1], 100))
				}
			}
			for i := range c.others {
				h.apply(socket(table.EventState, uint64(i+2), snapshot.Established, snapshot.Close, 101))
			}
			h.settle()
			h.scanAs(c.initial, mini(snapshot.FinWait2))
			if h.table.Len() != 1 {
				t.Errorf("in the table are %v", tableRows(h.table))
			}
			h.scanAs(false, c.last...)
			h.scanAs(false)
			if s := h.table.Stats(); closes != 1 || s.Open != 0 || s.Before+s.Opened != uint64(1+c.others) {
				t.Errorf("%d closes; %+v", closes, s)
			}
			if h.table.Len() != 0 {
				t.Errorf("left are %v", tableRows(h.table))
			}
		})
	}
}

// TestTimewaitsOfProc has /proc show the timewait sockets of two connections of which no
// event told: both are in the table until events tell of their ends.
func TestTimewaitsOfProc(t *testing.T) {
	for _, cookies := range []bool{true, false} {
		h := newHost(t, table.Config{CanScan: true, LateCookies: !cookies})
		var rows []table.Event
		event := func(kind table.EventKind, cookie uint64, from, to snapshot.State) table.Event {
			e := socket(kind, cookie, from, to, uint16(100+cookie))
			if !cookies {
				e.Cookie = 0
			}
			return e
		}
		for cookie := uint64(1); cookie <= 2; cookie++ {
			h.apply(event(table.EventState, cookie, snapshot.Established, snapshot.FinWait1))
			h.apply(event(table.EventState, cookie, snapshot.FinWait1, snapshot.FinWait2))
			h.apply(event(table.EventMissed, cookie, snapshot.FinWait2, snapshot.Close))
			row := rowOf(0, snapshot.TimeWait, uint16(100+cookie))
			row.Mini, row.Sock = true, 0
			rows = append(rows, row)
		}
		h.settle()
		h.scanAs(false, rows...)
		want := 0
		if cookies {
			want = len(rows)
		}
		if h.table.Len() != want {
			t.Errorf("cookies %v: in the table are %v", cookies, tableRows(h.table))
		}
		for cookie := uint64(1); cookie <= 2; cookie++ {
			gone := event(table.EventMiniGone, cookie, 0, 0)
			gone.Sock += 1 << 40 // its own address
			h.apply(gone)
		}
		h.settle()
		if err := h.table.Check(); err != nil || h.table.Len() != 0 {
			t.Errorf("cookies %v: %v; left are %v", cookies, err, tableRows(h.table))
		}
	}
}

// TestFinWait2OfProc has a timewait socket in FIN_WAIT2 at the start, which /proc alone shows:
// it is there until /proc does not show it any more, and its close is told then, once.
func TestFinWait2OfProc(t *testing.T) {
	h, closes := newHost(t, table.Config{}), 0
	h.table = table.New(table.Config{CanScan: true}, noProcesses(), func(change *table.Change) {
		if change.Kind == table.ChangeClose {
			closes++
		}
	})
	row := rowOf(0, snapshot.FinWait2, 100)
	row.Mini, row.Sock = true, 0
	h.scanAs(true, row)
	for range 3 {
		h.scanAs(false, row)
		if closes > 0 || h.table.Len() != 1 {
			t.Fatalf("%d closes were told; in the table are %v", closes, tableRows(h.table))
		}
	}
	for range 3 {
		h.scanAs(false)
	}
	if s := h.table.Stats(); closes != 1 || s.Open != 0 || s.Before != 1 || h.table.Len() != 0 {
		t.Errorf("%d closes were told, %+v; left are %v", closes, s, tableRows(h.table))
	}
}

// scanAs scans with rows, which are what the kernel answers, too.
func (h *host) scanAs(initial bool, rows ...table.Event) {
	h.t.Helper()
	if !initial {
		answers := map[uint64][]*table.Event{1: {nil, nil}}
		for i := range rows {
			answers[1] = []*table.Event{&rows[i], &rows[i]}
		}
		h.scan(rows, answers)
		return
	}
	h.clock += 10e6
	h.table.BeginScan(h.clock, true)
	for _, e := range rows {
		h.apply(e)
	}
	h.table.EndScan(h.clock)
}
