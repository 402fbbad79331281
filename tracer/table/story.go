package table

import (
	"cmp"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// Where closes alone are told, the kernel side keeps the transitions of a connection and
// reports them at the end of its full socket, as one story (bpf/keep.h). The table walks its
// row through them as the events would have, so that it concludes the same; and tells the
// end alone. Sockets of which nothing is kept come event by event, as ever.

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
	r := t.retell(s)
	t.beforeEnd(r, s)
	if s.End.CPU != 0 {
		t.minis.decide(&s.End)
		t.fulls.decideNext(&s.End)
	}
	t.fulls.proceed(r, &s.End)
}

// ApplyUnended merges a story whose end no event told: the kernel's table does not have the
// full socket any more, and has its timewait socket, or nothing. s.Caller is as in other
// stories; of s.End there is what identifies the socket.
func (t *Table) ApplyUnended(s *Story, timewait bool, at uint64) {
	if t.unwanted(&s.End) {
		return
	}
	r := t.retell(s)
	s.End.Time = at
	t.setStoryRow(r, s)
	t.scan.found.Removed++
	if !timewait {
		t.fulls.ended.add(s.End.key())
		t.life.end(r, at, true)
		return
	}
	t.fulls.add(r, &s.End)
	e := t.storyEvent(s, EventRow, at)
	e.Mini, e.New, e.Sock = true, snapshot.TimeWait, s.End.Cookie
	t.merger.replace(r, e)
}

// retell returns the row that a story makes, in the state before the end. No index has it,
// as nothing comes in between, but where something is known of the socket already.
func (t *Table) retell(s *Story) *row {
	t.dropShown(s)
	if former := t.rows.undecided[s.End.key()]; former != nil {
		t.fulls.decide(former)
	}
	r := t.storyRow(s)
	for i := range s.Steps {
		t.takeStep(r, s, i)
	}
	return r
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

// storyRow returns the row in which a story begins: it is to take all steps, or the first one
// is that in which it is.
func (t *Table) storyRow(s *Story) *row {
	e := t.storyEvent(s, EventState, s.timeOf(0))
	if s.Request {
		return t.requestRow(s, e)
	}
	if len(s.Steps) == 0 { // which is none of the kernel side's
		return t.fulls.first(&s.End)
	}
	first := s.step(0)
	e.Old, e.New = first.Old, first.New
	if e.Old == snapshot.Close && e.New == snapshot.SynSent {
		r := t.fulls.newRow(e)
		if s.Owned {
			s.setCaller(e)
			t.owners.setSocket(r, e)
		}
		return r
	}
	r := t.fulls.first(e)
	t.owners.disinherit(r)
	return r
}

// requestRow returns the row of a connection whose request socket the story tells of.
func (t *Table) requestRow(s *Story, e *Event) *row {
	e.Time, e.Listener = s.Start, s.Listener
	r := t.minis.requestRow(e)
	t.life.walk(r, snapshot.SynRecv, s.Start)
	t.scan.placeEnded(r.tuple(), s.Start)
	return r
}

// timeOf returns the time of a step. Of those after ESTABLISHED none is known.
func (s *Story) timeOf(i int) uint64 {
	if s.Established == 0 || i == 0 && (len(s.Steps) == 0 || s.Steps[0].New != snapshot.Established) {
		return s.Start
	}
	return max(s.Start, s.Established)
}

// step returns a step. A child of a listener that was closed meanwhile came from that.
func (s *Story) step(i int) Step {
	step := s.Steps[i]
	if step.Old == snapshot.Close && step.New == snapshot.SynRecv {
		step.Old = snapshot.Listen
	}
	return step
}

// takeStep takes a step of a story, and what was kept beside it.
func (t *Table) takeStep(r *row, s *Story, i int) {
	step, at := s.step(i), s.timeOf(i)
	if r.State != step.New {
		if r.State != step.Old && step.Old != snapshot.Close { // no program saw what led there
			t.life.walk(r, step.Old, at)
		}
		t.life.walk(r, step.New, at)
	}
	switch {
	case step.New == snapshot.SynSent && s.ICMP != 0:
		t.life.endingOf(r).icmp = shortErrno(s.ICMP)
	case step.New == snapshot.Established && s.Accepted:
		e := t.storyEvent(s, EventAccept, s.Established)
		s.setCaller(e)
		t.owners.setSocket(r, e)
	}
}

func (s *Story) setCaller(e *Event) {
	c := &s.Caller
	e.Task, e.Known, e.TID, e.Thread, e.CgroupID = c.Task, c.Known, c.TID, c.Thread, c.CgroupID
}

// beforeEnd applies what was kept of the end.
func (t *Table) beforeEnd(r *row, s *Story) {
	t.setStoryRow(r, s)
	if s.ResetSent {
		t.fulls.resetSent(r)
	}
	if s.Timewait != 0 {
		e := t.storyEvent(s, EventMiniBorn, s.End.Time)
		e.Sock, e.New, e.HasUID = s.Timewait, s.Substate, false
		t.minis.bornOf(r, e)
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
