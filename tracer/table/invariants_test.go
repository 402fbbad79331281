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
	noAddress := 0
	for mini, r := range t.rows.byMini {
		if r.mini != mini {
			return fmt.Errorf("byMini has %x in stage %d with mini %x", mini, r.stage, r.mini)
		}
		if !r.hasAddress() {
			noAddress++
		}
	}
	if noAddress != t.rows.noAddress {
		return fmt.Errorf("%d mini-sockets without an address, counted as %d", noAddress, t.rows.noAddress)
	}
	if err := t.rows.checkTimewaits(); err != nil {
		return err
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

// checkTimewaits returns an error if a packed row is in an index of the others, or cannot be
// found by its address, or if what it shares is not counted.
func (x *rows) checkTimewaits() error {
	w, n, v6, noAddress, users := &x.timewaits, 0, 0, 0, make(map[uint32]int)
	for number := range w.each {
		t := w.at(number)
		n++
		if !t.has(timewaitV4) {
			v6++
		}
		if t.mini>>63 == 0 {
			noAddress++
		}
		users[t.shared]++
		found, ok := w.byMini.find(mix64(t.mini), func(i uint32) bool { return w.at(i).mini == t.mini })
		if !ok || found != number || x.byMini[t.mini] != nil {
			return fmt.Errorf("timewait %d at %x is found as %d, %v", number, t.mini, found, ok)
		}
	}
	if n != w.n || n != w.byMini.n || noAddress != w.noAddress {
		return fmt.Errorf("%d timewaits, counted as %d, %d are found; %d without an address, counted as %d",
			n, w.n, w.byMini.n, noAddress, w.noAddress)
	}
	if used := len(w.pairs.blocks)*cellBlock - len(w.pairs.free); used != v6 {
		return fmt.Errorf("%d timewaits of IPv6 have %d pairs of addresses", v6, used)
	}
	for number, s := range w.shared.list {
		if s.users != users[uint32(number)] {
			return fmt.Errorf("%d users of %d, want %d", s.users, number, users[uint32(number)])
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
