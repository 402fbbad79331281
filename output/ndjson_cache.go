package output

import (
	"net/netip"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// cache keeps the JSON of members that stay the same from record to record: what
// identifies a connection, and whose it is. A process has many connections, so the latter
// is kept by owner. Encoding them again would take four times as long.
//
// The members are encoded from the values beside them and from nothing else, so
// equal values mean equal bytes, as long as the same members are chosen.
type cache struct {
	conns   [connsKept]identified  // by connection
	filled  [connsKept / 64]uint64 // which of them have something, a bit each
	holders [holdersKept]holding   // by owner
	steps   [stateEnd][stateEnd]piece
	ends    [endsKept]end // by how a connection ended
	last    identity      // of a connection of which nothing is kept
}

// stateEnd is above every state that has a name.
const stateEnd = snapshot.Closing + 1

const (
	// connsKept is the number of connections in the cache, which takes half a megabyte.
	// It needs few: the records of a connection come within microseconds of each other.
	connsKept = 1024
	// holdersKept is the number of owners in it: a power of two. Those who make the most
	// connections are few.
	holdersKept = 1 << holderBits
	holderBits  = 8
)

// endsKept is the number of ways to end in the cache: most connections of a program go one
// way, as seen from each side.
const endsKept = 32

// identified is the JSON of what identifies a connection.
type identified struct {
	identity identity
	members  piece
}

// holding is the JSON of whose a connection is.
type holding struct {
	holder       holder
	owner, paths piece
}

// end is the JSON of how a connection ended.
type end struct {
	ending  ending
	members piece
}

// piece is the JSON of some members, none of which may be chosen.
type piece struct {
	text  []byte
	valid bool
}

// identity is what the members that identify a connection are made from.
type identity struct {
	id, cookie    uint64
	local, remote netip.AddrPort
	direction     table.Direction
	netns         uint32
	device        device
}

func identityOf(c *table.Conn, d device) identity {
	return identity{c.ID, c.Cookie, c.Local, c.Remote, c.Direction, c.Netns, d}
}

// of reports whether id is identityOf(c, d). Nearly all records ask, so nothing is copied.
func (id *identity) of(c *table.Conn, d device) bool {
	return id.id == c.ID && id.cookie == c.Cookie && id.local == c.Local && id.remote == c.Remote &&
		id.direction == c.Direction && id.netns == c.Netns && id.device == d
}

// holder is what the members about the owner of a connection are made from.
type holder struct {
	owner  snapshot.Owner
	uid    uint32
	hasUID bool
	cgroup uint64
	// The workload is immutable, and kept here: no other one gets its address meanwhile.
	workload *snapshot.Workload
}

func holderOf(h *snapshot.Head, hasUID bool) holder {
	return holder{h.Owner, h.UID, hasUID, h.CgroupID, h.Workload}
}

// of reports whether h is holderOf(head, hasUID).
func (h *holder) of(head *snapshot.Head, hasUID bool) bool {
	return h.cgroup == head.CgroupID && h.uid == head.UID && h.hasUID == hasUID && h.owner == head.Owner &&
		h.workload == head.Workload
}

// holderSlot returns where the owner of a socket is in the cache.
func holderSlot(head *snapshot.Head) uint64 {
	n := head.CgroupID + uint64(head.UID)<<32 + uint64(head.Owner.TID)
	if p := head.Owner.Process; p != nil {
		n += uint64(p.PID) << 16
	}
	const golden = 0x9e3779b97f4a7c15 // 2^64 by the golden ratio: it spreads numbers that are close
	return n * golden >> (64 - holderBits)
}

// ending is what the members about the end of a connection are made from.
type ending struct {
	outcome  table.Outcome
	closedBy table.Side
	errno    syscall.Errno
	history  table.History
}

// slot returns where an ending is in the cache. Those that are usual are in different places.
func (e *ending) slot() int {
	return (int(e.outcome) + 13*int(e.closedBy) + 3*len(e.history.States())) % endsKept
}

// has reports whether a place of conns has something. Where closes alone are told hardly any
// has, and none of them is in the processor's cache.
func (c *cache) has(at uint64) bool { return c.filled[at/64]>>(at%64)&1 != 0 }

// connBy adds what identifies a connection, and is made by members where it is not in
// the cache. After the last record of a connection there is nothing to keep it for: where
// closes alone are told, each is the first one too.
func (w *NDJSON) connBy(c *table.Conn, last bool, members func(*identity)) {
	d, kept := w.device(c.Netns, c.Device), w.kept()
	at := c.ID % connsKept
	k := &kept.conns[at]
	switch {
	case kept.has(at) && k.identity.of(c, d) && k.members.valid:
		w.buf = append(w.buf, k.members.text...)
	case last && w.pick == nil: // else keep drops what is not chosen, which would take room
		kept.last = identityOf(c, d)
		members(&kept.last)
	default:
		kept.filled[at/64] |= 1 << (at % 64)
		k.identity = identityOf(c, d)
		w.keep(&k.members, func() { members(&k.identity) })
	}
}

// holding returns the place in the cache of the owner of a socket.
func (w *NDJSON) holding(head *snapshot.Head, hasUID bool) *holding {
	k := &w.kept().holders[holderSlot(head)]
	if !k.holder.of(head, hasUID) {
		k.holder, k.owner.valid, k.paths.valid = holderOf(head, hasUID), false, false
	}
	return k
}

// ownerBy adds the process and the user that a connection belongs to, which are made by
// members where they are not in the cache.
func (w *NDJSON) ownerBy(k *holding, members func(*holder)) {
	if !w.again(&k.owner) {
		w.keep(&k.owner, func() { members(&k.holder) })
	}
}

// step adds the states of a transition, which are made by members where they are not in the
// cache.
func (w *NDJSON) step(c *table.Change, members func(*table.Change)) {
	if c.Old >= stateEnd || c.New >= stateEnd {
		members(c)
		return
	}
	if p := &w.kept().steps[c.Old][c.New]; !w.again(p) {
		w.keep(p, func() { members(c) })
	}
}

// ending adds how a connection ended and the states that it went through.
func (w *NDJSON) ending(c *table.Closed, h *table.History) {
	e := ending{outcomeOf(c), c.ClosedBy, c.Errno, *h}
	if w.pick != nil { // strings are cut where they always were: keep would make room
		w.ended(&e)
		return
	}
	k := &w.kept().ends[e.slot()]
	if k.ending != e {
		k.ending, k.members.valid = e, false
	}
	if !w.again(&k.members) {
		w.keep(&k.members, func() { w.ended(&k.ending) })
	}
}

// pathsOf adds the strings of an owner that may be long.
func (w *NDJSON) pathsOf(k *holding) {
	if !w.again(&k.paths) {
		w.keep(&k.paths, func() { w.paths(&k.holder) })
	}
}

func (w *NDJSON) kept() *cache {
	if w.cache == nil {
		w.cache = new(cache)
	}
	return w.cache
}

// again adds members that are in the cache, if no string of them has to be cut.
func (w *NDJSON) again(p *piece) bool {
	if !p.valid || len(p.text) > w.room() {
		return false
	}
	w.buf = append(w.buf, p.text...)
	return true
}

// keep adds members, of those that are chosen, and keeps a copy of them, unless a
// string was cut: the next record may have more room.
func (w *NDJSON) keep(p *piece, members func()) {
	start, cut := len(w.buf), w.cut
	w.cut = false
	members()
	if w.pick != nil {
		w.buf = w.pick.strip(w.buf, start)
	}
	p.valid = !w.cut
	if p.valid {
		p.text = append(p.text[:0], w.buf[start:]...)
	}
	w.cut = w.cut || cut
}
