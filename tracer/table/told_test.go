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
