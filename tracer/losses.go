package tracer

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// healDelay is how long after a loss the kernel's table is scanned. Right away
// the ring would still be full, and drop the rows of the scan too.
const healDelay = 500 * time.Millisecond

// losses counts what the kernel side could not report: records that found no
// room in the ring, and runs of programs that the kernel skipped, all copies alike.
// After either the table may be wrong until the next scan.
type losses struct {
	counts  *ebpf.Map // by streamCount, one number for each CPU
	skipped []skips   // of every program that the kernel may skip with all its copies
	dropped tally     // so far
	whole   uint64    // time until which no record was dropped
	healAt  uint64    // when the scan for what was dropped is due; 0: none is
	perCPU  []uint64  // buffer of count
}

// tally counts records by what they tell.
type tally [streamTellsTELLS]uint64

// records is how many there are.
func (n *tally) records() (sum uint64) {
	for _, of := range n {
		sum += of
	}
	return sum
}

// states is how many of them tell a transition.
func (n *tally) states() uint64 { return n[streamTellsTELLS_STATE] + n[streamTellsTELLS_CLOSE] }

// closes is how many of them tell a close.
func (n *tally) closes() uint64 { return n[streamTellsTELLS_CLOSE] + n[streamTellsTELLS_FAILED] }

// skips are the runs that the kernel skipped of programs that do the same.
type skips []skip

// skip is what was skipped of one program.
type skip struct {
	count func() uint64
	runs  uint64 // when every copy had been skipped the last time
}

func newLosses(h *hooks) losses {
	l := losses{counts: h.maps.Maps[streamMapCounts], whole: monotonic()}
	for _, of := range h.fallible {
		var s skips
		for _, name := range of {
			program := h.programs[name]
			s = append(s, skip{count: func() uint64 { return recursionMisses(program) }})
		}
		l.skipped = append(l.skipped, s)
	}
	return l
}

// count reads the kernel's counts from one on, which is that of streamTellsTELLS_OTHER.
func (l *losses) count(first streamCount) (total tally, err error) {
	for tells := range total {
		if err := l.counts.Lookup(uint32(first)+uint32(tells), &l.perCPU); err != nil {
			return tally{}, err
		}
		for _, n := range l.perCPU {
			total[tells] += n
		}
	}
	return total, nil
}

// drops returns what was dropped since the last call; its Count is 0 if nothing
// was. A drop makes a scan due, healDelay later.
func (l *losses) drops(now uint64) (Lost, error) {
	total, err := l.count(streamCountCOUNT_DROPPED)
	if err != nil {
		return Lost{}, fmt.Errorf("read the count of dropped events: %w", err)
	}
	var lost Lost
	if total != l.dropped {
		lost = Lost{
			Stage: "ringbuf", Since: l.whole, Total: total.records(), Count: total.records() - l.dropped.records(),
			States: total.states() - l.dropped.states(), Closes: total.closes() - l.dropped.closes(),
		}
		l.dropped = total
		if l.healAt == 0 {
			l.healAt = now + uint64(healDelay)
		}
	}
	l.whole = now
	return lost, nil
}

// heal reports, once, that the scan for what was dropped is due.
func (l *losses) heal(now uint64) bool {
	if l.healAt == 0 || now < l.healAt {
		return false
	}
	l.healAt = 0
	return true
}

// missed reports whether the kernel skipped every copy of some program since it
// last returned true for that one. Then no copy may have seen some event.
func (l *losses) missed() bool {
	missed := false
	for _, s := range l.skipped {
		missed = s.all() || missed
	}
	return missed
}

// all reports whether every copy was skipped since it last returned true.
func (s skips) all() bool {
	runs := make([]uint64, len(s))
	for i := range s {
		if runs[i] = s[i].count(); runs[i] <= s[i].runs {
			return false
		}
	}
	for i := range s {
		s[i].runs = runs[i]
	}
	return true
}

func recursionMisses(program *ebpf.Program) uint64 {
	stats, err := program.Stats()
	if err != nil {
		return 0 // not reported before 5.12, and nothing is skipped before 6.1
	}
	return stats.RecursionMisses
}
