package output

import (
	"net/netip"

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
	conns   [connsKept]identified // by connection
	holders [holdersKept]holding  // by owner
}

const (
	// connsKept is the number of connections in the cache, which takes half a megabyte.
	// It needs few: the records of a connection come within microseconds of each other.
	connsKept = 1024
	// holdersKept is the number of owners in it: a power of two. Those who make the most
	// connections are few.
	holdersKept = 1 << holderBits
	holderBits  = 8
)

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

func (w *NDJSON) identityOf(c *table.Conn) identity {
	return identity{c.ID, c.Cookie, c.Local, c.Remote, c.Direction, c.Netns, w.device(c.Netns, c.Device)}
}

// holder is what the members about the owner of a connection are made from.
type holder struct {
	owner  snapshot.Owner
	uid    uint32
	hasUID bool
	cgroup uint64
}

func holderOf(h *snapshot.Head, hasUID bool) holder {
	return holder{h.Owner, h.UID, hasUID, h.CgroupID}
}

// slot returns where an owner is in the cache.
func (h *holder) slot() uint64 {
	n := h.cgroup + uint64(h.uid)<<32 + uint64(h.owner.TID)
	if p := h.owner.Process; p != nil {
		n += uint64(p.PID) << 16
	}
	const golden = 0x9e3779b97f4a7c15 // 2^64 by the golden ratio: it spreads numbers that are close
	return n * golden >> (64 - holderBits)
}

// connBy adds what identifies a connection, and is made by members where it is not in
// the cache.
func (w *NDJSON) connBy(c *table.Conn, members func(*identity)) {
	k := &w.kept().conns[c.ID%connsKept]
	if id := w.identityOf(c); k.identity != id {
		k.identity, k.members.valid = id, false
	}
	if k.members.valid {
		w.buf = append(w.buf, k.members.text...)
		return
	}
	w.keep(&k.members, func() { members(&k.identity) })
}

// holding returns the place in the cache of the owner of a socket.
func (w *NDJSON) holding(head *snapshot.Head, hasUID bool) *holding {
	h := holderOf(head, hasUID)
	k := &w.kept().holders[h.slot()]
	if k.holder != h {
		k.holder, k.owner.valid, k.paths.valid = h, false, false
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

// pathsOf adds the strings of an owner that may be long.
func (w *NDJSON) pathsOf(k *holding) {
	if !w.again(&k.paths) {
		w.keep(&k.paths, func() { w.paths(k.holder.owner.Process) })
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
