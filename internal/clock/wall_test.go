package clock

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// clocks are clocks that a test moves.
type clocks struct{ reading }

func (c *clocks) pass(d time.Duration) { c.mono += uint64(d); c.wall += int64(d) }
func (c *clocks) step(d time.Duration) { c.wall += int64(d) }

// sleep has the machine sleep: CLOCK_MONOTONIC stands still.
func (c *clocks) sleep(d time.Duration) { c.wall += int64(d); c.boot += int64(d) }

func newClocks() (*clocks, *Wall) {
	c := &clocks{reading{mono: uint64(time.Hour), wall: int64(1000 * time.Hour)}}
	return c, newWall(func() reading { return c.reading })
}

// A step of the wall clock moves what comes after it, at once, and nothing before.
func TestWallSteps(t *testing.T) {
	for _, test := range []struct {
		name    string
		step    func(*clocks)
		noticed bool // at once, by the timer
	}{
		{"set forward, noticed", func(c *clocks) { c.step(5 * time.Hour) }, true},
		{"set back, noticed", func(c *clocks) { c.step(-5 * time.Hour) }, true},
		{"slept", func(c *clocks) { c.sleep(30 * time.Second) }, false},
		{"slept, noticed", func(c *clocks) { c.sleep(30 * time.Second) }, true},
		{"a small step", func(c *clocks) { c.step(time.Millisecond) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, w := newClocks()
			c.pass(time.Minute)
			before := c.reading
			if got := w.At(before.mono); got != before.wall {
				t.Errorf("before the step: %d, want %d", got, before.wall)
			}
			c.pass(time.Millisecond)
			test.step(c)
			if test.noticed {
				w.set.Store(c.mono)
			}
			c.pass(time.Millisecond)
			after := c.reading
			c.pass(time.Second)
			if got := w.At(after.mono); got != after.wall {
				t.Errorf("after the step: off by %v", time.Duration(got-after.wall))
			}
			if got := w.At(before.mono); got != before.wall {
				t.Errorf("the time before the step became another one, by %v", time.Duration(got-before.wall))
			}
		})
	}
}

// An event that was read only after the clock was set has the time from before.
func TestWallReadLate(t *testing.T) {
	c, w := newClocks()
	c.pass(time.Minute)
	w.At(c.mono)
	c.pass(time.Millisecond)
	before := c.reading
	c.pass(time.Millisecond)
	c.step(time.Hour)
	w.set.Store(c.mono)
	c.pass(time.Millisecond)
	if got := w.At(c.mono); got != c.wall {
		t.Errorf("off by %v", time.Duration(got-c.wall))
	}
	if got := w.At(before.mono); got != before.wall {
		t.Errorf("off by %v", time.Duration(got-before.wall))
	}
}

// Readings that were interrupted make no steps, and of very many steps the last
// ones are remembered.
func TestWallBounds(t *testing.T) {
	c, w := newClocks()
	for range 3 {
		c.pass(time.Second)
		c.error = int64(time.Millisecond)
		c.step(time.Duration(c.error))
		w.At(c.mono)
		c.step(-time.Duration(c.error))
	}
	if len(w.spans) != 1 {
		t.Errorf("%d spans, though the clock was never set", len(w.spans))
	}
	c.error = 0
	var last reading
	for range 3 * maxSpans {
		last = c.reading
		c.pass(time.Second)
		c.step(time.Hour)
		w.set.Store(c.mono)
		w.At(c.mono)
	}
	if len(w.spans) != maxSpans || w.At(c.mono) != c.wall || w.At(last.mono) != last.wall {
		t.Errorf("%d spans, times are off by %v and %v", len(w.spans),
			time.Duration(w.At(c.mono)-c.wall), time.Duration(w.At(last.mono)-last.wall))
	}
}

// The real clocks agree with the time of package time.
func TestWallNow(t *testing.T) {
	w := NewWall()
	if w.timer == nil {
		t.Error("no timer notices when the clock is set")
	}
	for range 3 {
		before := time.Now().UnixNano()
		got := w.At(Now())
		after := time.Now().UnixNano()
		if got < before-2*tolerance || got > after+2*tolerance {
			t.Errorf("%d, and the clock showed %d to %d", got, before, after)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if len(w.spans) != 1 {
		t.Errorf("%d spans, though the clock was not set", len(w.spans))
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestShiftOf(t *testing.T) {
	for _, test := range []struct {
		name, own, children, offsets string
		want                         int64
	}{
		{"the host's", "time:[1]", "time:[1]", "monotonic           0         0\nboottime            0         0\n", 0},
		{"ahead", "time:[2]", "time:[2]", "monotonic      100000         7\nboottime            0         0\n", 100000*1e9 + 7},
		{"behind", "time:[2]", "time:[2]", "monotonic          -5 500000000\nboottime            0         0\n", -4.5e9},
		{"of the children", "time:[1]", "time:[2]", "monotonic      100000         0\n", 0},
		{"an old kernel", "", "", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			proc := t.TempDir()
			if test.own != "" {
				if err := os.Mkdir(filepath.Join(proc, "ns"), 0o755); err != nil {
					t.Fatal(err)
				}
				for name, to := range map[string]string{"ns/time": test.own, "ns/time_for_children": test.children} {
					if err := os.Symlink(to, filepath.Join(proc, name)); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.WriteFile(filepath.Join(proc, "timens_offsets"), []byte(test.offsets), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := shiftOf(proc); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

// Where the process is in no time namespace, Now is CLOCK_MONOTONIC.
func TestNow(t *testing.T) {
	before := read(unix.CLOCK_MONOTONIC) - namespaceShift()
	if now := int64(Now()); now < before || now > before+int64(time.Minute) {
		t.Errorf("%d, and CLOCK_MONOTONIC showed %d before", now, before)
	}
}
