package table

import (
	"slices"

	"github.com/nettrace/nettrace/snapshot"
)

// Transitions that the state program reported twice, or not at all.

// recent remembers sockets that ended, by key, until eight later ones share their
// bucket. What is reported twice is reported twice within microseconds, unless
// packets or a busy host come between: then thousands of others may end first.
//
// A bucket is a cache line. Eight cookies in a row, which end at about the same time, share one.
type recent [2048][8]uint64

func (r *recent) bucket(key uint64) *[8]uint64 {
	if key>>63 != 0 { // an address, of sockets that lie far apart
		key = mix64(key)
	}
	return &r[key/8%uint64(len(r))]
}

func (r *recent) add(key uint64) {
	b := r.bucket(key)
	copy(b[1:], b[:])
	b[0] = key
}

// has reports whether a socket ended. 0 is the key of none: a row of /proc has no other.
func (r *recent) has(key uint64) bool { return key != 0 && slices.Contains(r.bucket(key)[:], key) }

func (r *recent) remove(key uint64) {
	b := r.bucket(key)
	for i := range b {
		if b[i] == key {
			b[i] = 0
		}
	}
}

// applyMissed handles a transition that only sock_ops reported. The state
// program's record may still be on its way, so an end waits for the next Settle.
func (f *fulls) applyMissed(e *Event) {
	r := f.rows.ofFull(e)
	if r != nil {
		e.Local, e.Remote = r.Local, r.Remote // the record of a child alone has them
	}
	switch {
	case e.New == snapshot.Close:
		if r != nil {
			f.missed = append(f.missed, *e)
		}
	case r == nil && e.Old == snapshot.SynRecv && !f.ended.has(e.key()), r != nil && r.State == e.Old:
		f.apply(e)
	}
}

// settleMissed ends the full sockets whose end the state program missed. One that
// may have left a timewait socket is pending until the next scan.
func (f *fulls) settleMissed() {
	for i := range f.missed {
		e := &f.missed[i]
		r := f.rows.ofFull(e)
		if r == nil || r.State != e.Old {
			continue
		}
		switch r.State {
		case snapshot.FinWait1, snapshot.FinWait2, snapshot.Closing:
			if r.mini == 0 && e.Err == 0 && f.cfg.CanScan {
				f.leavePending(r, e)
				continue
			}
		}
		f.end(r, e)
	}
	f.missed = f.missed[:0]
}

// endMissed ends a life whose end no event reported, or only sock_ops.
func (f *fulls) endMissed(r *row, at uint64) {
	for i := range f.missed {
		if e := &f.missed[i]; e.key() == r.key && e.Old == r.State {
			f.end(r, e)
			return
		}
	}
	f.life.end(r, at, true)
}
