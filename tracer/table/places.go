package table

import "net/netip"

// places finds sockets by where they are while rows of the kernel's table are applied: by
// the 4-tuple, of which a network namespace has each once; listeners by the inode besides,
// as several may share an address and a port, and what has no local port yet by the inode
// alone. It has what a cookie may not lead to: timewait sockets and rows in stagePending,
// and full sockets where rows or events have no cookie.
//
// It exists during a scan only. A place leads to the latest row there: one before it may
// be missing.
type places struct {
	rows  map[uint64]*row // nil: there is no scan
	fulls bool            // it has full sockets too
	scan  uint32          // the number of the scan
}

// placed reports whether the index has rows of a stage.
func (p *places) placed(s stage) bool {
	return s == stageTimewait || s == stagePending || s == stageFull && p.fulls
}

func (t tuple) place(inode uint64) uint64 {
	switch {
	case t.local.Port() == 0:
		return mix64(inode<<32 + uint64(t.netns))
	case t.remote.Port() == 0:
		return mix64(t.hash() + inode)
	}
	return t.hash()
}

// openPlaces makes the index for the scan of a number. With fulls it has full sockets too.
func (x *rows) openPlaces(scan uint32, fulls bool) {
	if x.places.rows == nil {
		x.timewaits.openPlaces()
	}
	x.places = places{rows: make(map[uint64]*row), fulls: fulls, scan: scan}
	for _, r := range x.byMini {
		x.place(r)
	}
	for _, r := range x.pending {
		x.place(r)
	}
	if fulls {
		for _, r := range x.byKey {
			x.place(r)
		}
	}
}

func (x *rows) closePlaces() {
	x.places, x.timewaits.byPlace = places{}, slots{}
	x.packAll()
}

// placeOf returns where r is in the index. A full socket and a mini-socket that the table
// has with the same 4-tuple, as an end was not reported, do not hide each other.
func placeOf(r *row) uint64 {
	place := r.tuple().place(r.Inode)
	if r.stage == stageFull {
		return place
	}
	return ^r.tuple().place(0)
}

// place adds r to the index, if that has rows of its stage.
func (x *rows) place(r *row) {
	if x.places.rows != nil && x.places.placed(r.stage) {
		x.places.rows[placeOf(r)] = r
	}
}

// unplace takes r out of the index.
func (x *rows) unplace(r *row) {
	if x.places.rows == nil || !x.places.placed(r.stage) {
		return
	}
	if place := placeOf(r); x.places.rows[place] == r {
		delete(x.places.rows, place)
	}
}

// setInode gives a row of x an inode that a row of the kernel or a file has shown.
func setInode(x *rows, r *row, inode uint32) {
	x.unplace(r)
	r.Inode = uint64(inode)
	x.place(r)
}

// fullAt returns the full socket at the place of e, or nil. Its inode may have changed
// since it was added, and the row be another socket's by now: so it is looked at.
func (x *rows) fullAt(e *Event) *row {
	of := e.tuple()
	if r := x.places.rows[of.place(uint64(e.Inode))]; isAt(r, of, e) && r.stage == stageFull {
		return r
	}
	if e.Inode == 0 || of.remote.Port() == 0 {
		return nil
	}
	of.local = netip.AddrPortFrom(of.local.Addr(), 0) // its port may not be known yet
	if r := x.places.rows[of.place(uint64(e.Inode))]; isAt(r, of, e) && r.stage == stageFull {
		return r
	}
	return nil
}

// miniAt returns the mini-socket at the place of e, or nil.
func (x *rows) miniAt(e *Event) *row {
	if r := x.ofTuple(e); r != nil && r.sameCookie(e) && r.isMini() {
		return r
	}
	if r := x.places.rows[^e.tuple().place(0)]; isAt(r, e.tuple(), e) && (r.stage == stageTimewait || r.stage == stagePending) {
		return r
	}
	if number, found := x.timewaits.atPlace(e); found {
		return x.unpack(number)
	}
	if e.Cookie != 0 {
		return x.ofAddress(e.Cookie)
	}
	return nil
}

func isAt(r *row, t tuple, e *Event) bool {
	return r != nil && r.tuple() == t && r.sameCookie(e)
}

// ofRow returns the row that a row of the kernel's table is about, or nil.
func (x *rows) ofRow(e *Event) *row {
	if e.Mini {
		if r := x.miniAt(e); r != nil {
			return r
		}
		return x.fullOf(e)
	}
	if r := x.fullOf(e); r != nil {
		return r
	}
	return x.miniAt(e)
}

// fullOf returns the full socket of a row of the kernel's table, or nil.
func (x *rows) fullOf(e *Event) *row {
	if e.Cookie != 0 {
		if r := x.byKey[e.Cookie]; r != nil {
			return r
		}
		if r := x.pending[e.Cookie]; r != nil {
			return r
		}
	}
	if r := x.ofTuple(e); r != nil && r.sameCookie(e) && !r.isMini() {
		return r
	}
	return x.fullAt(e)
}
