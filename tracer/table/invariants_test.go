package table

import (
	"fmt"
	"slices"

	"github.com/nettrace/nettrace/snapshot"
)

// Check returns an error if a row is in an index that its stage does not name, or
// contradicts the invariants of row.
func (t *Table) Check() error {
	open := uint64(0)
	for r := range t.rows.all {
		if err := r.check(); err != nil {
			return err
		}
		if r.bound() && !slices.Contains(t.rows.listeners.byPort[r.port()], r) {
			return fmt.Errorf("listeners lacks %v", r.Local)
		}
		if r.account == counted {
			open++
		}
	}
	if s := t.Stats(); s.Open != open {
		return fmt.Errorf("%d open connections are counted, the table has %d", s.Open, open)
	}
	for key, r := range t.rows.byKey {
		if r.stage != stageFull || r.key != key {
			return fmt.Errorf("byKey has %x in stage %d with key %x", key, r.stage, r.key)
		}
	}
	for _, r := range &t.rows.latest {
		if r != nil && r.key != 0 && t.rows.byKey[r.key] != r {
			return fmt.Errorf("latest has %x, which byKey lacks", r.key)
		}
	}
	for mini, r := range t.rows.byMini {
		if r.mini != mini {
			return fmt.Errorf("byMini has %x in stage %d with mini %x", mini, r.stage, r.mini)
		}
	}
	for hash, r := range t.rows.byTuple {
		if !r.stage.byTuple() || r.tuple().hash() != hash {
			return fmt.Errorf("byTuple has %v in stage %d", r.tuple(), r.stage)
		}
	}
	for key, r := range t.rows.pending {
		if r.stage != stagePending {
			return fmt.Errorf("pending has %x in stage %d", key, r.stage)
		}
	}
	for key, r := range t.rows.undecided {
		if r.stage != stageUndecided || r.ending.full.key() != key {
			return fmt.Errorf("undecided has %x in stage %d", key, r.stage)
		}
	}
	for p, bound := range t.rows.listeners.byPort {
		for _, r := range bound {
			if !r.bound() || r.State != snapshot.Listen || r.stage == stageNone || r.port() != p {
				return fmt.Errorf("listeners has %v in stage %d, state %v", r.Local, r.stage, r.State)
			}
		}
	}
	return nil
}

func (r *row) check() error {
	mini := r.stage == stageRequest || r.stage == stageUnclaimed || r.stage == stageTimewait
	switch {
	case r.stage == stageNone:
		return fmt.Errorf("%v is in an index in no stage", r.tuple())
	case (r.key != 0) != (r.stage == stageFull):
		return fmt.Errorf("stage %d with key %x", r.stage, r.key)
	case mini && r.mini == 0, !mini && r.mini != 0 && r.stage != stageFull && r.stage != stageProc:
		return fmt.Errorf("stage %d with mini %x", r.stage, r.mini)
	case r.mini == 0 && (r.dying != 0 || r.miniState != 0):
		return fmt.Errorf("dying at %d in %v without a mini-socket", r.dying, r.miniState)
	case r.listener == 0 && r.inherited():
		return fmt.Errorf("the owner is inherited, of no listener")
	case r.ending == nil && (r.stage == stagePending || r.stage == stageUndecided):
		return fmt.Errorf("stage %d and nothing is known of its end", r.stage)
	case r.account == counted && !r.open():
		return fmt.Errorf("counted as open in %v", r.State)
	}
	return nil
}
