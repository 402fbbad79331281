package table

import (
	"cmp"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// Where closes alone are told, the kernel side keeps the transitions of a connection and
// reports them at the end of its full socket, as one story (bpf/keep.h). The table takes it
// as the events that it would have had, so that it concludes the same; and tells the end
// alone. Sockets of which nothing is kept come event by event, as ever.

// Step is a transition of a story.
type Step struct{ Old, New snapshot.State }

// Story is a connection from its first event to the end of its full socket.
type Story struct {
	End         Event  // EventState to Close; Task is who used the socket last
	Start       uint64 // the first event
	Established uint64 // reached ESTABLISHED; 0: never
	Moved       uint64 // the last step of an incoming connection before Used
	Used        uint64 // when a call of a process led to a step of it first; 0: none did
	Listener    uint64 // Event.Listener of its request socket
	Timewait    uint64 // address of its timewait socket; 0: none
	Substate    snapshot.State
	ICMP        syscall.Errno // an error that came while connect() held the socket
	Caller      Event         // Task, Known, TID, Thread and CgroupID of who connected or accepted
	Steps       []Step        // without the last one
	StoryMarks
}

// StoryMarks are what is true of a story.
type StoryMarks struct {
	Incoming  bool
	Request   bool // Start and Listener are those of its request socket
	Owned     bool // Caller called connect
	Accepted  bool // Caller called accept
	ResetSent bool
}

// ApplyStory merges a story into the table.
func (t *Table) ApplyStory(s *Story) {
	if t.unwanted(&s.End) {
		return
	}
	t.applySteps(s)
	t.beforeEnd(s)
	t.Apply(&s.End)
}

// ApplyUnended merges a story whose end no event told: the kernel's table does not have the
// full socket any more, and has its timewait socket, or nothing. s.Caller is as in other
// stories; of s.End there is what identifies the socket.
func (t *Table) ApplyUnended(s *Story, timewait bool, at uint64) {
	if t.unwanted(&s.End) {
		return
	}
	t.applySteps(s)
	r := t.rows.byKey[s.End.key()]
	if r == nil {
		return
	}
	s.End.Time = at
	t.setStoryRow(r, s)
	t.scan.found.Removed++
	if !timewait {
		t.fulls.ended.add(r.key)
		t.life.end(r, at, true)
		return
	}
	e := t.storyEvent(s, EventRow, at)
	e.Mini, e.New, e.Sock = true, snapshot.TimeWait, s.End.Cookie
	t.merger.replace(r, e)
}

// applySteps applies all but the end.
func (t *Table) applySteps(s *Story) {
	t.dropShown(s)
	t.beginStory(s)
	for i := range s.Steps {
		t.applyStep(s, i)
	}
}

// dropShown drops what a scan has shown of a connection that the story tells whole.
func (t *Table) dropShown(s *Story) {
	r := t.rows.byKey[s.End.key()]
	if r == nil {
		return
	}
	if r.StartKnown {
		t.life.discount(r)
	} else {
		t.life.uncount(r)
	}
	t.rows.remove(r)
}

// storyEvent returns an event of the story's socket, which no CPU made: others came in
// between.
func (t *Table) storyEvent(s *Story, kind EventKind, at uint64) *Event {
	e := &t.step
	*e = Event{
		Kind: kind, Time: at, Sock: s.End.Sock, Cookie: s.End.Cookie, Netns: s.End.Netns,
		UID: s.End.UID, HasUID: s.End.HasUID, Device: s.End.Device, Local: s.End.Local, Remote: s.End.Remote,
	}
	return e
}

// beginStory applies the birth of the request socket. Its address is not kept, so that one
// is made up.
func (t *Table) beginStory(s *Story) {
	if !s.Request {
		return
	}
	e := t.storyEvent(s, EventMiniBorn, s.Start)
	e.New, e.Sock, e.Cookie, e.Listener = snapshot.SynRecv, ^s.End.Cookie, 0, s.Listener
	t.Apply(e)
}

// applyStep applies a transition, and what was kept beside it.
func (t *Table) applyStep(s *Story, i int) {
	step := s.Steps[i]
	e := t.storyEvent(s, EventState, max(s.Start, s.Established))
	e.Old, e.New = step.Old, step.New
	if s.Established == 0 || i == 0 && e.New != snapshot.Established {
		e.Time = s.Start
	}
	if i == 0 && s.Owned {
		s.setCaller(e)
	}
	t.Apply(e)
	switch {
	case e.New == snapshot.SynSent && s.ICMP != 0:
		e = t.storyEvent(s, EventConnectFailed, s.Start)
		e.New, e.Err = snapshot.SynSent, s.ICMP
		t.Apply(e)
	case e.New == snapshot.Established && s.Accepted:
		e = t.storyEvent(s, EventAccept, s.Established)
		s.setCaller(e)
		t.Apply(e)
	}
}

func (s *Story) setCaller(e *Event) {
	c := &s.Caller
	e.Task, e.Known, e.TID, e.Thread, e.CgroupID = c.Task, c.Known, c.TID, c.Thread, c.CgroupID
}

// beforeEnd applies what was kept of the end.
func (t *Table) beforeEnd(s *Story) {
	if r := t.rows.byKey[s.End.key()]; r != nil {
		t.setStoryRow(r, s)
	}
	if s.ResetSent {
		t.Apply(t.storyEvent(s, EventResetSent, s.End.Time))
	}
	if s.Timewait != 0 {
		e := t.storyEvent(s, EventMiniBorn, s.End.Time)
		e.Sock, e.New, e.HasUID = s.Timewait, s.Substate, false
		t.Apply(e)
	}
}

// setStoryRow takes what is known of a row besides. A request socket may have been there
// before the tracer.
func (t *Table) setStoryRow(r *row, s *Story) {
	if s.Start < t.cfg.Since {
		r.StartKnown, r.Established, r.Start = false, 0, t.cfg.Since
	}
	if !s.Accepted {
		if s.Incoming {
			t.owners.inheritThen(r, s.Listener, s.Moved, cmp.Or(s.Used, s.End.Time))
		}
		t.owners.useFound(r)
	}
}

// ApplyDropped merges a request that never became a connection: its birth, and its end,
// which nothing has followed.
func (t *Table) ApplyDropped(born *Event, gone uint64) {
	e := &t.step
	*e = *born
	e.Kind, e.Cookie = EventMiniBorn, 0 // it had none then
	t.Apply(e)
	r := t.rows.byMini[born.Sock]
	if r == nil { // it is not wanted
		return
	}
	t.owners.inheritThen(r, born.Listener, born.Time, gone)
	if born.Time < t.cfg.Since {
		r.StartKnown, r.Start = false, t.cfg.Since
	}
	t.life.end(r, gone, false)
}

// keeps reports whether the kernel side tells what a row of the kernel's table shows, or
// has told it. The table does not have it.
func (c *Config) keeps(e *Event) bool {
	switch {
	case c.Kept == nil:
		return false
	case e.Mini && (e.New != snapshot.FinWait2 || c.Fails): // nothing more is told of it, or it is kept
		return true
	}
	return e.Cookie != 0 && c.Kept(e.Cookie)
}
