package clock

import (
	"errors"
	"math"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Wall converts times of Now to the wall clock, as it showed them when they were: a
// clock that is set, or a machine that sleeps, changes what comes later, and nothing
// before. So the start of a connection stays what was reported first.
//
// Between two such steps the wall clock is CLOCK_MONOTONIC plus a constant, also
// while NTP slews it (timekeeping_adjust, kernel/time/timekeeping.c, 6.12, moves
// both). A step is found when the first time after it is converted. It belongs
// between the conversion before and that one; where exactly is known by a timer that
// the kernel cancels (TFD_TIMER_CANCEL_ON_SET) when the clock is set.
//
// At is for one goroutine.
type Wall struct {
	read   func() reading
	spans  []span // in order of time; one at least
	looked uint64 // time of the last reading
	boot   int64  // CLOCK_BOOTTIME less CLOCK_MONOTONIC then
	set    atomic.Uint64
	timer  *os.File // nil: there is none
}

// span is a time in which the wall clock makes no step.
type span struct {
	from   uint64 // the first one is from the beginning
	offset int64  // wall clock less Now
}

// reading is what the clocks show at one moment.
type reading struct {
	mono  uint64
	wall  int64
	boot  int64 // CLOCK_BOOTTIME less CLOCK_MONOTONIC
	error int64 // how much longer the reading took than no time at all
}

const (
	// tolerance is a step that is not worth one, in ns.
	tolerance = 100_000
	// maxSpans is how many are remembered. A time before them is converted as the
	// first of them.
	maxSpans = 64
)

// NewWall returns a clock that watches for steps until Close.
func NewWall() *Wall {
	w := newWall(readClocks)
	w.watch()
	return w
}

func newWall(read func() reading) *Wall {
	r := read()
	return &Wall{read: read, spans: []span{{0, r.wall - int64(r.mono)}}, looked: r.mono, boot: r.boot}
}

// At returns the wall clock's time at a time of Now, in ns after the Unix epoch.
func (w *Wall) At(mono uint64) int64 {
	if mono > w.looked {
		w.look()
	}
	i := len(w.spans) - 1
	for i > 0 && mono < w.spans[i].from {
		i--
	}
	return int64(mono) + w.spans[i].offset
}

// look reads the clocks, and begins a new span if the wall clock made a step.
func (w *Wall) look() {
	r := w.read()
	offset := r.wall - int64(r.mono)
	if step := offset - w.spans[len(w.spans)-1].offset; max(step, -step) > tolerance+r.error {
		if len(w.spans) == maxSpans {
			w.spans = slices.Delete(w.spans, 0, 1)
		}
		w.spans = append(w.spans, span{w.stepTime(r), offset})
	}
	w.looked, w.boot = r.mono, r.boot
}

// stepTime returns when the step was that a reading has found. While the machine
// sleeps CLOCK_MONOTONIC stands still, and little happens before that is not read.
func (w *Wall) stepTime(r reading) uint64 {
	slept := r.boot - w.boot
	if set := w.set.Load(); slept <= tolerance+r.error && set > w.looked && set <= r.mono {
		return set
	}
	if slept > tolerance+r.error {
		return w.looked + 1
	}
	return r.mono
}

// readClocks reads the clocks again if it was interrupted between two of them.
func readClocks() (best reading) {
	const tries, good = 5, 20_000
	best.error = math.MaxInt64
	for range tries {
		before := Now()
		wall := read(unix.CLOCK_REALTIME)
		boot := read(unix.CLOCK_BOOTTIME)
		after := Now()
		if took := int64(after - before); took < best.error {
			mono := before + uint64(took/2)
			best = reading{mono, wall, boot - int64(mono), took}
		}
		if best.error < good {
			break
		}
	}
	return best
}

// watch notes when the clock is set. Without a timer the step is found later.
func (w *Wall) watch() {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return
	}
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: math.MaxInt64}}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil); err != nil {
		unix.Close(fd)
		return
	}
	w.timer = os.NewFile(uintptr(fd), "timerfd")
	go func() {
		var count [8]byte
		for {
			if _, err := w.timer.Read(count[:]); errors.Is(err, os.ErrClosed) {
				return
			} else if !errors.Is(err, unix.ECANCELED) {
				return // not a timer that can be waited for
			}
			w.set.Store(Now())
		}
	}()
}

// Close ends the watch.
func (w *Wall) Close() error {
	if w.timer == nil {
		return nil
	}
	return w.timer.Close()
}
