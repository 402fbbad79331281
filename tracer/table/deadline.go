package table

import (
	"math"

	"github.com/nettrace/nettrace/snapshot"
)

// Never is the time of what is not due.
const Never uint64 = math.MaxUint64

// Deadline returns the earliest time at which silence decides something: Settle has to be
// called then, if no event comes before. Where nothing waits it returns Never.
func (t *Table) Deadline() uint64 {
	if len(t.fulls.missed) > 0 {
		return 0
	}
	due := t.fulls.undecided.earliest(undecidedUntil)
	due = min(due, t.life.noPort.earliest(portUntil))
	due = min(due, t.minis.unclaimed.earliest(unclaimedUntil))
	due = min(due, t.minis.dying.earliest(dyingUntil))
	if ended := t.rows.listeners.ended; len(ended) > 0 {
		due = min(due, ended[0].at+dyingGrace)
	}
	return due
}

// WantsScan reports whether TakeScanRequest would report true.
func (t *Table) WantsScan() bool { return t.scan.wanted }

// earliest returns the earliest time that until has of a row in the list.
func (w *waiting) earliest(until func(*row) uint64) uint64 {
	due := Never
	for ref := range w.all {
		if ref.row.ID == ref.id {
			due = min(due, until(ref.row))
		}
	}
	return due
}

// The times until which silence has to last, by list. A row that waits no more may be
// dropped from its list at any time.

func undecidedUntil(r *row) uint64 {
	switch {
	case r.stage != stageUndecided:
		return Never
	case r.State == snapshot.SynSent:
		return r.last + connectGrace
	}
	return r.last + dyingGrace
}

func portUntil(r *row) uint64 {
	if !r.awaitsPort {
		return Never
	}
	return r.Start + dyingGrace
}

func unclaimedUntil(r *row) uint64 {
	if r.stage != stageUnclaimed {
		return Never
	}
	return r.Start + dyingGrace
}

func dyingUntil(r *row) uint64 {
	if r.dying == 0 {
		return Never
	}
	return r.dying + dyingGrace
}
