package tracer

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/tracer/table"
)

// Where nothing happens the reader sleeps, and the first record wakes it. It is read with
// those of the interval that follows: connections make them in bursts. Waking costs the
// process that makes the record some 3 µs, so that under load the reader polls instead.

// idleInterval is the longest sleep. No event waits for its end: it is for what nothing
// announces, such as a program whose runs the kernel skipped.
const idleInterval = time.Second

// bed is what the reader sleeps on: a flag that it shares with the programs, and a file
// that other goroutines wake it by.
type bed struct {
	asleep *uint32 // 1: the next record wakes the reader; nil: none does
	page   []byte  // where asleep is

	mu     sync.Mutex
	event  int // an eventfd
	closed bool
}

// makeBed maps the flag.
func makeBed(flag *ebpf.Map) (*bed, error) {
	page, err := unix.Mmap(flag.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the reader's flag: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for other goroutines: %w", err), unix.Munmap(page))
	}
	return &bed{asleep: (*uint32)(unsafe.Pointer(&page[0])), page: page, event: event}, nil
}

// wake ends the sleep, or keeps the reader from the next one. Any goroutine may call it, at
// any time.
func (b *bed) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	one := [8]byte{0: 1, 7: 1}         // not 0 in either byte order
	_, _ = unix.Write(b.event, one[:]) // it fails only where the event is there already
}

func (b *bed) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.asleep = true, nil
	return errors.Join(unix.Close(b.event), unix.Munmap(b.page))
}

// sleep waits until there is something to read, or somebody wakes the reader, but not
// longer than d. It reports whether a program had it end.
//
// A program looks at the flag after it has submitted its record, and the reader at the
// ring after it has set the flag; both are full barriers. So either the program sees the
// flag and wakes the reader, or the reader sees the record.
func (r *ring) sleep(b *bed, d time.Duration) (woken bool, err error) {
	atomic.StoreUint32(b.asleep, 1)
	if r.queued() == 0 {
		err = r.wait(d)
	}
	return atomic.SwapUint32(b.asleep, 0) == 0 || r.queued() > 0, err
}

// pace is how often the reader looks at the ring, and what it sleeps on in between.
type pace struct {
	bed       *bed
	nextCheck uint64        // time of the next check of losses, witness and processes
	unchecked uint64        // when a program was last seen to run; 0: a check came long enough after that
	quiet     bool          // the last drain found nothing, and there is nothing to flush
	poll      time.Duration // between two drains while records come
	idle      time.Duration // the longest sleep
}

// drained takes a drain that began at now and found records, or none.
func (p *pace) drained(now uint64, found bool) {
	p.quiet = !found
	if found {
		p.unchecked = now
	}
}

// check reports whether a check is due, and sets when the next one is. What a transition
// leaves behind for a check is complete a pollInterval later.
func (p *pace) check(now uint64) bool {
	if now < p.nextCheck {
		return false
	}
	p.nextCheck = now + uint64(checkInterval)
	p.quiet = false // what it finds is to be flushed
	if now > p.unchecked+2*uint64(pollInterval) {
		p.unchecked = 0
	}
	return true
}

// Timed is a Handler that has something to do at a time. Idle is called then, and once a
// second in any case.
type Timed interface {
	// Due returns the next such time; zero: there is none.
	Due() time.Time
}

// wait waits for records, or until something else is due.
func (t *Tracer) wait() error {
	d := t.pause()
	switch {
	case t.scan.state != scanIdle: // its goroutines need the processors
		return t.ring.wait(d)
	case d <= t.pace.poll:
		return t.ring.poll(d)
	}
	woken, err := t.ring.sleep(t.pace.bed, d)
	if err != nil || !woken {
		return err
	}
	t.pace.unchecked = monotonic()
	return t.ring.poll(t.pace.poll)
}

// pause is how long the ring is waited for.
func (t *Tracer) pause() time.Duration {
	switch {
	case len(t.scan.rows.parts) > 0:
		return 0
	case t.scan.state != scanIdle:
		return scanInterval
	case !t.pace.quiet || !t.out.ready || t.shutdown != running:
		return t.pace.poll
	}
	d := t.pace.idle
	now := monotonic()
	if due := t.nextDue(); due < now+uint64(d) {
		d = time.Duration(due - min(due, now))
	}
	if timed, ok := t.out.handler.(Timed); ok {
		if due := timed.Due(); !due.IsZero() {
			d = min(d, time.Until(due))
		}
	}
	return max(d, t.pace.poll)
}

// nextDue is when the tracer itself has something to do though nothing happens.
func (t *Tracer) nextDue() uint64 {
	due := t.table.Deadline()
	if t.pace.unchecked != 0 {
		due = min(due, t.pace.nextCheck)
	}
	if owners := t.table.Owners().Deadline(); owners != table.Never {
		due = min(due, max(owners, t.scan.nextOwn))
	}
	if t.refresher.program != nil && t.table.FinWait2() > 0 {
		due = min(due, t.refresher.next)
	}
	return min(due, t.sockets.nextDue(), t.scanDue())
}

// scanDue is when the next scan is due.
func (t *Tracer) scanDue() uint64 {
	due := table.Never
	for _, at := range []uint64{t.losses.healAt, t.scan.retry, t.scan.confirm} {
		if at > 0 {
			due = min(due, at)
		}
	}
	if t.scan.every > 0 {
		due = min(due, t.scan.due)
	}
	if t.scan.unsettled || t.table.WantsScan() {
		due = min(due, t.scan.nextOwn)
	}
	return due
}
