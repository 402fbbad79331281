package tracer

import (
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/nettrace/nettrace/tracer/table"
)

// Closes says whether transitions are asked for.
type Closes uint8

// What is told of connections.
const (
	AllChanges   Closes = iota // each transition, and each close
	ClosesAlone                // closes alone
	FailedCloses               // those of connections that failed
)

// keptMost is how many connections the kernel side keeps at a time, of some 300 bytes each
// with who accepted them: a power of two, LIVES_MOST in bpf/lives.h at most. What there is no
// room for is told by its transitions.
var keptMost uint32 = 1 << 16 // a variable for tests

// stoppedGrace is how long nothing must follow a request whose timer stopped, on its CPU,
// for it to have ended.
const stoppedGrace = 50 * time.Millisecond

// closesInterval takes the place of pollInterval where closes alone are kept. One record for
// each end of a connection fills the ring slowly, and each drain finds the caches cold.
const closesInterval = 20 * time.Millisecond

// kept is what the kernel side keeps of connections until they end (bpf/keep.h), where
// closes alone are asked for. The zero value is that it keeps nothing.
type kept struct {
	lives     *lives    // nil: it keeps nothing
	acceptors *ebpf.Map // who accepted them, by cookie
	fine      *ebpf.Map // how many ended untold, as they did not fail, for each CPU
	stopped   *ebpf.Map // the request whose timer stopped last on each CPU

	seekOwners bool // no hook tells who accepts
	search     ownerSearch
	absent     unended // what the last scan did not show

	story  table.Story
	perCPU []uint64             // buffer of addTo
	latest []streamDroppedEvent // what stopped holds, by CPU
	again  []streamDroppedEvent // the same, read once more
	taken  []uint64             // when the request taken last was gone, by CPU
}

func openKept(h *hooks) (kept, error) {
	if h.set.closes == AllChanges {
		return kept{}, nil
	}
	m := h.maps.Maps
	lives, err := openLives(m[closesMapLivesIndex], m[closesMapLives], keptMost)
	return kept{
		lives: lives, acceptors: m[closesMapAcceptors],
		fine: m[closesMapFine], stopped: m[closesMapLastStopped],
		seekOwners: h.chosen[Acceptor] == "" && h.chosen[Files] != "",
	}, err
}

// KeepsCloses reports whether closes alone come from the kernel side. Else its transitions
// are read, and what is not asked for is left out.
func (t *Tracer) KeepsCloses() bool { return t.kept.lives != nil }

// pollInterval is the time between two drains of the ring while records come.
func (k *kept) pollInterval() time.Duration {
	if k.lives == nil {
		return pollInterval
	}
	return closesInterval
}

// keeps returns what tells whether a connection is kept; nil: none is.
func (k *kept) keeps() func(cookie uint64) bool {
	if k.lives == nil {
		return nil
	}
	return k.lives.has
}

// handle applies a record of what was kept, and reports whether it is one.
func (k *kept) handle(raw []byte, to *table.Table) (is bool, err error) {
	if len(raw) < sizeHead || k.lives == nil {
		return false, nil
	}
	switch table.EventKind(raw[kindOffset]) {
	case table.EventStory:
		if err := decodeStory(raw, &k.story); err != nil {
			return true, err
		}
		to.ApplyStory(&k.story)
	case table.EventDropped:
		return true, k.drop(raw, to)
	default:
		return false, nil
	}
	return true, nil
}

// drop applies a request that never became a connection, unless collect has.
func (k *kept) drop(raw []byte, to *table.Table) error {
	var e table.Event
	gone, err := decodeDropped(raw, &e)
	if err != nil || slices.Contains(k.taken, gone) {
		return err
	}
	to.ApplyDropped(&e, gone)
	return nil
}

// collect applies the requests that nothing has followed on their CPU since. All that was
// written to the ring before drained has been handled: the kernel side sends a request, too,
// when the next one's timer stops on its CPU, and that record must come before the next one is
// taken, which replaces it in taken.
func (k *kept) collect(drained uint64, to *table.Table) error {
	if k.lives == nil {
		return nil
	}
	for _, into := range []*[]streamDroppedEvent{&k.latest, &k.again} { // one that is being written differs
		if err := k.stopped.Lookup(uint32(0), into); err != nil {
			return fmt.Errorf("read the requests that ended: %w", err)
		}
	}
	if len(k.taken) != len(k.latest) {
		k.taken = make([]uint64, len(k.latest))
	}
	for cpu := range k.latest {
		s := &k.latest[cpu]
		if s.Request.Event.Head.Sk == 0 || s.Gone+uint64(stoppedGrace) > drained || s.Gone == k.taken[cpu] || *s != k.again[cpu] {
			continue
		}
		raw := unsafe.Slice((*byte)(unsafe.Pointer(s)), sizeDropped)
		if err := k.drop(raw, to); err != nil {
			return err
		}
		k.taken[cpu] = s.Gone
	}
	return nil
}

// addTo adds the connections that are kept to what the table has counted. A request is one
// once it has ended, or has a child.
func (k *kept) addTo(s *table.Stats) {
	if k.lives == nil || k.fine.Lookup(uint32(0), &k.perCPU) != nil {
		return
	}
	for _, n := range k.perCPU {
		s.Opened += n
		s.Closed += n
	}
	_ = k.lives.each(func(_ uint64, l *streamLife) { // what is missing is told the next time
		if streamLifeFlag(l.Flags)&streamLifeFlagLIFE_TOLD == 0 {
			s.Opened++
			s.Open++
		}
	})
}
