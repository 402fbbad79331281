package sink

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// batch is how much is written at a time at most, unless a line is longer.
const batch = 64 << 10

// restAfter is how long nothing must have come for memory of the queue to be given back.
const restAfter = time.Second

// retryStandard is how long it takes until an output that failed is tried again.
const retryStandard = time.Second

// writer is what the writing goroutine has of its own.
//
// What it writes next is, in this order: the rest of a line that the target has the
// first part of; the first line of a file or a connection; the lines of a chunk.
type writer struct {
	sink   *Sink
	target Target

	seq     uint64 // number of the last line that the target has whole
	fileSeq uint64 // how many files or connections have their first line
	rest    []byte // of the line that was cut
	head    []byte // empty: it is written
	lines   []byte // of the chunk
	out     []byte // what is being written, numbered
	made    made   // what out is made of

	due    bool // Ready is to be called without a line, too
	ticked time.Time
	timer  *time.Timer
	outage outage
}

// made is how many lines there are, and how long they were in the chunk.
type made struct{ records, length int }

// outage is a time in which nothing can be written.
type outage struct {
	since time.Time // zero: there is none
	lost  uint64    // what had been left out when it began
	told  time.Time // when one was told last
	said  bool      // this one was told
}

func newWriter(s *Sink) *writer {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &writer{sink: s, target: s.target, due: true, ticked: time.Now(), timer: timer}
}

// run writes until the Sink is drained, or has to leave what waits.
func (w *writer) run() {
	defer close(w.sink.done)
	for w.step() {
		select {
		case <-w.sink.quit:
			return
		default:
		}
	}
}

// step writes some lines, or waits for what there is to do. It returns false at the
// end.
func (w *writer) step() bool {
	w.look()
	next, err := w.next()
	switch {
	case err != nil:
		return w.failed(err)
	case next == 0 && !w.due:
		return w.idle()
	}
	w.due = false
	why, err := w.target.Ready(next)
	switch {
	case err != nil:
		return w.failed(err)
	case why != Goes:
		w.begin(why)
		return true
	case next == 0:
		w.works()
		return true
	}
	w.number(min(w.target.Room(), batch))
	n, err := w.target.Write(w.out)
	w.advance(n)
	if err != nil {
		return w.failed(err)
	}
	w.works()
	return w.tell()
}

// tell has losses told that are due. Where there is no memory for that, nothing more is
// written: who runs the Sink has to know.
func (w *writer) tell() bool {
	if err := w.sink.tell(false); err != nil {
		return w.failed(&FatalError{fmt.Errorf("%s: %w", w.sink.opts.Place, err)})
	}
	return true
}

// look sees whether the place is to be opened anew, or wants to be asked.
func (w *writer) look() {
	select {
	case <-w.sink.reopen:
		w.reopen()
	default:
	}
	if t, ok := w.target.(Ticker); ok && time.Since(w.ticked) >= t.Tick() {
		w.ticked, w.due = time.Now(), true
	}
}

func (w *writer) reopen() {
	if r, ok := w.target.(Reopener); ok {
		r.Reopen()
		w.due = true
	}
}

// next returns the length of what is to be written next: of a line, or of the rest of
// one. 0: there is nothing.
func (w *writer) next() (length int, err error) {
	if len(w.rest) > 0 {
		return len(w.rest), nil
	}
	if len(w.head) > 0 {
		return numberedLength(w.head, w.seq+1), nil
	}
	if len(w.lines) == 0 {
		if w.lines, err = w.sink.queue.take(); err != nil {
			return 0, fmt.Errorf("%s: %w", w.sink.opts.Place, err)
		}
	}
	return numberedLength(firstLine(w.lines), w.seq+1), nil
}

func firstLine(lines []byte) []byte { return lines[:bytes.IndexByte(lines, '\n')+1] }

// begin makes the first line of a file or a connection. A line that was cut is written
// anew after it.
func (w *writer) begin(why Begin) {
	if w.fileSeq > 0 || len(w.head) > 0 {
		w.sink.written.reopened()
	}
	w.rest = w.rest[:0]
	if w.head = w.sink.head(why, w.fileSeq+1); len(w.head) == 0 {
		w.fileSeq++
	}
}

// number makes out of what comes next, as many lines as have room, but one at least.
func (w *writer) number(room int) {
	w.out, w.made = w.out[:0], made{}
	if len(w.rest) > 0 {
		w.out = append(w.out, w.rest...)
		return
	}
	lines, seq := w.lines, w.seq
	if len(w.head) > 0 {
		lines = w.head
	}
	for len(lines) > 0 {
		line := firstLine(lines)
		before := len(w.out)
		seq++
		w.out = appendNumbered(w.out, line, seq)
		if before > 0 && len(w.out) > room {
			w.out = w.out[:before]
			return
		}
		lines = lines[len(line):]
		w.made.records++
		w.made.length += len(line)
	}
}

// appendNumbered appends a line with its number, in each place that it has for it.
func appendNumbered(dst, line []byte, seq uint64) []byte {
	for {
		at := bytes.IndexByte(line, 0)
		if at < 0 {
			return append(dst, line...)
		}
		dst = append(dst, line[:at]...)
		dst = strconv.AppendUint(dst, seq, 10)
		line = line[at+1:]
	}
}

// numberedLength returns how long a line is with its number.
func numberedLength(line []byte, seq uint64) int {
	places := bytes.Count(line, numberHere)
	if places == 0 {
		return len(line)
	}
	var digits [20]byte
	return len(line) + places*(len(strconv.AppendUint(digits[:0], seq, 10))-1)
}

// numberHere is what stands in a line where its number goes.
var numberHere = []byte{0}

// advance forgets what the target has taken of out.
func (w *writer) advance(n int) {
	if n <= 0 {
		return
	}
	did := w.made
	if n < len(w.out) || len(w.rest) > 0 {
		did = w.partly(n)
	}
	w.sink.written.took(did.records, n)
	w.rest = w.rest[:0]
	if w.out[n-1] != '\n' {
		w.rest = append(w.rest, firstLine(w.out[n:])...)
	}
	w.pop(did)
	w.sink.freed()
}

// partly returns which lines the target has whole after so many bytes of out.
func (w *writer) partly(n int) (did made) {
	did.records = bytes.Count(w.out[:n], newline)
	lines := w.lines
	if len(w.head) > 0 {
		lines = w.head
	}
	for range did.records {
		did.length += len(firstLine(lines[did.length:]))
	}
	return did
}

// pop forgets lines that the target has whole.
func (w *writer) pop(did made) {
	w.seq += uint64(did.records)
	if did.records > 0 && len(w.head) > 0 {
		w.head = nil
		w.fileSeq++
		return // it is written alone
	}
	w.lines = w.lines[did.length:]
	w.sink.queue.wrote(did.records, did.length)
}

// freed wakes who waits for room.
func (s *Sink) freed() {
	if !s.opts.Block {
		return
	}
	s.room.L.Lock()
	defer s.room.L.Unlock()
	s.room.Broadcast()
}

// idle waits for something to do. It returns false at the end.
func (w *writer) idle() bool {
	if w.sink.written.isClosing() {
		// What came before the closing is in the queue since then.
		next, err := w.next()
		if err != nil {
			return w.failed(err)
		}
		return next > 0
	}
	w.setTimer()
	select {
	case <-w.sink.wake:
	case <-w.sink.reopen:
		w.reopen()
	case <-w.timer.C:
		w.sink.queue.shrink()
	case <-w.sink.quit:
	}
	return w.tell()
}

// setTimer sets when to look without being woken, if at all.
func (w *writer) setTimer() {
	w.timer.Stop()
	switch t, ticks := w.target.(Ticker); {
	case w.sink.losses.pending.Load():
		w.timer.Reset(tellInterval)
	case ticks:
		w.timer.Reset(max(t.Tick()-time.Since(w.ticked), 0))
	case w.sink.queue.canShrink():
		w.timer.Reset(restAfter)
	}
}

// failed waits until the target is to be tried again. It returns false where it is
// not.
func (w *writer) failed(err error) bool {
	w.sink.written.failed(err)
	if isFatal(err) {
		w.sink.written.die(err)
		w.sink.freed()
		w.sink.opts.Failed(err)
		return false
	}
	w.sink.written.up(false)
	w.fails(err)
	pause := retryStandard
	if r, ok := w.target.(Retrier); ok {
		pause = r.Retry()
	}
	w.due = true
	w.timer.Stop()
	w.timer.Reset(pause)
	select {
	case <-w.timer.C:
	case <-w.sink.reopen:
		w.reopen()
	case <-w.sink.quit:
		return false
	}
	return true
}

// fails tells that nothing can be written, once and not too often.
func (w *writer) fails(err error) {
	now, o := time.Now(), &w.outage
	if o.since.IsZero() {
		o.since, o.lost, o.said = now, w.lost(), false
	}
	if !o.said && now.Sub(o.told) >= noticeInterval {
		o.said, o.told = true, now
		w.sink.opts.Notice(fmt.Sprintf("%v; it is tried again, and records wait in the queue", err))
	}
}

// works ends an outage.
func (w *writer) works() {
	o := &w.outage
	if o.since.IsZero() {
		return
	}
	if o.said {
		w.sink.opts.Notice(fmt.Sprintf("%s works again after %v, %d records were left out",
			w.sink.opts.Place, time.Since(o.since).Round(time.Second), w.lost()-o.lost))
	}
	o.since = time.Time{}
	w.sink.written.up(true)
}

// lost returns how many records were left out so far.
func (w *writer) lost() (n uint64) {
	for _, d := range w.sink.losses.totals() {
		n += d.Records
	}
	return n
}
