package table_test

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

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

// storyCase is a connection to be told event by event and as a story.
type storyCase struct {
	incoming bool
	owned    bool // a process is known that connected or accepted
	walk     []snapshot.State
	timewait snapshot.State // of the timewait socket; 0: none is left
	reset    bool           // a RST was sent
	end      func(*table.Event)
}

// tell has two tables told of the connection. It returns the closes that they tell, and how
// many rows the one of stories is left with.
func (c *storyCase) tell() (events, story []told, left int) {
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
		Incoming: c.incoming, Request: c.incoming, Owned: c.owned && !c.incoming, Accepted: c.owned && c.incoming, ResetSent: c.reset,
	}
	by := func(e table.Event) *table.Event {
		e.Task, e.TID, e.CgroupID, e.Thread = caller.Task, caller.TID, caller.CgroupID, caller.Thread
		return &e
	}
	if c.incoming {
		e := storyEvent(table.EventMiniBorn, 0, snapshot.SynRecv, 10)
		e.Sock, e.Cookie = 1<<63|8, 0
		full.Apply(&e)
	}
	at := uint64(10)
	for i := 1; i < len(c.walk)-1; i++ {
		e := storyEvent(table.EventState, c.walk[i-1], c.walk[i], at)
		if i == 1 && s.Owned {
			e = *by(e)
		}
		full.Apply(&e)
		if c.walk[i] == snapshot.Established {
			s.Established = at
			if s.Accepted {
				full.Apply(by(storyEvent(table.EventAccept, 0, 0, at)))
			}
		}
		s.Moved = at
		s.Steps = append(s.Steps, table.Step{Old: c.walk[i-1], New: c.walk[i]})
		at += 10
	}
	// The process is another program by the time that the story comes.
	full.Apply(process("after", at))
	kept.Apply(process("after", at))
	last := c.walk[len(c.walk)-2]
	if c.reset {
		e := storyEvent(table.EventResetSent, last, 0, at)
		full.Apply(&e)
	}
	if c.timewait != 0 {
		e := storyEvent(table.EventMiniBorn, 0, c.timewait, at)
		e.Sock, e.HasUID = 1<<63|7, false
		full.Apply(&e)
		s.Timewait, s.Substate = e.Sock, c.timewait
	}
	s.End = storyEvent(table.EventState, last, snapshot.Close, at)
	s.End.HasStats, s.End.BytesReceived, s.End.SocketState = true, 5, 3
	c.end(&s.End)
	end := s.End
	full.Apply(&end)
	kept.ApplyStory(&s)
	for _, tab := range []*table.Table{full, kept} {
		if c.timewait == snapshot.FinWait2 {
			e := storyEvent(table.EventMiniState, 0, snapshot.TimeWait, at+5)
			e.Sock = s.Timewait
			tab.Apply(&e)
		}
		tab.Settle(at + 1<<40)
	}
	for i := range *want {
		(*want)[i].Conn.Inode = 0 // which no close tells
	}
	return *want, *got, kept.Len()
}

// failer is a test, or one draw of it.
type failer interface {
	Errorf(string, ...any)
	Fatalf(string, ...any)
}

// compare wants both to tell the same close.
func (c *storyCase) compare(t failer) (got told) {
	want, closes, left := c.tell()
	if len(want) != 1 {
		t.Fatalf("%d closes told event by event", len(want))
	}
	if diff := cmp.Diff(want, closes, cmpopts.EquateComparable(netip.AddrPort{}), cmp.AllowUnexported(table.History{})); diff != "" {
		t.Fatalf("(-events +story):\n%s", diff)
	}
	if left != 0 {
		t.Errorf("%d rows are left", left)
	}
	return closes[0]
}

// TestStory has the same connections told event by event and as stories: they must end alike.
func TestStory(t *testing.T) {
	const (
		sent, estab, fin1, fin2  = snapshot.SynSent, snapshot.Established, snapshot.FinWait1, snapshot.FinWait2
		wait, last, closed, recv = snapshot.CloseWait, snapshot.LastAck, snapshot.Close, snapshot.SynRecv
	)
	for name, c := range map[string]storyCase{
		"finished by the peer": {
			walk: []snapshot.State{closed, sent, estab, wait, last, closed},
			end:  func(e *table.Event) { e.AllAcked, e.AllSent = true, true },
		},
		"accepted": {
			incoming: true, walk: []snapshot.State{recv, estab, wait, last, closed},
			end: func(e *table.Event) { e.AllAcked, e.AllSent, e.GotFIN = true, true, true },
		},
		"left a timewait socket": {
			incoming: true, walk: []snapshot.State{recv, estab, fin1, fin2, closed}, timewait: snapshot.TimeWait,
			end: func(e *table.Event) { e.AllSent = true },
		},
		"left one in FIN_WAIT2": {
			walk: []snapshot.State{closed, sent, estab, fin1, fin2, closed}, timewait: fin2,
			end: func(e *table.Event) { e.AllSent = true },
		},
		"reset by the peer": {
			walk: []snapshot.State{closed, sent, estab, closed}, end: func(e *table.Event) { e.Err = 104 },
		},
		"reset here after a FIN": {
			walk: []snapshot.State{closed, sent, estab, fin1, closed}, reset: true, end: func(e *table.Event) { e.AllSent = true },
		},
		"refused": {
			walk: []snapshot.State{closed, sent, closed}, end: func(e *table.Event) { e.Err, e.SegsIn, e.SegsOut = 111, 1, 1 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.owned = true
			got := c.compare(t)
			if p := got.Conn.Owner.Process; p == nil || p.Comm != "before" {
				t.Errorf("the owner is %v, and not what it was in its call", p)
			}
		})
	}
}

// TestStoryAlike compares the two for connections of all kinds.
func TestStoryAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { drawStory(t).compare(t) })
}

// drawStory draws a connection: its way through the states of RFC 9293, and how it ends.
func drawStory(t *rapid.T) *storyCase {
	next := map[snapshot.State][]snapshot.State{
		snapshot.Close:       {snapshot.SynSent},
		snapshot.SynSent:     {snapshot.Established, snapshot.Close},
		snapshot.SynRecv:     {snapshot.Established, snapshot.Close},
		snapshot.Established: {snapshot.FinWait1, snapshot.CloseWait, snapshot.Close},
		snapshot.FinWait1:    {snapshot.FinWait2, snapshot.Closing, snapshot.Close},
		snapshot.FinWait2:    {snapshot.Close},
		snapshot.Closing:     {snapshot.Close},
		snapshot.CloseWait:   {snapshot.LastAck, snapshot.Close},
		snapshot.LastAck:     {snapshot.Close},
	}
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	c := &storyCase{incoming: flag("incoming"), owned: flag("owned"), walk: []snapshot.State{snapshot.Close}}
	if c.incoming {
		c.walk[0] = snapshot.SynRecv
		c.walk = append(c.walk, snapshot.Established)
	}
	for len(c.walk) == 1 || c.walk[len(c.walk)-1] != snapshot.Close {
		c.walk = append(c.walk, rapid.SampledFrom(next[c.walk[len(c.walk)-1]]).Draw(t, "state"))
	}
	switch last := c.walk[len(c.walk)-2]; last {
	case snapshot.FinWait1, snapshot.FinWait2, snapshot.Closing:
		c.timewait = rapid.SampledFrom([]snapshot.State{0, snapshot.TimeWait, snapshot.FinWait2}).Draw(t, "timewait")
		c.reset = c.timewait == 0 && flag("reset")
	case snapshot.SynSent: // no RST ends it
	default:
		c.reset = flag("reset")
	}
	errno := rapid.SampledFrom([]syscall.Errno{0, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT, syscall.ECONNREFUSED, syscall.EHOSTUNREACH}).Draw(t, "errno")
	marks := rapid.SliceOfN(rapid.Bool(), 7, 7).Draw(t, "marks")
	segments := rapid.Uint32Range(0, 3)
	in, out := segments.Draw(t, "segments in"), segments.Draw(t, "segments out")
	released := flag("released")
	c.end = func(e *table.Event) {
		e.Err, e.SegsIn, e.SegsOut, e.Released = errno, in, out, released
		e.AllAcked, e.AllSent, e.GotFIN, e.Owned = marks[0], marks[1], marks[2], marks[3]
		e.RcvShutdown, e.SendShutdown = marks[4], marks[5]
		if marks[6] {
			e.SocketState = 0
		}
	}
	return c
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
