package table

import "slices"

// waiting is a list of rows to look at later, in the order in which they were
// added: rows without a port, mini-sockets whose timer stopped, unclaimed and
// FIN_WAIT2 timewait sockets, connections nobody has accepted. It keeps no row
// from being removed and used again.
type waiting []rowRef

// rowRef refers to a row for as long as it stays the same connection.
type rowRef struct {
	row *row
	id  uint64 // the row's; another one: it was used again
	due uint64 // when to look; for those lists that need it
}

func (w *waiting) add(r *row) { w.addAt(r, 0) }

func (w *waiting) addAt(r *row, due uint64) {
	*w = append(*w, rowRef{r, r.ID, due})
}

// visit passes each row to keep, which reports whether it stays in the list.
// keep must not add to the list.
func (w *waiting) visit(keep func(*rowRef) bool) {
	kept := (*w)[:0]
	for i := range *w {
		if ref := &(*w)[i]; ref.row.ID == ref.id && keep(ref) {
			kept = append(kept, *ref)
		}
	}
	*w = kept
}

// rotate passes rows from the front to keep, until it has kept most of them, and
// moves those to the end.
func (w *waiting) rotate(most int, keep func(*row) bool) {
	n, seen := len(*w), 0
	for ; seen < n && most > 0; seen++ {
		if ref := (*w)[seen]; ref.row.ID == ref.id && keep(ref.row) {
			*w = append(*w, ref)
			most--
		}
	}
	*w = slices.Delete(*w, 0, seen)
}

// pruned is a waiting list that few rows leave one by one. What waits no more is dropped
// when it has grown to twice what waited then.
type pruned struct {
	waiting
	limit int
}

// makeRoom drops the rows that do not wait, if it is time.
func (p *pruned) makeRoom(waits func(*row) bool) {
	if len(p.waiting) < p.limit {
		return
	}
	p.visit(func(ref *rowRef) bool { return waits(ref.row) })
	p.limit = 2*len(p.waiting) + 64
}

// nextOn are rows that the next record of a CPU decides, by Event.CPU: one each.
type nextOn []rowRef

func (n *nextOn) set(cpu uint16, r *row) {
	if missing := int(cpu) + 1 - len(*n); missing > 0 {
		*n = append(*n, make([]rowRef, missing)...)
	}
	(*n)[cpu] = rowRef{row: r, id: r.ID}
}

// take returns the row of a CPU and forgets it; nil: there is none any more.
func (n nextOn) take(cpu uint16) *row {
	if int(cpu) >= len(n) || n[cpu].row == nil {
		return nil
	}
	ref := n[cpu]
	n[cpu] = rowRef{}
	if ref.row.ID != ref.id {
		return nil
	}
	return ref.row
}
