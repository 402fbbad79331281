package stream

import (
	"fmt"
	"iter"
	"runtime"
	"time"

	"github.com/nettrace/nettrace/internal/tuning"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// statsInterval is the time between two calls of Stats.
const statsInterval = 30 * time.Second

// totals is the first stage: it knows what went through the run.
type totals struct {
	Handler   // the next stage
	source    Source
	outputs   fanOut
	lost      uint64
	nextStats time.Time
	// Changes that later stages did not pass on: because they are not asked for, and
	// because they are of connections outside of the sample.
	dropped    []*uint64
	sampledOut *uint64
	queues     func() output.QueueTotals // nil: nobody counts them
	begun      func() error              // called once, when the first changes were passed on; nil: it was, or nothing is due
}

// Snapshot passes the initial table on, after which fewer collections are due.
func (t *totals) Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error {
	defer tuning.Changes()
	return t.Handler.Snapshot(rows, took)
}

// Lost counts a loss and reports it.
func (t *totals) Lost(l tracer.Lost) error {
	t.lost = l.Total
	if err := t.Handler.Lost(l); err != nil {
		return err
	}
	return t.Notice(Notice{Loss, fmt.Sprintf(
		"%d events lost in the kernel's ring buffer, %d transitions and %d closes among them; reading the table again (a larger --ring-size helps)",
		l.Count, l.States, l.Closes)})
}

// Inexact reports what cannot be reported exactly from now on.
func (t *totals) Inexact(what string) error { return t.Notice(Notice{Limitation, what}) }

// Due returns when the next totals are due, or what an output has to tell before.
func (t *totals) Due() time.Time { return earlier(t.nextStats, t.outputs.Due()) }

// Idle reports what went through so far when that is due.
func (t *totals) Idle() error {
	if now := time.Now(); now.After(t.nextStats) {
		t.nextStats = now.Add(statsInterval)
		sum := t.sum()
		if err := t.Stats(&sum); err != nil {
			return err
		}
	}
	if err := t.Handler.Idle(); err != nil || t.begun == nil {
		return err
	}
	begun := t.begun
	t.begun = nil
	return begun()
}

// sum returns what went through so far. What went out is for each output to say.
func (t *totals) sum() output.Totals {
	s := t.source.Stats()
	filtered := uint64(0)
	for _, n := range t.dropped {
		filtered += *n
	}
	var queues output.QueueTotals
	if t.queues != nil {
		queues = t.queues()
	}
	return output.Totals{
		EventsIn:    s.Events,
		Filtered:    filtered,
		SampledOut:  *t.sampledOut,
		LostRingbuf: t.lost,
		Held:        output.Held{RingBytes: uint64(max(s.Queued, 0)), MemoryBytes: memoryBytes()},
		Open:        s.Table.Open,
		Before:      s.Table.Before,
		Opened:      s.Table.Opened,
		Closed:      s.Table.Closed,
		Failed:      s.Table.Failed,
		Sockets: output.SocketTotals{
			Open: s.Sockets.Open, Before: s.Sockets.Before, Opened: s.Sockets.Opened, Closed: s.Sockets.Closed,
		},
		Queue: queues,
	}
}

// memoryBytes returns what the runtime holds of the system's memory. The package
// runtime/metrics would take a tenth of the start of every view.
func memoryBytes() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys - m.HeapReleased
}

// limit ends the run after a number of transitions. What closes a connection is
// none, and belongs to the transition before it; it counts where closes alone are
// told.
type limit struct {
	Handler      // the next stage
	max      int // 0: no end
	closes   bool
	reported int
}

// counts reports whether a change is one of those that the limit is about.
func (l *limit) counts(c *table.Change) bool {
	if l.closes {
		return c.Kind == table.ChangeClose
	}
	return c.Kind == table.ChangeState
}

func (l *limit) reached() bool { return l.max > 0 && l.reported >= l.max }

// Change counts a change and passes it on.
func (l *limit) Change(c *table.Change) error {
	if l.counts(c) {
		if l.reached() {
			return errDone
		}
		l.reported++
	}
	return l.Handler.Change(c)
}

// Idle ends the run when nothing more belongs to the last transition.
func (l *limit) Idle() error {
	if err := l.Handler.Idle(); err != nil {
		return err
	}
	if l.reached() {
		return errDone
	}
	return nil
}
