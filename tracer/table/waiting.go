package table

import "slices"

// waiting is a list of rows to look at later, in the order in which they were
// added: rows without a port, mini-sockets whose timer stopped, unclaimed and
// FIN_WAIT2 timewait sockets, connections nobody has accepted. It keeps no row
// from being removed and used again.
//
// Its memory comes in blocks: a slice that grows is there twice until the next collection.
type waiting struct {
	blocks [][]rowRef // of waitingBlock each
	spare  [][]rowRef // blocks for later, no more than are in use and one
	first  int        // where the list begins in the first block
	length int
}

const waitingBlock = 256 // of rowRef, that is a size which the allocator has

// rowRef refers to a row for as long as it stays the same connection.
type rowRef struct {
	row *row
	id  uint64 // the row's; another one: it was used again
	due uint64 // when to look; for those lists that need it
}

func (w *waiting) add(r *row) { w.addAt(r, 0) }

func (w *waiting) addAt(r *row, due uint64) { w.append(rowRef{r, r.ID, due}) }

func (w *waiting) append(ref rowRef) {
	if w.first+w.length == len(w.blocks)*waitingBlock {
		w.blocks = append(w.blocks, w.block())
	}
	w.length++
	*w.at(w.length - 1) = ref
}

func (w *waiting) at(i int) *rowRef {
	i += w.first
	return &w.blocks[i/waitingBlock][i%waitingBlock]
}

// block returns a block that is not in use.
func (w *waiting) block() []rowRef {
	if last := len(w.spare) - 1; last >= 0 {
		b := w.spare[last]
		w.spare = w.spare[:last]
		return b
	}
	return make([]rowRef, waitingBlock)
}

// release takes blocks out of use.
func (w *waiting) release(from, to int) {
	w.spare = append(w.spare, w.blocks[from:to]...)
	w.blocks = slices.Delete(w.blocks, from, to)
	if most := len(w.blocks) + 1; len(w.spare) > most {
		w.spare = slices.Delete(w.spare, most, len(w.spare))
	}
}

// all yields what is in the list, rows that were used again too.
func (w *waiting) all(yield func(*rowRef) bool) {
	for i := range w.length {
		if !yield(w.at(i)) {
			return
		}
	}
}

// visit passes each row to keep, which reports whether it stays in the list.
// keep must not add to the list.
func (w *waiting) visit(keep func(*rowRef) bool) {
	kept := 0
	for ref := range w.all {
		if ref.row.ID == ref.id && keep(ref) {
			*w.at(kept) = *ref
			kept++
		}
	}
	if w.length = kept; kept == 0 {
		w.first = 0
	}
	w.release((w.first+kept+waitingBlock-1)/waitingBlock, len(w.blocks))
}

// rotate passes rows from the front to keep, until it has kept most of them, and
// moves those to the end.
func (w *waiting) rotate(most int, keep func(*row) bool) {
	for n := w.length; n > 0 && most > 0; n-- {
		if ref := w.takeFirst(); ref.row.ID == ref.id && keep(ref.row) {
			w.append(ref)
			most--
		}
	}
}

// takeFirst takes the first row out of the list, which has one.
func (w *waiting) takeFirst() rowRef {
	ref := *w.at(0)
	w.first++
	w.length--
	if w.first == waitingBlock {
		w.first = 0
		w.release(0, 1)
	}
	return ref
}

// pruned is a waiting list that few rows leave one by one. What waits no more is dropped
// when it has grown to half as much again as waited then.
type pruned struct {
	waiting
	limit int
}

// makeRoom drops the rows that do not wait, if it is time.
func (p *pruned) makeRoom(waits func(*row) bool) {
	if p.length < p.limit {
		return
	}
	p.visit(func(ref *rowRef) bool { return waits(ref.row) })
	p.limit = p.length + p.length/2 + 64
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
