package stream

import (
	"iter"
	"time"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer/table"
)

// Matcher decides whether a record is told. *filter.Program is one.
type Matcher interface {
	Match(*field.Subject) bool
}

// filter passes on what the options and the filter ask for. Address families need no
// check here: the source reports those that were asked for alone.
//
// Each record is decided with the connection as it is known then. The transition that
// ends a connection and its close are one thing to say: they are decided once, with the
// fields of both, so that both are told or neither.
type filter struct {
	Handler   // the next stage
	listening output.Listening
	matcher   Matcher // nil: all
	subject   field.Subject
	ended     ended
	dropped   uint64 // changes that were not passed on

	looks  <-chan look // who wants to see how the run stands
	source Source
	ring   int // Options.Trace.RingBytes
}

// ended is the last transition that ended a connection, whose close comes next.
type ended struct {
	conn uint64 // Conn.ID; 0: none
	told bool
}

// wants reports whether the options ask for a connection. Without a remote port it is
// a listener, or a socket that is not connected yet.
func (f *filter) wants(c *table.Conn) bool {
	return f.listening.Shows(c.Remote.Port() == 0)
}

// Snapshot passes on the rows that are asked for.
func (f *filter) Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error {
	return f.Handler.Snapshot(func(yield func(*table.Conn) bool) {
		for row := range rows {
			if f.wants(row) && f.matchesRow(row) && !yield(row) {
				return
			}
		}
	}, took)
}

func (f *filter) matchesRow(c *table.Conn) bool {
	if f.matcher == nil {
		return true
	}
	f.subject.SetConn(c)
	return f.matcher.Match(&f.subject)
}

// Change passes on a change that is asked for.
func (f *filter) Change(c *table.Change) error {
	if !f.wants(c.Conn) || !f.matches(c) {
		f.dropped++
		return nil
	}
	return f.Handler.Change(c)
}

// matches reports whether the filter selects a change, or selected the transition that
// it belongs to.
func (f *filter) matches(c *table.Change) bool {
	if f.matcher == nil {
		return true
	}
	if last := f.ended; c.Kind == table.ChangeClose && last.conn == c.Conn.ID {
		f.ended = ended{}
		return last.told
	}
	f.subject.SetChange(c)
	told := f.matcher.Match(&f.subject)
	if f.ended = (ended{}); c.Kind == table.ChangeState && c.Close != nil {
		f.ended = ended{c.Conn.ID, told}
	}
	return told
}

// Idle lets others look at the run.
func (f *filter) Idle() error {
	f.answer()
	return f.Handler.Idle()
}
