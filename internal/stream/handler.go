package stream

import (
	"errors"
	"iter"
	"time"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// Handler is a stage or an output of a run. All calls come from one goroutine:
// notices of what the run cannot do, Start, then those of tracer.Handler mixed
// with Stats and Notice, then Stop and a last notice. An error ends the run; Stop
// is called nevertheless, but not after a failed Start.
type Handler interface {
	tracer.Handler
	// Start gets what is known of the run before its first record.
	Start(*output.Start) error
	// Stats gets what went through so far, every 30 seconds.
	Stats(*output.Totals) error
	// Notice gets a line for the person who watches the run.
	Notice(Notice) error
	// Stop gets what went through, and why the run ended. What is buffered is
	// written now.
	Stop(totals *output.Totals, reason string) error
}

// Notice is a line for the person who watches the run.
type Notice struct {
	Kind NoticeKind
	Text string // without a newline
}

// NoticeKind tells the kinds of notices apart.
type NoticeKind uint8

// The kinds of notices.
const (
	Limitation NoticeKind = iota // what the run cannot report
	Inexact                      // what it cannot report exactly; the start record and --doctor say so too
	Loss                         // events were lost; a lost record says so too
	Summary                      // what went through; the stop record says so too
)

// Nop does nothing. An output embeds it and has the methods that it needs. One that has
// something to do at a time, more exact than to a second, is a tracer.Timed too.
type Nop struct{}

var _ Handler = Nop{}

// Start does nothing.
func (Nop) Start(*output.Start) error { return nil }

// Snapshot does nothing.
func (Nop) Snapshot(iter.Seq[*table.Conn], time.Duration) error { return nil }

// Sockets does nothing.
func (Nop) Sockets(iter.Seq[*table.Socket]) error { return nil }

// Socket does nothing.
func (Nop) Socket(*table.SocketChange) error { return nil }

// Change does nothing.
func (Nop) Change(*table.Change) error { return nil }

// Lost does nothing.
func (Nop) Lost(tracer.Lost) error { return nil }

// Resync does nothing.
func (Nop) Resync(table.Resync) error { return nil }

// Inexact does nothing: it comes as a Notice.
func (Nop) Inexact(string) error { return nil }

// Stats does nothing.
func (Nop) Stats(*output.Totals) error { return nil }

// Notice does nothing.
func (Nop) Notice(Notice) error { return nil }

// Idle does nothing.
func (Nop) Idle() error { return nil }

// Stop does nothing.
func (Nop) Stop(*output.Totals, string) error { return nil }

// fanOut hands everything to each of several handlers in turn, until one fails.
type fanOut []Handler

func (f fanOut) Start(s *output.Start) error {
	return f.each(func(h Handler) error { return h.Start(s) })
}

func (f fanOut) Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error {
	return f.each(func(h Handler) error { return h.Snapshot(rows, took) })
}

func (f fanOut) Sockets(rows iter.Seq[*table.Socket]) error {
	return f.each(func(h Handler) error { return h.Sockets(rows) })
}

// Socket is written out as Change is.
func (f fanOut) Socket(c *table.SocketChange) error {
	for _, h := range f {
		if err := h.Socket(c); err != nil {
			return err
		}
	}
	return nil
}

// Change is called for every event, as Socket: only they are written out, as a
// closure would be allocated.
func (f fanOut) Change(c *table.Change) error {
	for _, h := range f {
		if err := h.Change(c); err != nil {
			return err
		}
	}
	return nil
}

func (f fanOut) Lost(l tracer.Lost) error {
	return f.each(func(h Handler) error { return h.Lost(l) })
}

func (f fanOut) Resync(r table.Resync) error {
	return f.each(func(h Handler) error { return h.Resync(r) })
}

func (f fanOut) Inexact(what string) error {
	return f.each(func(h Handler) error { return h.Inexact(what) })
}

func (f fanOut) Stats(t *output.Totals) error {
	return f.each(func(h Handler) error { return h.Stats(t) })
}

func (f fanOut) Notice(n Notice) error {
	return f.each(func(h Handler) error { return h.Notice(n) })
}

func (f fanOut) Idle() error { return f.each(Handler.Idle) }

// Due returns when the first of them has something to do that no event announces; zero:
// none of those has that say so.
func (f fanOut) Due() (due time.Time) {
	for _, h := range f {
		if timed, ok := h.(tracer.Timed); ok {
			due = earlier(due, timed.Due())
		}
	}
	return due
}

// earlier returns the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Stop stops all of them, also after one failed.
func (f fanOut) Stop(t *output.Totals, reason string) error {
	var errs []error
	for _, h := range f {
		errs = append(errs, h.Stop(t, reason))
	}
	return errors.Join(errs...)
}

func (f fanOut) each(call func(Handler) error) error {
	for _, h := range f {
		if err := call(h); err != nil {
			return err
		}
	}
	return nil
}
