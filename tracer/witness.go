package tracer

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/nettrace/nettrace/tracer/table"
)

// witness collects transitions that sock_ops saw and the state program missed.
// sock_ops keeps its last transition on each CPU until the state program
// confirms it; one that stays unconfirmed is reported by the next sock_ops call
// on that CPU. The witness is for CPUs where none comes.
type witness struct {
	last  *ebpf.Map     // the transition kept on each CPU; nil: sock_ops is not attached
	kept  []streamEvent // what last holds, by CPU
	again []streamEvent // the same, read once more
	taken []uint64      // time of the transition taken last, by CPU
}

func newWitness(h *hooks) witness {
	if !h.hasSockops() {
		return witness{}
	}
	return witness{last: h.maps.Maps[streamMapSockopsLast]}
}

// collect hands each transition that nothing has confirmed for pollInterval to
// apply. All that was written to the ring before drained must have been applied.
func (w *witness) collect(now, drained uint64, apply func(*table.Event)) error {
	if w.last == nil {
		return nil
	}
	// Read twice: an entry that is being written differs.
	for _, to := range []*[]streamEvent{&w.kept, &w.again} {
		if err := w.last.Lookup(uint32(0), to); err != nil {
			return fmt.Errorf("read the transitions of sock_ops: %w", err)
		}
	}
	if len(w.taken) != len(w.kept) {
		w.taken = make([]uint64, len(w.kept))
	}
	for cpu := range w.kept {
		kept := &w.kept[cpu]
		at := kept.Head.Time
		if kept.Head.Cookie == 0 || at+uint64(pollInterval) > now || at >= drained || at == w.taken[cpu] ||
			*kept != w.again[cpu] {
			continue
		}
		w.taken[cpu] = at
		var e table.Event
		if err := decode(unsafe.Slice((*byte)(unsafe.Pointer(kept)), sizeEvent), &e); err == nil {
			apply(&e)
		}
	}
	return nil
}

// took reports whether the transition of that time was collected. sock_ops may
// report it itself later.
func (w *witness) took(at uint64) bool { return slices.Contains(w.taken, at) }
