package table

import "math/rand/v2"

// key identifies the socket of an event: by its cookie, and by its address while it has
// none. Addresses lie in the upper half, cookies count from 1.
func (e *SocketEvent) key() uint64 {
	if e.Cookie != 0 {
		return e.Cookie
	}
	return e.Sock
}

// key identifies the socket of a row as that of an event.
func (r *socketRow) key() uint64 {
	if r.Cookie != 0 {
		return r.Cookie
	}
	return r.sock
}

// socketIndex finds rows. A row is in byCookie while its cookie is known, and in
// byAddress while its address is: at least in one of them, but for rows of /proc, which
// byInode finds during a pass.
type socketIndex struct {
	rows       map[*socketRow]struct{}
	byCookie   map[uint64]*socketRow
	byAddress  map[uint64]*socketRow
	byInode    map[uint64]*socketRow // built on demand; nil: not built
	free       []*socketRow
	made, seed uint64
}

func newSocketIndex() socketIndex {
	return socketIndex{
		rows: make(map[*socketRow]struct{}), byCookie: make(map[uint64]*socketRow),
		byAddress: make(map[uint64]*socketRow), seed: rand.Uint64(),
	}
}

// find returns the row of an event's socket, or nil. An address may be that of a later
// socket: the cookie tells, where either has one.
func (x *socketIndex) find(e *SocketEvent) *socketRow {
	if e.Cookie != 0 {
		if r := x.byCookie[e.Cookie]; r != nil {
			return r
		}
	}
	if r := x.at(e.Sock); r != nil {
		if r.Cookie == e.Cookie && r.Cookie != 0 || r.Cookie == 0 && r.mayBe(e) {
			return r
		}
		return nil
	}
	if e.Inode != 0 && x.byInode != nil {
		if r := x.byInode[uint64(e.Inode)]; r != nil && (r.Cookie == 0 || e.Cookie == 0) && (r.sock == 0 || e.Sock == 0) {
			return r
		}
	}
	return nil
}

// at returns the row of an address, or nil.
func (x *socketIndex) at(sock uint64) *socketRow {
	if sock == 0 {
		return nil
	}
	return x.byAddress[sock]
}

// byKey returns the row of a socket that another one names, by its cookie or by its
// address; nil: there is none.
func (x *socketIndex) byKey(key uint64) *socketRow {
	if isAddress(key) {
		return x.byAddress[key]
	}
	return x.byCookie[key]
}

// add makes a row.
func (x *socketIndex) add(e *SocketEvent) *socketRow {
	var r *socketRow
	if n := len(x.free); n > 0 {
		r, x.free = x.free[n-1], x.free[:n-1]
		*r = socketRow{}
	} else {
		r = new(socketRow)
	}
	x.made++
	r.ID = mix64(x.seed + x.made)
	r.Protocol = e.Protocol
	x.rows[r] = struct{}{}
	return r
}

// identify takes what an event knows of who the socket is.
func (x *socketIndex) identify(r *socketRow, e *SocketEvent) {
	if e.Cookie != 0 && r.Cookie != e.Cookie {
		r.Cookie = e.Cookie
		x.byCookie[r.Cookie] = r
	}
	if e.Sock != 0 && r.sock != e.Sock {
		r.sock = e.Sock
		x.byAddress[r.sock] = r
	}
	if x.byInode != nil && e.Inode != 0 {
		x.byInode[uint64(e.Inode)] = r
	}
}

// remove takes a row out. It is used again, unless the initial table has it.
func (x *socketIndex) remove(r *socketRow) {
	delete(x.rows, r)
	if x.byCookie[r.Cookie] == r {
		delete(x.byCookie, r.Cookie)
	}
	if x.byAddress[r.sock] == r {
		delete(x.byAddress, r.sock)
	}
	if x.byInode[r.Inode] == r {
		delete(x.byInode, r.Inode)
	}
	r.dead = true
	if !r.listed {
		x.free = append(x.free, r)
	}
}

// needInodes builds the index by inode.
func (x *socketIndex) needInodes() {
	if x.byInode != nil {
		return
	}
	x.byInode = make(map[uint64]*socketRow, len(x.rows))
	for r := range x.rows {
		if r.Inode != 0 {
			x.byInode[r.Inode] = r
		}
	}
}

// tombstoneAge is how long a socket that is gone is remembered: a pass that began before
// may still bring its row, as its end is reported a moment before the kernel takes it out.
const tombstoneAge = 2e9

// tombstones are the sockets that are gone since a while. A row of one says nothing.
type tombstones struct {
	at    map[uint64]uint64 // when, by key
	order []tombstone       // the oldest first
}

type tombstone struct{ key, at uint64 }

func newTombstones() tombstones { return tombstones{at: make(map[uint64]uint64)} }

func (t *tombstones) add(key, at uint64) {
	if key == 0 {
		return
	}
	t.at[key] = at
	t.order = append(t.order, tombstone{key, at})
}

// drop forgets a socket: another one has its address.
func (t *tombstones) drop(key uint64) { delete(t.at, key) }

// has reports whether the socket of a key is gone.
func (t *tombstones) has(key uint64) bool { return t.at[key] != 0 }

// trim forgets those from before a time.
func (t *tombstones) trim(before uint64) {
	n := 0
	for n < len(t.order) && t.order[n].at < before {
		if old := t.order[n]; t.at[old.key] == old.at {
			delete(t.at, old.key)
		}
		n++
	}
	t.order = t.order[:copy(t.order, t.order[n:])]
}
