package stream

import (
	"iter"
	"slices"
	"time"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// Events says which events of connections a run tells. What it says of itself (start,
// losses, comparisons, totals) it always tells.
type Events uint8

// The kinds of events.
const (
	EventsAll    Events = iota // the table at the start, each transition and each close
	EventsClose                // closes alone
	EventsFailed               // closes of connections that failed, alone
)

// ParseEvents returns the kind of a name, as the command line has them.
func ParseEvents(name string) (e Events, ok bool) {
	switch name {
	case "all":
		return EventsAll, true
	case "close":
		return EventsClose, true
	case "failed":
		return EventsFailed, true
	}
	return 0, false
}

// String returns the name, as ParseEvents takes it.
func (e Events) String() string {
	switch e {
	case EventsClose:
		return "close"
	case EventsFailed:
		return "failed"
	}
	return "all"
}

// Closes reports whether closes alone are told.
func (e Events) Closes() bool { return e != EventsAll }

// keeps says what the kernel side may keep until connections end. An observer sees all
// changes.
func (o *Options) keeps() tracer.Closes {
	switch {
	case o.Observer != nil:
		return tracer.AllChanges
	case o.Events == EventsClose:
		return tracer.ClosesAlone
	case o.Events == EventsFailed:
		return tracer.FailedCloses
	}
	return tracer.AllChanges
}

// Where closes alone come from, in the words of the start record.
const (
	closesKernel = "kernel" // the kernel side keeps what leads to them
	closesUser   = "user"   // all changes are read, and the others left out
)

// closesOf says where closes alone come from; empty: all changes are told.
func (o *Options) closesOf(kept bool) string {
	switch {
	case !o.Events.Closes():
		return ""
	case kept:
		return closesKernel
	}
	return closesUser
}

// wants reports whether a change is told.
func (e Events) wants(c *table.Change) bool {
	switch e {
	case EventsClose:
		return c.Kind == table.ChangeClose
	case EventsFailed:
		return c.Kind == table.ChangeClose && c.Close != nil && c.Close.Outcome.Failed()
	}
	return true
}

// eventFilter passes on the events that are asked for.
type eventFilter struct {
	Handler // the next stage
	events  Events
	noTable bool   // the table at the start is not asked for
	dropped uint64 // changes that were not passed on
}

// Snapshot passes the initial table on, or an empty one.
func (f *eventFilter) Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error {
	if f.noTable || f.events.Closes() {
		rows = func(func(*table.Conn) bool) {}
	}
	return f.Handler.Snapshot(rows, took)
}

// Change passes on a change that is asked for.
func (f *eventFilter) Change(c *table.Change) error {
	if !f.events.wants(c) {
		f.dropped++
		return nil
	}
	return f.Handler.Change(c)
}

// outputFilter passes on the events that one output asks for.
type outputFilter struct{ eventFilter }

// Only returns a handler that passes on some of the events to an output, which counts
// the others among what is left out.
func Only(events Events, h Handler) Handler {
	if events == EventsAll {
		return h
	}
	return &outputFilter{eventFilter{Handler: h, events: events}}
}

// Stats passes on what went through, for this output.
func (f *outputFilter) Stats(t *output.Totals) error {
	own := f.own(t)
	return f.Handler.Stats(&own)
}

// Stop passes on what went through, for this output.
func (f *outputFilter) Stop(t *output.Totals, reason string) error {
	own := f.own(t)
	return f.Handler.Stop(&own, reason)
}

func (f *outputFilter) own(t *output.Totals) output.Totals {
	own := *t
	own.Filtered += f.dropped
	return own
}

// Widest returns the events that are enough for all of these.
func Widest(all ...Events) Events {
	if len(all) == 0 {
		return EventsAll
	}
	return slices.MinFunc(all, func(a, b Events) int { return int(a) - int(b) })
}
