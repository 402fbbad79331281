package table

import "testing"

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
		if most := 2*len(waits) + 2*64; len(p.waiting) > most {
			t.Fatalf("%d rows are in the list, of which %d wait", len(p.waiting), len(waits))
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
