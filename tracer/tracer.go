package tracer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nettrace/nettrace/internal/clock"
	"github.com/nettrace/nettrace/tracer/table"
)

const (
	// pollInterval bounds how late a change is reported; where closes alone are kept,
	// closesInterval does. While the reader polls, programs wake it only when a quarter of
	// the ring is full.
	pollInterval = 5 * time.Millisecond
	// scanInterval is the same while the kernel's table is read.
	scanInterval = time.Millisecond
	// checkInterval is how often drops and recursion misses are looked at.
	checkInterval = 100 * time.Millisecond
)

// Tracer is the stream of one run: hooks → ring → decode → table → handler. But
// for Resync and Wake, its methods are for the goroutine of Run, or for when Run is over.
type Tracer struct {
	opts  Options
	hooks *hooks
	ring  *ring
	event table.Event // the one being handled
	table *table.Table
	procs *table.Processes
	scope scope
	out   delivery

	scan    scan
	sockets sockets
	checks
	pace     pace
	shutdown shutdown
	stats    Stats
}

// checks are what is looked at between two drains.
type checks struct {
	losses    losses
	witness   witness
	refresher refresher
	kept      kept
}

// shutdown is how far the end of a run is; see beforeEnd.
type shutdown uint8

const (
	running   shutdown = iota
	witnessed          // what only sock_ops saw was collected
	scanned            // and the kernel's table was scanned, or is being
	confirmed          // and scanned again, where one scan left doubts
)

// Lost is an interval in which events were not delivered. States and Closes are what a
// handler was not told for that; where the kernel side cannot know it, the most that may be.
// What a comparison with the kernel's table tells later is marked as inferred.
type Lost struct {
	Stage  string // "ringbuf": the kernel's ring was full
	Count  uint64 // events of all kinds not delivered in the interval
	States uint64 // transitions among them
	Closes uint64 // closes of connections among them
	Total  uint64 // of Count, since the start
	Since  uint64 // CLOCK_MONOTONIC ns: the last moment when nothing was missing
}

// Stats counts what went through the tracer.
type Stats struct {
	Events    uint64 // records read
	Undecoded uint64 // records that could not be read
	Dropped   uint64 // records that did not fit in the ring
	Queued    int    // bytes in the ring that were not read yet
	Resyncs   uint64
	Table     table.Stats
	Sockets   table.SocketStats // of UDP, raw and Unix
}

// Hooks returns every hook that was tried and what came of it.
func (t *Tracer) Hooks() []Hook { return slices.Clone(t.hooks.tried) }

// Netns returns the inode of the namespace that is traced; 0: all of them.
func (t *Tracer) Netns() uint32 { return t.scope.inode }

// Pidspace describes the pid namespace whose numbers are reported.
func (t *Tracer) Pidspace() string { return t.hooks.set.pids.String() }

// Stats returns the counters. While Run runs, only its handler may call it.
func (t *Tracer) Stats() Stats {
	s := t.stats
	s.Dropped = t.losses.dropped.records()
	if t.ring != nil {
		s.Queued = t.ring.queued()
	}
	s.Table = t.table.Stats()
	if t.sockets.table != nil {
		s.Sockets = t.sockets.table.Stats()
	}
	t.kept.addTo(&s.Table)
	return s
}

// Table returns the table. While Run runs, only its handler may use it.
func (t *Tracer) Table() *table.Table { return t.table }

// Close detaches everything.
func (t *Tracer) Close() error {
	err := errors.Join(t.ring.close(), t.kept.lives.close(), t.refresher.close(), t.pace.bed.close())
	t.ring = nil
	t.hooks.close()
	return errors.Join(err, t.scan.rows.close(), t.scope.close())
}

// Resync asks for a scan: the table is compared with the kernel's, and the handler
// gets the result. Any goroutine may call it.
func (t *Tracer) Resync() {
	t.scan.request()
	t.pace.bed.wake()
}

// Wake has Run call Idle soon, though nothing happens. Any goroutine may call it.
func (t *Tracer) Wake() { t.pace.bed.wake() }

// monotonic reads the clock of the events. No other one may be compared with their
// times.
func monotonic() uint64 { return clock.Now() }

// Run reads the stream until ctx is done, then hands over what is left in the
// ring and returns nil. An error of the handler ends it too.
func (t *Tracer) Run(ctx context.Context, h Handler) error {
	t.out.handler, t.out.started = h, monotonic()
	defer context.AfterFunc(ctx, t.pace.bed.wake)()
	t.startScan(scanInitial)
	for t.out.err == nil {
		now := monotonic()
		if ctx.Err() != nil && t.scan.state == scanIdle && !t.beforeEnd(now) {
			return t.finish()
		}
		t.housekeep(now)
		if err := t.wait(); err != nil {
			return fmt.Errorf("wait for the ring buffer: %w", err)
		}
		if err := t.drain(); err != nil {
			return err
		}
		t.afterDrain()
	}
	t.waitScan()
	return t.out.err
}

// drain handles what is in the ring.
func (t *Tracer) drain() error {
	before := t.stats.Events
	err := t.ring.drain(func(record []byte) bool {
		t.handle(record)
		return t.out.err == nil
	})
	t.pace.drained(t.ring.drainedAt, t.stats.Events != before)
	if err != nil {
		return fmt.Errorf("read the ring buffer: %w", err)
	}
	return nil
}

func (t *Tracer) handle(raw []byte) {
	t.stats.Events++
	if t.opts.onRecord != nil {
		t.opts.onRecord(raw)
	}
	if ofSocket(raw) {
		if t.sockets.handle(raw, t.scope.inode) != nil {
			t.stats.Undecoded++
		}
		return
	}
	ev := &t.event
	if is, err := t.kept.handle(raw, t.table); is {
		if err != nil {
			t.stats.Undecoded++
		}
		return
	}
	if err := decode(raw, ev); err != nil {
		t.stats.Undecoded++
		return
	}
	if ev.Kind == table.EventMissed && t.witness.took(ev.Time) {
		return
	}
	if ev.Kind == table.EventFile && t.sockets.table != nil && t.sockets.table.UseFile(ev) {
		return
	}
	t.table.Apply(ev)
}

// afterDrain does what needs a drained ring.
func (t *Tracer) afterDrain() {
	t.table.Settle(t.ring.drainedAt)
	t.mergeRows()
	if t.scan.state == scanRead && len(t.scan.rows.parts) == 0 {
		t.endPhase()
	}
	t.scan.poll() // its last records may have come since the ring was drained
	t.out.idle()
}

// beforeEnd takes one step of the shutdown and reports whether Run must go on:
// first it collects what only sock_ops saw, then it has the table compared with the
// kernel's, as some ends may have been seen by no hook. A socket is gone when a
// second scan does not see it either.
func (t *Tracer) beforeEnd(now uint64) bool {
	switch t.shutdown {
	case running:
		t.shutdown = witnessed
		t.out.keep(t.drain())
		t.collectWitness(now + uint64(pollInterval))
		t.scan.mend(t.losses.missed())
		return true
	case witnessed:
		t.shutdown = scanned
		t.startScan(scanResync)
		return true
	case scanned:
		t.shutdown = confirmed
		if t.scan.wanted || t.scan.unsettled {
			t.startScan(scanResync)
			return true
		}
	}
	return false
}

func (t *Tracer) finish() error {
	// Every timewait socket in FIN_WAIT2 is looked at, a part of them at a time.
	for range t.refresher.rounds(t.table) {
		t.out.keep(t.refresher.look(t.table))
		if err := t.drain(); err != nil {
			return err
		}
	}
	t.table.Finish(monotonic())
	t.reportDrops(monotonic())
	t.out.idle()
	return t.out.err
}

// housekeep does what is due between two drains.
func (t *Tracer) housekeep(now uint64) {
	if t.pace.check(now) {
		t.reportDrops(now)
		t.scan.mend(t.losses.missed())
		t.collectWitness(now)
		t.out.keep(t.kept.collect(t.ring.drainedAt, t.table))
		t.procs.Trim(now)
		t.out.keep(t.kept.sweepProcesses(t.procs, t.drain))
		t.sockets.trim(now)
		t.reportRenaming()
		if t.out.ready && t.scan.state == scanIdle && now >= t.scan.nextOwn {
			kept, err := t.kept.ownersDue(now)
			t.out.keep(err)
			if kept || t.table.Owners().Due(now) {
				t.startScan(scanOwners)
			}
		}
	}
	if t.refresher.due(now, t.pace.unchecked != 0) {
		t.out.keep(t.refresher.look(t.table))
	}
	t.out.keep(t.sockets.look(now))
	t.scanIfDue(now)
}

// reportDrops reports what was dropped since the last time.
func (t *Tracer) reportDrops(now uint64) {
	lost, err := t.losses.drops(now)
	t.out.keep(err)
	if lost.Count > 0 {
		t.out.keep(t.out.handler.Lost(lost))
	}
}

// reportRenaming reports when the name of the namespace lost its meaning.
func (t *Tracer) reportRenaming() {
	if news := t.scope.renaming(); news != "" {
		t.out.keep(t.out.handler.Inexact(news))
	}
}

// collectWitness applies the transitions that only sock_ops saw.
func (t *Tracer) collectWitness(now uint64) {
	t.out.keep(t.witness.collect(now, t.ring.drainedAt, t.table.Apply))
}
