package table

import (
	"encoding/binary"
	"net/netip"

	"github.com/nettrace/nettrace/snapshot"
)

// rows are all rows and the indexes that find them. Which index holds a row
// follows from its stage, which only the methods of rows change.
//
// Full sockets are found by their cookie, request and timewait sockets by their
// address. What has no cookie that ties it to a full socket (request sockets,
// unclaimed timewait sockets, rows of /proc) is found by its 4-tuple too. The address of
// a mini-socket that was there before the tracer is not known until its first event:
// until then its cookie stands in for it, which is no address.
type rows struct {
	byKey     map[uint64]*row  // by Event.key
	latest    [latestRows]*row // full sockets of the last events, by Event.key; see ofFull
	byMini    map[uint64]*row  // by address of the mini-socket
	noAddress int              // of byMini, those whose address is not known yet
	byTuple   map[uint64]*row  // by tuple.hash
	pending   map[uint64]*row  // by the key that it had
	undecided map[uint64]*row  // by the key that it had
	timewaits timewaits        // packed rows, which all of the above lack
	places    places
	listeners listeners
	store     store

	lateCookies bool // Config.LateCookies
}

// latestRows is how many sockets rows.latest has. Most events of a short connection come
// while so few others have any.
const latestRows = 256

func newRows(cfg *Config) *rows {
	return &rows{
		lateCookies: cfg.LateCookies,
		byKey:       make(map[uint64]*row),
		byMini:      make(map[uint64]*row),
		byTuple:     make(map[uint64]*row),
		pending:     make(map[uint64]*row),
		listeners:   newListeners(),
		undecided:   make(map[uint64]*row),
		store:       newStore(),
	}
}

// tuple identifies a socket that has no cookie.
type tuple struct {
	local, remote netip.AddrPort
	netns         uint32
}

func (e *Event) tuple() tuple { return tuple{e.Local, e.Remote, e.Netns} }

// hash returns a number to find a tuple by; one in 2^64 pairs shares it. The hash
// of Go's maps takes several times as long, as netip.Addr has a pointer in it.
func (t tuple) hash() uint64 {
	half := func(a netip.AddrPort) uint64 {
		b := a.Addr().As16()
		h := mix64(binary.NativeEndian.Uint64(b[:8]) + uint64(a.Port()))
		return mix64(h ^ binary.NativeEndian.Uint64(b[8:]))
	}
	return mix64(half(t.local)*3 + half(t.remote) + uint64(t.netns)<<32)
}

// ofTuple returns the row that is found by the tuple of e, or nil.
func (x *rows) ofTuple(e *Event) *row {
	if len(x.byTuple) == 0 {
		return nil
	}
	of := e.tuple()
	r := x.byTuple[of.hash()]
	if r == nil || r.tuple() != of {
		return nil
	}
	return r
}

// ofFull returns the full socket that e is about, or nil. It looks at those of the last
// events first: the map has all, so that the place in it is seldom in the processor's cache.
// A row there that has the key is the one in the map: only full sockets have one.
func (x *rows) ofFull(e *Event) *row {
	key := e.key()
	if r := x.latest[key%latestRows]; r != nil && r.key == key && key != 0 {
		return r
	}
	r := x.byKey[key]
	if r != nil {
		x.latest[key%latestRows] = r
	}
	if r == nil && x.lateCookies && e.Cookie != 0 {
		return x.rekey(e)
	}
	return r
}

// rekey finds a full socket by its address that has got a cookie since the event before,
// and keeps it by that from now on.
func (x *rows) rekey(e *Event) *row {
	r := x.byKey[e.Sock]
	if r == nil || !r.sameCookie(e) {
		return nil
	}
	delete(x.byKey, e.Sock)
	r.key, r.Cookie = e.Cookie, e.Cookie
	x.byKey[r.key] = r
	return r
}

// ofMini returns the row of the mini-socket that e is about, or nil. It may be that of a
// former one at the address, whose end no event reported, unless the table has the socket by
// its cookie.
func (x *rows) ofMini(e *Event) *row {
	at := x.ofAddress(e.Sock)
	if e.Cookie == 0 || x.noAddress+x.timewaits.noAddress == 0 || at != nil && at.sameCookie(e) {
		return at
	}
	r := x.ofAddress(e.Cookie)
	if r == nil {
		return at
	}
	if at == nil { // now its address is known
		x.unindexMini(r)
		r.mini = e.Sock
		x.indexMini(r)
	}
	return r
}

// len returns the number of rows in the indexes.
func (x *rows) len() int {
	n := len(x.byKey) + len(x.pending) + len(x.undecided) + x.timewaits.n
	for _, r := range x.byMini {
		if r.stage != stageFull && r.stage != stageProc {
			n++
		}
	}
	for _, r := range x.byTuple {
		if r.stage == stageProc {
			n++
		}
	}
	return n
}

// all yields every row in the indexes but the packed ones, in no order.
func (x *rows) all(yield func(*row) bool) {
	for _, r := range x.byKey {
		if !yield(r) {
			return
		}
	}
	for _, r := range x.pending {
		if !yield(r) {
			return
		}
	}
	for _, r := range x.undecided {
		if !yield(r) {
			return
		}
	}
	for _, r := range x.byMini {
		if r.stage != stageFull && r.stage != stageProc && !yield(r) {
			return
		}
	}
	for _, r := range x.byTuple {
		if r.stage == stageProc && !yield(r) {
			return
		}
	}
}

// add makes a row in stageNone for the socket that e is about.
func (x *rows) add(e *Event) *row {
	r := x.store.take()
	r.Cookie, r.Netns = e.Cookie, e.Netns
	r.Local, r.Remote, r.Device = e.Local, e.Remote, e.Device
	r.Inode, r.CgroupID = uint64(e.Inode), e.CgroupID
	r.setUID(e)
	r.Start, r.last = e.Time, e.Time
	return r
}

// setFull moves r to stageFull: it is the full socket of e.
func (x *rows) setFull(r *row, e *Event) {
	x.dropTuple(r)
	if r.stage != stageProc { // else its timewait socket was born first
		x.dropMini(r)
	}
	x.unplace(r)
	r.stage = stageFull
	r.key = e.key()
	if e.Cookie != 0 {
		r.Cookie = e.Cookie
	}
	x.byKey[r.key] = r
	x.latest[r.key%latestRows] = r
	x.place(r)
}

// dropFull ends stageFull. The mini-socket stays, if there is one.
func (x *rows) dropFull(r *row) {
	x.unplace(r)
	delete(x.byKey, r.key)
	r.key = 0
	r.stage = stageNone
	if r.mini != 0 {
		r.stage = stageTimewait
		x.place(r)
	}
}

// setPending moves r to stagePending. key is the one that it had.
func (x *rows) setPending(r *row, key uint64) {
	if r.stage == stageFull {
		x.dropFull(r)
	}
	r.stage = stagePending
	x.pending[key] = r
	x.place(r)
}

// endPending takes r out of stagePending. key is the one that it had.
func (x *rows) endPending(r *row, key uint64) {
	x.unplace(r)
	delete(x.pending, key)
	r.stage = stageNone
}

// setUndecided moves r from stageNone to stageUndecided. key is the one that it had.
func (x *rows) setUndecided(r *row, key uint64) {
	r.stage = stageUndecided
	x.undecided[key] = r
}

// endUndecided takes r out of stageUndecided. key is the one that it had.
func (x *rows) endUndecided(r *row, key uint64) {
	delete(x.undecided, key)
	r.stage = stageNone
}

// setTimewait gives r the timewait socket at an address. A full socket stays in its stage
// until it ends.
func (x *rows) setTimewait(r *row, mini uint64, state snapshot.State) {
	if r.stage != stageFull && r.stage != stageProc {
		r.stage = stageTimewait
		x.place(r)
	}
	x.setMini(r, mini, state)
}

// setRequest moves a new row to stageRequest.
func (x *rows) setRequest(r *row, mini uint64) {
	r.stage = stageRequest
	x.setMini(r, mini, snapshot.SynRecv)
	x.setTuple(r)
}

// setUnclaimed moves a new row to stageUnclaimed.
func (x *rows) setUnclaimed(r *row, mini uint64, state snapshot.State) {
	r.stage = stageUnclaimed
	x.setMini(r, mini, state)
	x.setTuple(r)
}

// claim moves r from stageUnclaimed to stageTimewait.
func (x *rows) claim(r *row) {
	x.dropTuple(r)
	r.stage = stageTimewait
	x.place(r)
}

// setProc moves a new row to stageProc.
func (x *rows) setProc(r *row) {
	r.stage = stageProc
	x.setTuple(r)
}

// remove takes r out of every index, to be used again.
func (x *rows) remove(r *row) {
	if r.key != 0 {
		delete(x.byKey, r.key)
		r.key = 0
	}
	x.dropTuple(r)
	x.unplace(r)
	x.dropMini(r)
	r.stage = stageNone
	x.listeners.drop(r)
	x.store.giveBack(r)
}

func (x *rows) setMini(r *row, mini uint64, state snapshot.State) {
	if r.mini == mini {
		x.byMini[mini] = r
	} else {
		x.dropMini(r) // no event reported the end of that one
		r.mini = mini
		x.indexMini(r)
	}
	r.miniState, r.dying = state, 0
}

func (x *rows) indexMini(r *row) {
	x.byMini[r.mini] = r
	if !r.hasAddress() {
		x.noAddress++
	}
}

func (x *rows) unindexMini(r *row) {
	delete(x.byMini, r.mini)
	if !r.hasAddress() {
		x.noAddress--
	}
}

func (x *rows) dropMini(r *row) {
	if r.mini != 0 {
		x.unindexMini(r)
		r.mini, r.miniState, r.dying = 0, 0, 0
	}
}

func (x *rows) setTuple(r *row) { x.byTuple[r.tuple().hash()] = r }

func (x *rows) dropTuple(r *row) {
	if !r.stage.byTuple() {
		return
	}
	if hash := r.tuple().hash(); x.byTuple[hash] == r {
		delete(x.byTuple, hash)
	}
}

// setLocal takes the local port of e, unless it has none.
func (x *rows) setLocal(r *row, e *Event) {
	if e.Device != 0 {
		r.Device = e.Device
	}
	if port := e.Local.Port(); port != 0 && port != r.Local.Port() {
		x.setPort(r, port)
	}
}

func (x *rows) setPort(r *row, port uint16) {
	if r.bound() {
		x.listeners.drop(r)
		defer x.listeners.add(r)
	}
	x.unplace(r)
	r.Local = netip.AddrPortFrom(r.Local.Addr(), port)
	x.place(r)
}
