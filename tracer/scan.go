package tracer

import (
	"time"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// A scan reads the kernel's whole table, in a goroutine of its own: the sockets by
// rowReader, the processes that hold them by an iterator, whose records come by the ring
// buffer, and in between, one by one, the sockets that the table has doubts about. Some
// kinds of scans read a part of that (scanKind).

const (
	// The table may ask for a scan itself. Such scans are at least ownScanInterval
	// apart, and ownScanRest times the length of the last one, so they take at most
	// 2 % of the time.
	ownScanInterval = 500 * time.Millisecond
	ownScanRest     = 50

	// scanRetry is how long after a scan that failed the next one is made.
	scanRetry = 10 * time.Second

	// confirmAfter is how long after a scan that did not show what the kernel side keeps
	// another one confirms it.
	confirmAfter = 5 * time.Second
)

// scanKind says what a scan is for.
type scanKind uint8

const (
	scanInitial scanKind = iota // the first one: the initial table
	scanResync                  // the table is compared with the kernel's
	scanOwners                  // the owners of accepted connections are looked for, among open files alone
	scanPoll                    // sockets are read that no hook tells all of; none of TCP
)

// compares reports whether such a scan compares all TCP sockets with the kernel's.
func (k scanKind) compares() bool { return k == scanInitial || k == scanResync }

// scanState is how far a phase of a scan is.
type scanState uint8

const (
	scanIdle    scanState = iota // no scan is under way
	scanReading                  // the kernel is read
	scanRead                     // that is done; the last of it may still be in the ring, or in rowReader.parts
)

// scanPhase is what a scan reads.
type scanPhase uint8

const (
	phaseRows  scanPhase = iota // all sockets
	phaseAsks                   // the sockets that are in doubt
	phaseFiles                  // the processes that hold sockets
)

// scan is the scan under way, and when the next one is due.
//
// begin leads from scanIdle to scanReading, poll from there to scanRead, next to
// scanReading again for the next phase, end back to scanIdle. Reasons to scan may come
// at any time, and are kept in wanted until a scan starts. Only the goroutine of Run
// touches a scan, but for its two channels.
type scan struct {
	state    scanState
	phase    scanPhase
	kind     scanKind        // of the one under way
	start    uint64          // its time
	owners   bool            // it looks for owners too
	asked    bool            // sockets were asked for
	result   scanResult      // of the phase, from scanRead on
	coverage coverage        // of phaseRows
	done     chan scanResult // gets the result of a phase
	rows     *rowReader
	answers  bool   // somebody asked for its result
	failure  string // of the last one; empty: it did not fail

	schedule
}

// schedule is when the next scan is due, and what it has to do besides.
type schedule struct {
	wanted    bool          // as soon as none is under way
	files     bool          // it has to look for owners too: who accepted may have been missed
	lost      bool          // events were, and what that did to the other sockets is not mended yet
	wish      bool          // somebody wants its result
	retry     uint64        // when one is due because the last one failed; 0: it did not
	every     uint64        // the period; 0: only for a reason
	due       uint64        // when one is due by the period; 0 at first: right after the initial one
	nextOwn   uint64        // before that the table's own wishes have to wait
	unsettled bool          // the last scan could not decide everything
	confirm   uint64        // when what it did not show is to be confirmed; 0: there is nothing
	requests  chan struct{} // of Tracer.Resync
}

// scanResult is what came of a phase of a scan.
type scanResult struct {
	coverage coverage // the namespaces that were read to their end
	err      error
}

func newScan(every time.Duration) scan {
	return scan{
		done:     make(chan scanResult, 1),
		schedule: schedule{every: uint64(max(every, 0)), requests: make(chan struct{}, 1)},
	}
}

// begin starts a scan; read does what its first phase is for.
func (s *scan) begin(kind scanKind, now uint64, read func() scanResult) {
	s.kind, s.start, s.asked, s.coverage = kind, now, false, coverage{}
	if kind.compares() {
		s.unsettled, s.confirm = false, 0
	}
	if kind == scanResync {
		s.answers, s.wish, s.wanted = s.wish, false, false
	} else {
		s.answers = false
	}
	phase := phaseRows
	if kind == scanOwners {
		phase = phaseFiles
	}
	s.next(phase, read)
}

// next starts a phase; read does what it is for.
func (s *scan) next(phase scanPhase, read func() scanResult) {
	s.state, s.phase, s.result = scanReading, phase, scanResult{}
	go func() { s.done <- read() }()
}

// poll looks whether the phase was read. It does not wait.
func (s *scan) poll() {
	select {
	case s.result = <-s.done:
		s.state = scanRead
	default:
	}
}

// end ends the scan under way and sets when the next ones are due.
func (s *scan) end(now uint64) {
	s.state = scanIdle
	if s.kind.compares() {
		s.due = now + s.every
	}
	s.nextOwn = now + max(uint64(ownScanInterval), ownScanRest*(now-s.start))
}

// want has a scan started as soon as none is under way, if there is reason to.
func (s *scan) want(reason bool) { s.wanted = s.wanted || reason }

// mend has a scan started, and owners looked for, if events were lost.
func (s *scan) mend(lost bool) {
	s.want(lost)
	s.files = s.files || lost
	s.lost = s.lost || lost
}

// ask is want for a scan whose result is reported in any case.
func (s *scan) ask(reason bool) {
	s.want(reason)
	s.wish = s.wish || reason
}

// request asks for a scan, from any goroutine.
func (s *scan) request() {
	select {
	case s.requests <- struct{}{}:
	default:
	}
}

// requested reports, once, that a scan was asked for.
func (s *scan) requested() bool {
	select {
	case <-s.requests:
		return true
	default:
		return false
	}
}

// periodic reports whether the period is over, or the wait after a failure.
func (s *scan) periodic(now uint64) bool {
	return s.every > 0 && now >= s.due || s.retry > 0 && now >= s.retry
}

// scanIfDue starts a scan if one is due. A reason that comes while one is under
// way counts after it.
func (t *Tracer) scanIfDue(now uint64) {
	s := &t.scan
	lost := t.losses.heal(now)
	s.ask(s.requested() || lost)
	s.mend(lost)
	s.want(s.periodic(now))
	s.want(s.confirm > 0 && now >= s.confirm)
	s.want(now >= s.nextOwn && (s.unsettled || t.table.TakeScanRequest()))
	if s.state != scanIdle || !t.out.ready {
		return
	}
	if s.wanted {
		t.startScan(scanResync)
	} else if now >= t.sockets.nextPoll() {
		t.startScan(scanPoll)
	}
}

// startScan starts a scan.
func (t *Tracer) startScan(kind scanKind) {
	now := monotonic()
	s := &t.scan
	if kind == scanOwners {
		s.begin(kind, now, func() scanResult { return scanResult{err: t.hooks.runIter(streamProgFiles)} })
		return
	}
	read := t.sockets.begin(kind, now, s.lost)
	if kind.compares() {
		t.table.BeginScan(now, kind == scanInitial)
		s.owners, s.files = kind == scanInitial || s.files, false
		read |= t.opts.Protocols & TCP
	}
	s.begin(kind, now, func() scanResult { return s.rows.readAll(read) })
}

// mergeRows merges what was read of the kernel's table, once all events up to then are.
func (t *Tracer) mergeRows() {
	for range rowsAtOnce {
		select {
		case part := <-t.scan.rows.parts:
			if part.before > t.ring.drainedAt {
				t.out.keep(t.drain())
			}
			t.mergePart(&part)
			t.scan.rows.recycle(&part)
		default:
			return
		}
	}
}

func (t *Tracer) mergePart(p *rowPart) {
	if p.of != snapshot.TCP || p.sockets != nil {
		t.sockets.merge(p)
		return
	}
	for row := range p.batch.Rows {
		diagRow(&t.event, row, p.netns, p.batch.After, p.batch.Before)
		t.table.Apply(&t.event)
	}
	for i := range p.rows {
		t.table.Apply(&p.rows[i])
	}
	for i := range p.answers {
		t.table.Answer(p.answers[i].question, p.answers[i].answer)
	}
}

// endPhase is called in scanRead, when all that the phase has read was merged. What one
// phase finds decides whether another one follows.
func (t *Tracer) endPhase() {
	s := &t.scan
	if s.kind == scanOwners {
		endOwners(t)
		return
	}
	if err := s.result.err; err != nil {
		now := monotonic()
		s.end(now)
		t.table.AbandonScan()
		t.sockets.abandon(now)
		t.scanFailed(err)
		return
	}
	if s.kind == scanPoll {
		endPoll(t)
		return
	}
	if s.phase == phaseRows {
		s.coverage = s.result.coverage
		t.table.LimitScan(s.coverage.visited)
	}
	if doubts := t.table.Doubts(); len(doubts) > 0 {
		pause := time.Duration(0)
		if s.asked {
			pause = askPause
		}
		s.asked = true
		s.next(phaseAsks, func() scanResult { return s.rows.ask(doubts, pause) })
		return
	}
	if s.owners && t.hooks.filesIters() != nil { // of all sockets that are known by now
		s.owners = false
		s.next(phaseFiles, func() scanResult { return scanResult{err: t.hooks.readFiles()} })
		return
	}
	t.endScan()
}

// endOwners ends a look for owners. Those of which a row is needed a scan finds.
func endOwners(t *Tracer) {
	now := monotonic()
	t.scan.end(now)
	more := t.table.Owners().EndFiles(now)
	if err := t.scan.result.err; err != nil {
		t.scanFailed(err)
		return
	}
	t.scan.want(more)
	t.scan.files = t.scan.files || more
}

// endScan is called when there is no doubt left.
func (t *Tracer) endScan() {
	s := &t.scan
	s.end(monotonic())
	s.failure, s.retry = "", 0
	if s.kind == scanInitial && t.hooks.filesIters() == nil && t.hooks.set.pids.readable && !t.opts.NoOwners {
		t.out.keep(nameAll(t.sockets.table, t.table, t.opts.Proc))
	}
	c := &s.coverage
	var unseen bool
	if s.kind != scanInitial {
		var err error
		unseen, err = t.kept.sweep(t.table, s.start, c.visited)
		t.out.keep(err)
	}
	r, again := t.table.EndScan(monotonic())
	found, more := t.sockets.end(s.kind, c, monotonic())
	s.lost = s.lost && more
	r.Added, r.Removed, r.Changed = r.Added+found.Added, r.Removed+found.Removed, r.Changed+found.Changed
	s.unsettled = again || more || unseen && t.shutdown != running
	if unseen && t.shutdown == running {
		s.confirm = max(s.nextOwn, monotonic()+uint64(confirmAfter))
	}
	c.unread(t.table.Namespaces)
	r.Unread = len(c.failed)
	for _, news := range t.scope.news(c) {
		t.out.keep(t.out.handler.Inexact(news))
	}
	t.reportScan(r)
}

// reportScan reports the first scan as the initial table, and of later ones those
// that found something and those that were asked for.
func (t *Tracer) reportScan(r table.Resync) {
	switch s := &t.scan; {
	case s.kind == scanInitial:
		t.out.snapshot(t.table, t.sockets.table)
	case s.answers || r.Found():
		t.stats.Resyncs++
		t.out.keep(t.out.handler.Resync(r))
	}
}

// scanFailed reports a failure, once. The first scan, which all else waits for, is
// not tried again; a later one is, at its next time.
func (t *Tracer) scanFailed(err error) {
	s := &t.scan
	if s.kind == scanInitial {
		t.out.keep(err)
		return
	}
	s.retry = monotonic() + uint64(scanRetry)
	if s.failure == err.Error() {
		return
	}
	s.failure = err.Error()
	t.out.keep(t.out.handler.Inexact("the kernel's table cannot be read, so no loss is mended: " + s.failure))
}

// waitScan lets the phase under way come to its end before the maps are closed.
func (t *Tracer) waitScan() {
	for t.scan.state == scanReading {
		t.scan.poll()
		if t.scan.state == scanRead {
			t.out.keep(t.scan.result.err)
			return
		}
		for len(t.scan.rows.parts) > 0 {
			part := <-t.scan.rows.parts
			t.scan.rows.recycle(&part)
		}
		if t.ring.wait(pollInterval) != nil || t.ring.drain(func([]byte) bool { return true }) != nil {
			return
		}
	}
}
