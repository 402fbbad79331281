package table

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestWaiting wants of a list what a slice of the same rows does, whatever is done to it,
// and no more blocks than it needs.
func TestWaiting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newStore()
		var w waiting
		var want []*row
		odd := func(r *row) bool { return r.ID%2 == 1 }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 3*waitingBlock).Draw(t, "rows") {
					r := x.take()
					w.add(r)
					want = append(want, r)
				}
			},
			"visit": func(*rapid.T) {
				w.visit(func(ref *rowRef) bool { return !odd(ref.row) })
				want = slices.DeleteFunc(want, odd)
			},
			"rotate": func(t *rapid.T) {
				most := rapid.IntRange(0, 2*waitingBlock).Draw(t, "most")
				w.rotate(most, odd)
				var kept []*row
				for n := len(want); n > 0 && len(kept) < most; n-- {
					if odd(want[0]) {
						kept = append(kept, want[0])
					}
					want = want[1:]
				}
				want = append(want, kept...)
			},
			"used again": func(t *rapid.T) {
				if len(want) > 0 {
					i := rapid.IntRange(0, len(want)-1).Draw(t, "row")
					x.giveBack(want[i])
					x.take()
					want = slices.Delete(want, i, i+1)
				}
			},
			"": func(t *rapid.T) {
				var got []*row
				for ref := range w.all {
					if ref.row.ID == ref.id {
						got = append(got, ref.row)
					}
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%d rows are in the list, want %d", len(got), len(want))
				}
				if most := w.length/waitingBlock + 2; len(w.blocks) > most || len(w.spare) > most+1 {
					t.Fatalf("%d rows take %d blocks and %d spare ones", w.length, len(w.blocks), len(w.spare))
				}
			},
		})
	})
}

// TestPruned adds rows of which few go on waiting: the list stays as long as these ask for,
// and has all of them.
func TestPruned(t *testing.T) {
	var p pruned
	x := newStore()
	waits := make(map[uint64]bool)
	for n := range 10_000 {
		p.makeRoom(func(r *row) bool { return waits[r.ID] })
		r := x.take()
		p.add(r)
		if n%100 == 0 {
			waits[r.ID] = true
		} else {
			x.giveBack(r)
		}
		if most := len(waits) + len(waits)/2 + 2*64; p.length > most {
			t.Fatalf("%d rows are in the list, of which %d wait", p.length, len(waits))
		}
	}
	p.visit(func(ref *rowRef) bool {
		delete(waits, ref.id)
		return true
	})
	if len(waits) > 0 {
		t.Errorf("%d rows are missing", len(waits))
	}
}
