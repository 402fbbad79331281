package tracer

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newEvent(t *testing.T) int {
	t.Helper()
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(event) })
	return event
}

func wake(t *testing.T, event int) {
	t.Helper()
	if _, err := unix.Write(event, []byte{0: 1, 7: 1}); err != nil {
		t.Error(err)
	}
}

// The files are not read, so that only what is edge-triggered waits at all after the first
// wake.
func TestWaiterSeesEachWake(t *testing.T) {
	events := []int{newEvent(t), newEvent(t)}
	w, err := newWaiter(events...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, event := range []int{events[0], events[1], events[0]} {
		wake(t, event) // before the wait
		if err := w.wait(longSleep); err != nil {
			t.Fatal(err)
		}
		go func() { // and, most often, in it
			time.Sleep(10 * time.Millisecond)
			wake(t, event)
		}()
		if err := w.wait(longSleep); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		const short = 5 * time.Millisecond
		if err := w.wait(short); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < short {
			t.Errorf("waited %v though nobody woke it, less than %v", took, short)
		}
	}
}

// TestWaiterPolls wants a poll to end with a wake, be that before it or in it. One may end
// without, by a signal of the runtime's.
func TestWaiterPolls(t *testing.T) {
	event := newEvent(t)
	w, err := newWaiter(event)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	}()
	start := time.Now()
	for _, after := range []time.Duration{0, 10 * time.Millisecond} {
		var wakes atomic.Bool
		var waker sync.WaitGroup
		waker.Go(func() {
			time.Sleep(after)
			wakes.Store(true)
			wake(t, event)
		})
		for !wakes.Load() {
			if err := w.poll(longSleep); err != nil {
				t.Error(err)
			}
		}
		waker.Wait()
	}
	if time.Since(start) >= longSleep {
		t.Error("a wake did not end the poll")
	}
	if err := w.poll(0); err != nil {
		t.Error(err)
	}
}

func TestWaiterNeedsFiles(t *testing.T) {
	if w, err := newWaiter(-1); err == nil {
		t.Errorf("waits for a file that is not open: %v", w.close())
	}
}
