package table

import "testing"

// TestEndings forgets what ended before the rows that are applied now were read, and
// nothing else.
func TestEndings(t *testing.T) {
	const step = 10 * rowGrace
	var e endings
	e.add(1, step)
	if e.has(1) {
		t.Error("it remembers where there is no scan")
	}
	e.open()
	most := 0
	for n := uint64(1); n <= 1000; n++ {
		e.add(n, n*step)
		if n > 3 {
			e.forget((n - 3) * step) // rows are applied three steps later
		}
		for back := range min(n, 3) {
			if !e.has(n - back) {
				t.Fatalf("at %d it has forgotten %d", n, n-back)
			}
		}
		most = max(most, len(e.latest)+len(e.older))
	}
	if e.has(1) || most > 20 {
		t.Errorf("it remembers up to %d ends", most)
	}
	if e.has(0) {
		t.Error("no number is remembered")
	}
	e.close()
	if e.has(1000) {
		t.Error("it remembers after the scan")
	}
}
