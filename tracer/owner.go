package tracer

import (
	"slices"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// Whose a socket is.

func (c *Conn) listening() bool {
	return c.Remote.Port() == 0 && slices.Contains(c.History.States(), snapshot.Listen)
}

func (t *Table) addListener(c *Conn) {
	p := port{c.Netns, c.Local.Port()}
	t.listeners[p] = append(t.listeners[p], c)
}

func (t *Table) dropListener(c *Conn) {
	p := port{c.Netns, c.Local.Port()}
	l := t.listeners[p]
	if i := slices.Index(l, c); i >= 0 {
		l = slices.Delete(l, i, i+1)
	}
	if len(l) == 0 {
		delete(t.listeners, p)
		return
	}
	t.listeners[p] = l
}

// listenerOf gives the listener that a connection came in through: the one bound
// to its address, else one bound to any address.
func (t *Table) listenerOf(c *Conn) *Conn {
	var wild *Conn
	for _, l := range t.listeners[port{c.Netns, c.Local.Port()}] {
		if l.Local.Addr().Unmap() == c.Local.Addr().Unmap() {
			return l
		}
		if l.Local.Addr().IsUnspecified() && (wild == nil || l.Local.Addr().Is4() == c.Local.Addr().Is4()) {
			wild = l
		}
	}
	return wild
}

// inherit gives an incoming connection what it has from its listener.
func (t *Table) inherit(c *Conn) {
	c.Direction = Incoming
	c.Inode = 0
	l := t.listenerOf(c)
	if l == nil {
		return
	}
	if c.UID == 0 {
		c.UID = l.UID
	}
	if l.Owner.Process != nil {
		c.Owner = l.Owner
		c.Owner.Source = OwnerListener
	}
	if c.CgroupID == 0 {
		c.CgroupID = l.CgroupID
	}
}

// setOwner takes the calling process for the owner.
func (t *Table) setOwner(c *Conn, e *Event, source OwnerSource) {
	p := t.procs.get(e.PID)
	if p == nil {
		return
	}
	c.Owner = Owner{Process: p, TID: e.TID, Source: source}
	if cString(e.Thread[:]) != p.Comm {
		c.Owner.Thread = e.Thread
	}
	if e.CgroupID != 0 {
		c.CgroupID = e.CgroupID
	}
}

// useOwner takes the process that ran when the event fired, in default of better.
func (t *Table) useOwner(c *Conn, e *Event) {
	if e.PID == 0 || (c.Owner.Source != OwnerUnknown && c.Owner.Source < OwnerListener) {
		return
	}
	t.setOwner(c, e, OwnerContext)
}

func (t *Table) applyFile(e *Event) {
	c := t.socks[e.key()]
	if c == nil || (c.Owner.Source != OwnerUnknown && c.Owner.Source < OwnerListener) {
		return
	}
	if p := t.procs.get(e.PID); p != nil {
		c.Owner = Owner{Process: p, Source: OwnerFiles}
	}
}

// unacceptedRow is a connection of which no hook will tell who accepted it.
type unacceptedRow struct {
	heldRow
	due uint64 // when to look for its owner
}

// acceptGrace is how long a connection may take to be accepted, or to end,
// before its owner is looked for.
const acceptGrace = 100 * time.Millisecond

// ownersDue tells whether the owner of some connection should be looked for. A
// connection that stays unaccepted is looked at ever more seldom.
func (t *Table) ownersDue(now uint64) bool {
	due := false
	kept := t.unaccepted[:0]
	for _, u := range t.unaccepted {
		c := u.conn
		if c.ID != u.id || c.key == 0 || c.Inode != 0 && c.Owner.Source != OwnerListener && c.Owner.Source != OwnerUnknown {
			continue
		}
		if now >= u.due {
			due = true
			u.due = now + 2*(now-c.Start)
		}
		kept = append(kept, u)
	}
	t.unaccepted = kept
	return due
}
