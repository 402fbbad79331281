package sink

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// LimitStandard is how many bytes of lines wait at most where nobody says it.
const LimitStandard = 64 << 20

// noticeInterval is the least time between two notices of a kind.
const noticeInterval = time.Minute

// Options say how a Sink queues, and whom it tells of what happens. The functions are
// called by any goroutine; they must not wait.
type Options struct {
	Place  string          // for messages
	Limit  int             // bytes of lines that wait at most; 0: LimitStandard
	Block  bool            // who makes lines waits for room; nothing is left out
	Notice func(string)    // takes a line for the person who watches the run; nil: nobody does
	Failed func(err error) // the Sink takes nothing any more; nil: Drain tells it alone
}

// Reports makes the lines that a Sink adds of itself: what comes first in a file or a
// connection, and what was left out. The Sink calls one method at a time, and is done
// with a line when it calls again.
type Reports interface {
	Head(why Begin, fileSeq uint64) []byte
	Lost(*Loss) []byte
}

// Sink hands lines from one goroutine, which never waits, to a Target. A line of JSON
// has a NUL byte wherever the digits of its number go: the Sink numbers what it writes,
// so that a number that is missing was lost after it.
type Sink struct {
	opts    Options
	target  Target
	queue   queue
	losses  losses
	written written
	reports struct {
		sync.Mutex
		of Reports // nil: no lines are added
	}

	lent    *chunk        // of no line yet: whose memory Swap returned; nil: none
	wake    chan struct{} // there is something to do
	reopen  chan struct{} // Reopen was called
	started atomic.Bool   // there is a writing goroutine
	ending  atomic.Bool   // no more lines come, or their maker waits no longer
	quit    chan struct{} // what is not written is left
	done    chan struct{} // the writing goroutine has ended
	room    *sync.Cond    // with Block: lines were written; its lock is of its own
}

// New returns a Sink before a Target. Nothing is written before Start.
func New(t Target, opts Options) *Sink {
	if opts.Limit == 0 {
		opts.Limit = LimitStandard
	}
	if opts.Notice == nil {
		opts.Notice = func(string) {}
	}
	if opts.Failed == nil {
		opts.Failed = func(error) {}
	}
	return &Sink{
		opts: opts, target: t, room: sync.NewCond(new(sync.Mutex)),
		wake: make(chan struct{}, 1), reopen: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
}

// Start begins to write. With reports, each file and connection begins with a line of
// theirs; nil: there are none.
func (s *Sink) Start(reports Reports) {
	s.reports.of = reports
	s.written.up(true)
	s.started.Store(true)
	go newWriter(s).run()
}

// Admit reports whether a line of a class has a place. If not, it is counted, and need
// not be made.
func (s *Sink) Admit(class Class) bool {
	if s.queue.bytes.Load() < class.limit(s.opts.Limit) || s.opts.Block && !s.ending.Load() {
		return true
	}
	stage := InQueue
	if !s.written.isUp() {
		stage = AtOutput
	}
	if s.losses.drop(stage, class) {
		s.opts.Notice(s.warning(stage))
	}
	return false
}

// warning says that lines are being left out.
func (s *Sink) warning(stage Stage) string {
	if stage == AtOutput {
		return fmt.Sprintf("%s: the queue of %s is full and nothing can be written: records are left out and counted", s.opts.Place, s.limit())
	}
	return fmt.Sprintf("%s takes less than comes and the queue of %s is full: records are left out and counted, changes of state first "+
		"(--events=close writes less, a larger --queue-bytes bridges longer stalls)", s.opts.Place, s.limit())
}

// limit returns the size of the queue as --queue-bytes takes it.
func (s *Sink) limit() string {
	if s.opts.Limit%(1<<20) == 0 {
		return fmt.Sprintf("%dM", s.opts.Limit>>20)
	}
	return fmt.Sprintf("%d bytes", s.opts.Limit)
}

// Write takes whole lines, which were admitted. It waits for room with Block alone.
func (s *Sink) Write(lines []byte) (int, error) {
	takes, err := s.takes(lines)
	if takes {
		err = s.put(lines)
	}
	if err != nil {
		return 0, err
	}
	return len(lines), nil
}

// Swap takes lines as Write does, and returns an empty buffer for the next ones, which its
// caller may grow. If that is nearly full when it comes back, or little waits, the Sink keeps
// its memory and returns another one: nothing is copied. After an error the lines are not
// taken.
func (s *Sink) Swap(lines []byte) (empty []byte, err error) {
	takes, err := s.takes(lines)
	switch {
	case err != nil:
		return lines, err
	case !takes:
		return lines[:0], nil
	case s.isLent(lines) && (len(lines) >= Full || len(lines) >= worthSwapping && s.queue.short()):
		s.queue.add(s.lent, lines)
		s.lent = nil
		notify(s.wake)
		return s.lend(), nil
	}
	if err := s.put(lines); err != nil {
		return lines, err
	}
	if s.isLent(lines) || len(lines) < Full {
		return lines[:0], nil
	}
	return s.lend(), nil // it has grown elsewhere
}

// worthSwapping is from how many bytes on a buffer is exchanged, though it is not full.
const worthSwapping = 16 << 10

func (s *Sink) isLent(lines []byte) bool {
	return s.lent != nil && len(lines) > 0 && &lines[0] == &s.lent.memory[0]
}

// takes reports whether lines are to be queued, once they may be. A Sink that has ended
// loses them: Failed and Drain tell why.
func (s *Sink) takes(lines []byte) (bool, error) {
	if s.written.dead.Load() {
		return false, nil
	}
	if len(lines) > 0 && lines[len(lines)-1] != '\n' {
		return false, fmt.Errorf("%s: the last line has no end", s.opts.Place)
	}
	if s.opts.Block {
		s.waitRoom()
	}
	return true, nil
}

func (s *Sink) put(lines []byte) error {
	if err := s.queue.put(lines); err != nil {
		return fmt.Errorf("%s: %w", s.opts.Place, err)
	}
	notify(s.wake)
	return nil
}

// lend returns an empty buffer of the queue's. Where there is no memory for it, lines are
// made in that of Go, and copied.
func (s *Sink) lend() []byte {
	if s.lent == nil {
		c, err := s.queue.spare()
		if err != nil {
			return nil
		}
		s.lent = c
	}
	return s.lent.memory[:0]
}

func (s *Sink) waitRoom() {
	s.room.L.Lock()
	defer s.room.L.Unlock()
	for s.queue.bytes.Load() >= int64(s.opts.Limit) && !s.ending.Load() && !s.written.dead.Load() {
		s.room.Wait()
	}
}

// Settle puts what is known of losses in the queue, before the last lines.
func (s *Sink) Settle() error { return s.tell(true) }

// tell puts reports of losses in the queue: those that are due, or all.
func (s *Sink) tell(all bool) error {
	if !s.losses.pending.Load() {
		return nil
	}
	s.reports.Lock()
	defer s.reports.Unlock()
	if s.reports.of == nil {
		return nil
	}
	for _, loss := range s.losses.due(all) {
		if err := s.queue.put(s.reports.of.Lost(&loss)); err != nil {
			return err
		}
	}
	notify(s.wake)
	return nil
}

// head returns the first line of a file or a connection.
func (s *Sink) head(why Begin, fileSeq uint64) []byte {
	s.reports.Lock()
	defer s.reports.Unlock()
	if s.reports.of == nil {
		return nil
	}
	return bytes.Clone(s.reports.of.Head(why, fileSeq))
}

// Reopen has the place opened anew, if it is one that can be, at once. Any goroutine
// may call it.
func (s *Sink) Reopen() { notify(s.reopen) }

// Release ends the waiting of who makes lines, for good.
func (s *Sink) Release() {
	s.ending.Store(true)
	s.room.L.Lock()
	defer s.room.L.Unlock()
	s.room.Broadcast()
}

// UndeliveredError says what a place has not taken at the end of a run.
type UndeliveredError struct {
	Place   string
	Records uint64
}

func (e *UndeliveredError) Error() string {
	return fmt.Sprintf("%s: %d records could not be delivered before the end", e.Place, e.Records)
}

// leave is how long the writing goroutine has for what it is doing when the time to
// drain is over.
const leave = 100 * time.Millisecond

// Drain writes what waits, until the context ends, and closes the Target. No lines
// come any more. The error is what ended the Sink, an *UndeliveredError, or that of Close.
// A goroutine that hangs in a Write is left behind. Of a Sink that was not started
// nothing is written.
func (s *Sink) Drain(ctx context.Context) error {
	if !s.started.Load() {
		return s.target.Close()
	}
	s.written.close()
	s.Release()
	notify(s.wake)
	select {
	case <-s.done:
	case <-ctx.Done():
		close(s.quit)
		select {
		case <-s.done:
		case <-time.After(leave):
			return &UndeliveredError{s.opts.Place, uint64(s.queue.records.Load())}
		}
	}
	left := uint64(max(s.queue.records.Load(), 0))
	s.queue.discard()
	err := s.target.Close()
	if fatal := s.written.fatal(); fatal != nil {
		return fatal
	}
	if left > 0 {
		return &UndeliveredError{s.opts.Place, left}
	}
	return err
}

// Stats returns what the Sink has done so far. Any goroutine may call it.
func (s *Sink) Stats() Stats {
	stats := Stats{Place: s.opts.Place, Written: s.written.stats(), Dropped: s.losses.totals()}
	stats.Queue = QueueStats{
		Bytes: uint64(max(s.queue.bytes.Load(), 0)), Limit: uint64(s.opts.Limit), Records: uint64(max(s.queue.records.Load(), 0)),
	}
	if since := s.queue.oldest(); !since.IsZero() {
		stats.Queue.Oldest = time.Since(since)
	}
	return stats
}

// notify wakes who waits on a channel of one place.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
