package tuning

import (
	"runtime"
	"runtime/debug"
	"testing"
)

var sink []byte

// TestChanges allocates 64 MiB of garbage, of which hardly anything is alive at a time: with
// 20 % alone there would be more than 50 collections.
func TestChanges(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	InitialTable()
	Changes()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 64 << 20 / 4096 {
		sink = make([]byte, 4096)
	}
	runtime.ReadMemStats(&after)
	if n := after.NumGC - before.NumGC; n < 2 || n > 20 {
		t.Errorf("%d collections", n)
	}
}

// TestPercentFor bounds what is allocated between two collections, from both sides.
func TestPercentFor(t *testing.T) {
	for _, c := range []struct {
		live    uint64
		percent int
	}{
		{0, 150}, // the least heap is 6 MiB then
		{1 << 20, 150},
		{4 << 20, 150},
		{10 << 20, 60},
		{30 << 20, 20},
		{1 << 40, 20},
	} {
		if got := percentFor(c.live); got != c.percent {
			t.Errorf("%d bytes: %d %%, want %d %%", c.live, got, c.percent)
		}
	}
}
