package tracer

import (
	"slices"

	"github.com/nettrace/nettrace/snapshot"
)

// Transitions that the state program told twice, or not at all.

// recent remembers sockets that ended, by key, until eight later ones share their
// bucket. What is told twice is told twice within microseconds, unless packets or
// a busy host come between: then thousands of others may end first.
type recent [2048][8]uint64

func (r *recent) bucket(key uint64) *[8]uint64 { return &r[mix64(key)%uint64(len(r))] }

func (r *recent) add(key uint64) {
	b := r.bucket(key)
	copy(b[1:], b[:])
	b[0] = key
}

func (r *recent) has(key uint64) bool { return slices.Contains(r.bucket(key)[:], key) }

func (r *recent) remove(key uint64) {
	b := r.bucket(key)
	for i := range b {
		if b[i] == key {
			b[i] = 0
		}
	}
}

// applyMissed takes a transition that the state program was not run for, told
// late by sock_ops. It may have been run after all, so an end waits until
// everything before it was read.
func (t *Table) applyMissed(e *Event) {
	c := t.socks[e.key()]
	if c != nil {
		e.Local, e.Remote = c.Local, c.Remote // told for children only
	}
	switch {
	case e.New == snapshot.Close:
		if c != nil {
			t.missed = append(t.missed, *e)
		}
	case c == nil && e.Old == snapshot.SynRecv && !t.ended.has(e.key()), c != nil && c.State == e.Old:
		t.applyState(e)
	}
}

// settleMissed ends the full sockets whose end was missed. One that may have
// left a timewait socket is in doubt until the kernel's table was read.
func (t *Table) settleMissed() {
	for i := range t.missed {
		e := &t.missed[i]
		c := t.socks[e.key()]
		if c == nil || c.State != e.Old {
			continue
		}
		switch c.State {
		case snapshot.FinWait1, snapshot.FinWait2, snapshot.Closing:
			if c.mini == 0 && e.Err == 0 && t.canPass {
				t.doubt(c, e)
				continue
			}
		}
		t.endFull(c, e)
	}
	t.missed = t.missed[:0]
}

// doubt keeps a connection whose full socket ended until a pass has shown whether
// a timewait socket is left of it.
func (t *Table) doubt(c *Conn, e *Event) {
	t.conclude(c, e)
	if c.key != 0 {
		delete(t.socks, c.key)
	}
	c.key, c.Inode, c.last = 0, 0, e.Time
	t.doubted[e.key()] = c
	t.wantPass = true
}

// endMissed ends a life whose end no event told, or only sock_ops.
func (t *Table) endMissed(c *Conn, at uint64) {
	for i := range t.missed {
		if e := &t.missed[i]; e.key() == c.key && e.Old == c.State {
			t.endFull(c, e)
			return
		}
	}
	t.end(c, at, true)
}
