package tracer

import (
	"context"
	"fmt"
	"iter"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/tracer/table"
)

// longSleep is longer than any test: nothing but what is tested ends it.
const longSleep = time.Hour

// refused makes a connect that is refused, in the namespace of the thread.
func refused(t *testing.T) {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", load.ClosedPort))
	if err == nil {
		t.Error("connected to a closed port")
		_ = c.Close()
	}
}

// TestSleepRace makes a connection around the moment at which the reader falls asleep,
// again and again. Its records wake the reader each time.
func TestSleepRace(t *testing.T) {
	netns := testnet.New(t)
	w := newWatch(t, Options{NetnsPath: netns})
	defer func() {
		if err := w.tracer.Close(); err != nil {
			t.Error(err)
		}
	}()
	r, bed := w.tracer.ring, w.tracer.pace.bed
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() {
		var err error
		for err == nil && !stop.Load() {
			if _, err = r.sleep(bed, longSleep); err == nil {
				err = r.drain(func([]byte) bool { return true })
			}
		}
		done <- err
	}()
	rounds := 1000
	if inMachine {
		rounds = 100
	}
	waiting := func() uint64 { return atomic.LoadUint64(r.producer) - atomic.LoadUint64(r.consumer) }
	testnet.In(t, netns, func() {
		for round := range rounds {
			refused(t)
			for start := time.Now(); waiting() > 0; {
				if time.Since(start) > 20*time.Second {
					t.Errorf("round %d: the reader sleeps, and %d bytes wait", round, waiting())
					return
				}
			}
		}
	})
	stop.Store(true)
	bed.wake()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestSleepLooksAgain has a record come before the flag was set: its program woke nobody.
func TestSleepLooksAgain(t *testing.T) {
	r := newFakeRing(4096)
	position, _ := r.reserve(8)
	r.submit(position, make([]byte, 8), 0)
	var flag uint32
	// There is nothing that could wake it: to wait is an error.
	if woken, err := r.sleep(&bed{asleep: &flag}, longSleep); !woken || err != nil || flag != 0 {
		t.Errorf("woken %t, flag %d, error %v", woken, flag, err)
	}
}

// sleepy counts the calls of Idle, and the changes.
type sleepy struct {
	*watch
	idle, changes atomic.Int64
	due           atomic.Pointer[time.Time]
}

func (s *sleepy) Idle() error {
	s.idle.Add(1)
	return s.watch.Idle()
}

func (s *sleepy) Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error {
	return s.watch.Snapshot(rows, took)
}

func (s *sleepy) Change(c *table.Change) error {
	s.changes.Add(1)
	return s.watch.Change(c)
}

// Due is Timed's.
func (s *sleepy) Due() time.Time {
	if at := s.due.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// asleep waits until the reader sleeps with nothing left to do: it stays so for longer than
// any wait of its own.
func (s *sleepy) asleep(t *testing.T) {
	t.Helper()
	for start := time.Now(); time.Since(start) < time.Minute; {
		before := s.idle.Load()
		time.Sleep(5 * checkInterval)
		if s.idle.Load() == before && atomic.LoadUint32(s.tracer.pace.bed.asleep) == 1 {
			return
		}
	}
	t.Fatal("the reader does not come to rest")
}

// TestSleep has a tracer in a namespace in which nothing happens: it sleeps. A record, a
// request for a scan, a time that the handler has set, and the end of the run wake it.
func TestSleep(t *testing.T) {
	netns := testnet.New(t)
	s := &sleepy{watch: newWatch(t, Options{NetnsPath: netns, Reconcile: -1, idle: longSleep})}
	s.runFor(s)
	until := func(what string, done func() bool) {
		t.Helper()
		for start := time.Now(); !done(); time.Sleep(time.Millisecond) {
			if time.Since(start) > time.Minute {
				t.Fatalf("%s did not wake the reader", what)
			}
		}
	}
	for range 3 {
		s.asleep(t)
		before := s.changes.Load()
		testnet.In(t, netns, func() { refused(t) })
		until("a record", func() bool { return s.changes.Load() >= before+3 }) // SYN_SENT, CLOSE, the close
	}
	s.asleep(t)
	s.resync()
	s.asleep(t)
	at := time.Now().Add(3 * time.Second)
	s.due.Store(&at)
	s.tracer.Wake()
	time.Sleep(time.Until(at) / 2)
	before := s.idle.Load()
	until("the handler's time", func() bool { return s.idle.Load() > before })
	s.due.Store(nil)
	s.asleep(t)
	s.stop()
	s.tracer.Resync() // after the end it does nothing
	if s.lost > 0 {
		t.Errorf("%d events were lost", s.lost)
	}
}

// TestSleepEnds ends a run before it began.
func TestSleepEnds(t *testing.T) {
	w := newWatch(t, Options{NetnsPath: testnet.New(t), idle: longSleep})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.tracer.Run(ctx, w); err != nil {
		t.Error(err)
	}
	if err := w.tracer.Close(); err != nil {
		t.Error(err)
	}
}
