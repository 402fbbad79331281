package table_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// told is what of a close does not differ from run to run.
type told struct {
	Conn   table.Conn
	Closed table.Closed
	Time   uint64
	From   bool // inferred
}

// storyTable returns a table and the closes that it tells.
func storyTable(cfg table.Config) (*table.Table, *table.Processes, *[]told) {
	closes := new([]told)
	procs := table.NewProcesses(10, func(*snapshot.Process, uint64) {}, func(uint32) {})
	t := table.New(cfg, procs, func(c *table.Change) {
		if c.Kind == table.ChangeClose {
			conn := *c.Conn
			conn.ID = 0
			*closes = append(*closes, told{conn, *c.Close, c.Time, c.Inferred})
		}
	})
	return t, procs, closes
}

var (
	storyLocal  = netip.MustParseAddrPort("10.0.0.1:443")
	storyRemote = netip.MustParseAddrPort("10.0.0.2:50000")
)

func storyEvent(kind table.EventKind, old, state snapshot.State, at uint64) table.Event {
	return table.Event{
		Kind: kind, Old: old, New: state, Time: at, Sock: 1<<63 | 9, Cookie: 9, Netns: 1,
		UID: 7, HasUID: true, Local: storyLocal, Remote: storyRemote,
	}
}

// process is the record of what process 5 is from a time on.
func process(name string, at uint64) *table.Event {
	return &table.Event{Kind: table.EventProcess, Task: 5, Time: at, Exec: true, Process: &snapshot.Process{PID: 5, Comm: name}}
}

// TestStory has the same connections told event by event and as stories: they must end alike.
func TestStory(t *testing.T) {
	const (
		sent, estab, fin1, fin2  = snapshot.SynSent, snapshot.Established, snapshot.FinWait1, snapshot.FinWait2
		wait, last, closed, recv = snapshot.CloseWait, snapshot.LastAck, snapshot.Close, snapshot.SynRecv
	)
	for _, c := range []struct {
		name     string
		incoming bool
		walk     []snapshot.State
		timewait snapshot.State
		reset    bool
		end      func(*table.Event)
	}{
		{"finished by the peer", false, []snapshot.State{closed, sent, estab, wait, last, closed}, 0, false, func(e *table.Event) { e.AllAcked, e.AllSent = true, true }},
		{"accepted", true, []snapshot.State{recv, estab, wait, last, closed}, 0, false, func(e *table.Event) { e.AllAcked, e.AllSent, e.GotFIN = true, true, true }},
		{"left a timewait socket", true, []snapshot.State{recv, estab, fin1, fin2, closed}, snapshot.TimeWait, false, func(e *table.Event) { e.AllSent = true }},
		{"reset by the peer", false, []snapshot.State{closed, sent, estab, closed}, 0, false, func(e *table.Event) { e.Err = 104 }},
		{"reset here after a FIN", false, []snapshot.State{closed, sent, estab, fin1, closed}, 0, true, func(e *table.Event) { e.AllSent = true }},
		{"refused", false, []snapshot.State{closed, sent, closed}, 0, false, func(e *table.Event) { e.Err, e.SegsIn, e.SegsOut = 111, 1, 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := table.Config{CanScan: true, Resets: true}
			full, _, want := storyTable(cfg)
			cfg.Kept = func(uint64) bool { return true }
			kept, _, got := storyTable(cfg)
			for _, tab := range []*table.Table{full, kept} {
				tab.Apply(process("before", 1))
				tab.BeginScan(2, true)
				tab.EndScan(3)
			}
			caller := table.Event{Task: 5, TID: 6, CgroupID: 8, Thread: [16]byte{'t'}, Known: 1}
			s := table.Story{Start: 10, Caller: caller}
			s.StoryMarks = table.StoryMarks{
				Incoming: c.incoming, Request: c.incoming, Owned: !c.incoming, Accepted: c.incoming, ResetSent: c.reset,
			}
			if c.incoming {
				e := storyEvent(table.EventMiniBorn, 0, recv, 10)
				e.Sock, e.Cookie = 1<<63|8, 0
				full.Apply(&e)
			}
			at := uint64(10)
			for i := 1; i < len(c.walk)-1; i++ {
				e := storyEvent(table.EventState, c.walk[i-1], c.walk[i], at)
				if i == 1 && !c.incoming {
					e.Task, e.TID, e.CgroupID, e.Thread = caller.Task, caller.TID, caller.CgroupID, caller.Thread
				}
				full.Apply(&e)
				if c.walk[i] == estab {
					s.Established = at
				}
				if c.walk[i] == estab && c.incoming {
					a := storyEvent(table.EventAccept, 0, 0, at)
					a.Task, a.TID, a.CgroupID, a.Thread = caller.Task, caller.TID, caller.CgroupID, caller.Thread
					full.Apply(&a)
				}
				s.Steps = append(s.Steps, table.Step{Old: c.walk[i-1], New: c.walk[i]})
				at += 10
			}
			// The process is another program by the time that the story comes.
			full.Apply(process("after", at))
			kept.Apply(process("after", at))
			if c.reset {
				e := storyEvent(table.EventResetSent, c.walk[len(c.walk)-2], 0, at)
				full.Apply(&e)
			}
			if c.timewait != 0 {
				e := storyEvent(table.EventMiniBorn, 0, c.timewait, at)
				e.Sock, e.HasUID = 1<<63|7, false
				full.Apply(&e)
				s.Timewait, s.Substate = e.Sock, c.timewait
			}
			s.End = storyEvent(table.EventState, c.walk[len(c.walk)-2], closed, at)
			s.End.HasStats, s.End.BytesReceived, s.End.SocketState = true, 5, 3
			c.end(&s.End)
			end := s.End
			full.Apply(&end)
			kept.ApplyStory(&s)
			full.Settle(at + 1<<40)
			kept.Settle(at + 1<<40)
			if len(*want) != 1 {
				t.Fatalf("%d closes told event by event", len(*want))
			}
			for i := range *want {
				(*want)[i].Conn.Inode = 0 // which no close tells
			}
			if diff := cmp.Diff(*want, *got, cmpopts.EquateComparable(netip.AddrPort{}), cmp.AllowUnexported(table.History{})); diff != "" {
				t.Errorf("(-events +story):\n%s", diff)
			}
			if name := (*got)[0].Conn.Owner.Process; name == nil || name.Comm != "before" {
				t.Errorf("the owner is %v, and not what it was in its call", name)
			}
			if n := kept.Len(); n != 0 {
				t.Errorf("%d rows are left", n)
			}
		})
	}
}

// TestFormerProcesses keeps what a process was while something names it.
func TestFormerProcesses(t *testing.T) {
	tab, procs, closes := storyTable(table.Config{Keeping: table.Keeping{Kept: func(uint64) bool { return true }}})
	for at := range uint64(10_000) {
		tab.Apply(process("p", at+1))
	}
	if !procs.Crowded() {
		t.Error("10,000 former processes are not too many")
	}
	procs.Sweep(5_000, map[table.ProcessRef]bool{{Task: 5, Known: 17}: true})
	procs.Sweep(20_000, map[table.ProcessRef]bool{{Task: 5, Known: 17}: true})
	if procs.Crowded() {
		t.Error("nothing was dropped")
	}
	s := table.Story{
		Start: 20, Steps: []table.Step{{Old: snapshot.Close, New: snapshot.SynSent}}, StoryMarks: table.StoryMarks{Owned: true},
		Caller: table.Event{Task: 5, Known: 17}, End: storyEvent(table.EventState, snapshot.SynSent, snapshot.Close, 30),
	}
	tab.ApplyStory(&s)
	s.Caller.Known = 18
	tab.ApplyStory(&s)
	if len(*closes) != 2 || (*closes)[0].Conn.Owner.Process == nil || (*closes)[1].Conn.Owner.Process != nil {
		t.Errorf("the first of two closes has an owner that is known: %+v", *closes)
	}
}
