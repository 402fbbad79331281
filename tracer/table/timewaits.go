package table

import (
	"net/netip"

	"github.com/nettrace/nettrace/snapshot"
)

// timewaits are the packed rows: none of them is in another index, nor has a *row. One
// that an event or a row of the kernel's table is about becomes a row again before that is
// looked at. So nothing else in this package knows of them.
//
// Rows are packed from the end of the initial table on, while no scan is under way; a scan
// marks those that it has shown.
type timewaits struct {
	open      bool            // the initial table is over
	cells     cells[timewait] // the id of those not in use is 0
	pairs     cells[addressPair]
	n         int
	byMini    slots
	noAddress int   // as in rows
	byPlace   slots // during a scan: by tuple
	shared    sharings
}

func (w *timewaits) at(number uint32) *timewait { return w.cells.at(number) }

// take packs r, and returns the number of the timewait.
func (w *timewaits) take(r *row) uint32 {
	number := w.cells.take()
	t := w.at(number)
	t.pack(r)
	w.setAddresses(t, r)
	t.shared = w.shared.add(sharedOf(r))
	w.byMini.add(mix64(t.mini), number)
	if !r.hasAddress() {
		w.noAddress++
	}
	w.n++
	return number
}

// give makes an empty r what was packed under a number, but for the last scan.
func (w *timewaits) give(number uint32, r *row) {
	t := w.at(number)
	t.unpack(r)
	local, remote := w.addressesOf(t)
	r.Local, r.Remote = netip.AddrPortFrom(local, t.localPort), netip.AddrPortFrom(remote, t.remotePort)
	w.shared.of(t.shared).give(r)
}

// drop forgets the timewait of a number.
func (w *timewaits) drop(number uint32) {
	t := w.at(number)
	w.shared.drop(t.shared)
	w.byMini.remove(mix64(t.mini), number)
	if t.mini>>63 == 0 {
		w.noAddress--
	}
	if !t.has(timewaitV4) {
		w.pairs.drop(t.pair())
	}
	w.cells.drop(number)
	w.n--
}

// pack takes r out of the other indexes and keeps it as a timewait, if it rests.
func (x *rows) pack(r *row) {
	w := &x.timewaits
	if !w.open || x.places.rows != nil || x.lateCookies || !r.rests() {
		return
	}
	w.take(r)
	x.remove(r)
}

// packAll packs what rests.
func (x *rows) packAll() {
	for _, r := range x.byMini {
		x.pack(r)
	}
}

// unpack makes a timewait a row again.
func (x *rows) unpack(number uint32) *row {
	w := &x.timewaits
	r := x.store.empty()
	w.give(number, r)
	if w.at(number).has(timewaitSeen) {
		r.scan = x.places.scan
	}
	w.drop(number)
	x.indexMini(r)
	x.place(r)
	return r
}

// ofAddress returns the row of a mini-socket by its address, or what stands for that.
func (x *rows) ofAddress(mini uint64) *row {
	if r := x.byMini[mini]; r != nil || x.timewaits.n == 0 {
		return r
	}
	w := &x.timewaits
	number, found := w.byMini.find(mix64(mini), func(n uint32) bool { return w.at(n).mini == mini })
	if !found {
		return nil
	}
	return x.unpack(number)
}

// each yields the number of every timewait. It may be unpacked meanwhile.
func (w *timewaits) each(yield func(uint32) bool) {
	if w.n == 0 {
		return
	}
	for b, block := range w.cells.blocks {
		for i := range block {
			if block[i].id != 0 && !yield(uint32(b*cellBlock+i)) {
				return
			}
		}
	}
}

// conns yields the connection of every timewait. It is valid until the next one.
func (w *timewaits) conns(yield func(*Conn) bool) {
	var r row
	for number := range w.each {
		r = row{}
		w.give(number, &r)
		if !yield(&r.Conn) {
			return
		}
	}
}

// openPlaces makes ready for a scan.
func (w *timewaits) openPlaces() {
	for number := range w.each {
		w.at(number).set(timewaitSeen, false)
		w.byPlace.add(w.tuple(number).hash(), number)
	}
}

func (w *timewaits) tuple(number uint32) tuple {
	t := w.at(number)
	local, remote := w.addressesOf(t)
	return tuple{
		local: netip.AddrPortFrom(local, t.localPort), remote: netip.AddrPortFrom(remote, t.remotePort),
		netns: w.shared.of(t.shared).netns,
	}
}

// atPlace returns the timewait in the place of a row of the kernel's table.
func (w *timewaits) atPlace(e *Event) (number uint32, found bool) {
	of := e.tuple()
	return w.byPlace.find(of.hash(), func(n uint32) bool {
		t := w.at(n)
		return t.id != 0 && (t.cookie == e.Cookie || e.Cookie == 0) && w.tuple(n) == of
	})
}

// shows marks the timewait that a row of the kernel's table agrees with, if there is one.
func (x *rows) shows(e *Event) bool {
	if !e.Mini || e.New != snapshot.TimeWait || e.Cookie == 0 || x.ofTuple(e) != nil {
		return false
	}
	number, found := x.timewaits.atPlace(e)
	if found {
		x.timewaits.at(number).set(timewaitSeen, true)
		x.timewaits.at(number).set(timewaitAbsent, false)
	}
	return found
}
