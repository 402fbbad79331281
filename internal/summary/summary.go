package summary

import (
	"time"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// Summary sums up rows of a view, or records of the stream.
type Summary struct {
	groups  *groups
	users   output.Users
	subject field.Subject
	open    map[uint64]*group // of each open connection, by its id
}

// New returns a summary of nothing yet. users and devices may be nil: numbers are shown.
func New(spec *Spec, users output.Users, devices Devices) *Summary {
	return &Summary{groups: newGroups(spec, devices), users: users, open: make(map[uint64]*group)}
}

// AddRow counts a row.
func (s *Summary) AddRow(row *field.Subject) {
	one := s.groups.of(row)
	s.groups.counted(one)
	one.count++
	one.measure(s.groups.spec, row)
}

// AddConn counts an open connection of the initial table of the stream.
func (s *Summary) AddConn(c *table.Conn) {
	if s.groups.spec.counts == Connections && isOpen(c.State) {
		s.subject.SetConn(c)
		s.enter(c.ID)
	}
}

// AddChange counts a record of the stream.
func (s *Summary) AddChange(c *table.Change) {
	s.subject.SetChange(c)
	switch s.groups.spec.counts {
	case Transitions:
		if c.Kind == table.ChangeState {
			one := s.groups.of(&s.subject)
			s.groups.counted(one)
			one.count++
		}
	case Ends:
		if c.Kind == table.ChangeClose {
			s.end(s.groups.of(&s.subject), hasFailed(c))
		}
	case Connections:
		s.addLife(life{
			id: c.Conn.ID, opens: c.Kind == table.ChangeState && isOpen(c.New),
			ends: c.Kind == table.ChangeClose, failed: hasFailed(c),
		})
	}
}

func hasFailed(c *table.Change) bool { return c.Close != nil && c.Close.Outcome.Failed() }

// life is what a record of the stream says of the life of a connection or a socket.
type life struct {
	id     uint64
	opens  bool // it is open, if it was not already
	ends   bool
	failed bool
}

// addLife follows a connection from its first record to its end. The subject is it.
func (s *Summary) addLife(l life) {
	before, was := s.open[l.id]
	switch {
	case l.ends:
		one := s.groups.of(&s.subject)
		if was {
			before.open--
			delete(s.open, l.id)
		} else {
			one.opened++ // it failed before its first transition
		}
		s.end(one, l.failed)
	case was:
		if one := s.groups.of(&s.subject); one != before { // its owner or its port is known now
			before.open--
			one.open++
			s.open[l.id] = one
		}
	case l.opens:
		s.enter(l.id)
		s.open[l.id].opened++
	}
}

// enter counts the subject as open.
func (s *Summary) enter(id uint64) {
	one := s.groups.of(&s.subject)
	s.groups.counted(one)
	one.open++
	s.open[id] = one
}

// end counts the subject as ended.
func (s *Summary) end(one *group, failed bool) {
	s.groups.counted(one)
	one.count++
	if failed {
		one.failed++
	}
	one.measure(s.groups.spec, &s.subject)
}

// isOpen reports whether a connection in a state counts as open: the same as in the
// totals of the stream.
func isOpen(state snapshot.State) bool {
	switch state {
	case snapshot.Close, snapshot.Listen, snapshot.TimeWait:
		return false
	}
	return true
}

// Table returns what was summed up. window is how long that took, from start on; 0: it
// is the table of a view.
func (s *Summary) Table(start time.Time, window time.Duration) output.Summary {
	t := s.groups.table(s.users)
	t.Start, t.Window = start, window
	return t
}

// Next begins a window: what is open stays, all else is forgotten.
func (s *Summary) Next() { s.groups.next() }
