package tracer

import (
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
)

// What the reader looks after between the events: losses, skipped programs, and
// what no hook tells.

// refreshMini looks at timewait sockets in FIN_WAIT2, a part of them at a time:
// what it finds comes by the ring buffer.
func (t *Tracer) refreshMini() {
	if !t.table.refresh || len(t.table.finWait2) == 0 {
		return
	}
	refs := t.hooks.maps.Maps[streamMapMiniRefs]
	t.refs = t.table.nextFinWait2(t.refs[:0], int(refs.MaxEntries()))
	if len(t.refs) == 0 {
		return
	}
	keys := t.refKeys[:0]
	for i := range t.refs {
		keys = append(keys, uint32(i))
	}
	t.refKeys = keys
	if _, err := refs.BatchUpdate(keys, t.refs, nil); err != nil {
		t.keep(fmt.Errorf("name the timewait sockets to look at: %w", err))
		return
	}
	args := streamRefreshArgs{Count: uint32(len(t.refs))}
	if _, err := t.hooks.programs[streamProgMiniRefresh].Run(&ebpf.RunOptions{Context: args}); err != nil {
		t.keep(fmt.Errorf("look at timewait sockets: %w", err))
	}
}

// refreshRounds gives the number of calls of refreshMini that look at all.
func (t *Tracer) refreshRounds() int {
	return len(t.table.finWait2)/int(t.hooks.maps.Maps[streamMapMiniRefs].MaxEntries()) + 1
}

// checkDrops tells what did not fit in the ring since it was last asked, and
// has the table read again, a little later.
func (t *Tracer) checkDrops(now uint64) {
	total, err := t.count(streamCountCOUNT_DROPPED)
	if err != nil {
		t.keep(fmt.Errorf("read the count of dropped events: %w", err))
		return
	}
	if total > t.drops {
		lost := Lost{Stage: "ringbuf", Count: total - t.drops, Total: total, Since: t.lastWhole}
		t.drops = total
		t.keep(t.handler.Lost(lost))
		if t.healAt == 0 {
			t.healAt = now + uint64(healDelay)
		}
	}
	t.lastWhole = now
}

// count reads one of the kernel's counts.
func (t *Tracer) count(which streamCount) (total uint64, err error) {
	err = t.hooks.maps.Maps[streamMapCounts].Lookup(uint32(which), &t.countBuffer)
	for _, n := range t.countBuffer {
		total += n
	}
	return total, err
}

// checkMisses has the table read again when every copy of the state program was
// skipped: then a transition may have been seen by none.
func (t *Tracer) checkMisses() {
	missed := true
	misses := t.misses
	for i, program := range stateCopies {
		misses[i] = t.recursionMisses(program)
		missed = missed && misses[i] > t.misses[i]
	}
	if missed {
		t.passAsked = true
		t.misses = misses
	}
}

// checkTwins takes the transitions that sock_ops saw, the state program did not,
// and no later one on the same CPU has brought to light. What came before them
// must have been read from the ring.
func (t *Tracer) checkTwins(now uint64) {
	if t.hooks.chosen[SourcePort] != sockopsHook {
		return
	}
	if err := t.hooks.maps.Maps[streamMapTwins].Lookup(uint32(0), &t.twins); err != nil {
		t.keep(fmt.Errorf("read the transitions of sock_ops: %w", err))
		return
	}
	// Read again: one that is being written differs.
	if err := t.hooks.maps.Maps[streamMapTwins].Lookup(uint32(0), &t.twinsAgain); err != nil {
		t.keep(fmt.Errorf("read the transitions of sock_ops: %w", err))
		return
	}
	if len(t.twinsTaken) != len(t.twins) {
		t.twinsTaken = make([]uint64, len(t.twins))
	}
	for cpu := range t.twins {
		twin := &t.twins[cpu]
		if h := &twin.Head; h.Cookie == 0 || h.Time+uint64(pollInterval) > now || h.Time >= t.drained || h.Time == t.twinsTaken[cpu] ||
			*twin != t.twinsAgain[cpu] {
			continue
		}
		t.twinsTaken[cpu] = twin.Head.Time
		var e Event
		if err := decode(unsafe.Slice((*byte)(unsafe.Pointer(twin)), sizeEvent), &e); err == nil {
			t.table.apply(&e)
		}
	}
}

func (t *Tracer) recursionMisses(program string) uint64 {
	stats, err := t.hooks.programs[program].Stats()
	if err != nil {
		return 0 // not told before 5.12, and nothing is skipped before 6.1
	}
	return stats.RecursionMisses
}

// timers are the kernel's timer functions of timewait and request sockets; 0
// where their addresses are hidden.
type timers struct{ tw, reqsk uint64 }

// findTimers looks for the timer functions, which takes the kernel some 30 ms.
func (t *Tracer) findTimers() <-chan timers {
	kallsyms := t.opts.kallsyms
	if kallsyms == "" {
		kallsyms = "/proc/kallsyms"
	}
	found := make(chan timers, 1)
	go func() { found <- timerFunctions(kallsyms) }()
	return found
}

// tellTimers tells the programs the timer functions. Where they are not known
// they are learnt.
func (t *Tracer) tellTimers(h *hooks, f timers) error {
	if f.tw == 0 || f.reqsk == 0 {
		t.learning = true
		return nil
	}
	for name, address := range map[string]uint64{
		streamVarTwTimerHandler: f.tw, streamVarReqskTimerHandler: f.reqsk,
	} {
		if err := h.maps.Variables[name].Set(address); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// learn looks whether a pass has met a timewait socket, and with it the
// function of its timer.
func (t *Tracer) learn() {
	if !t.learning {
		return
	}
	var address uint64
	if err := t.hooks.maps.Variables[streamVarTwTimerHandler].Get(&address); err != nil {
		t.keep(fmt.Errorf("read %s: %w", streamVarTwTimerHandler, err))
		return
	}
	t.learning = address == 0
	t.table.learning = t.learning
}
