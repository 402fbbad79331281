package table

import (
	"encoding/binary"
	"net/netip"

	"github.com/nettrace/nettrace/snapshot"
)

// timewait is a row whose close was reported, and of which a timewait socket is left that
// says no more for a minute: a host that closes 2,000 connections a second has 120,000 of
// them. It is what of a row can differ among these, in a quarter of the memory and without a
// pointer, so that the collector passes it over.
type timewait struct {
	id, cookie, mini   uint64
	start, established uint64
	last               uint64
	addresses          [8]byte // both of IPv4, or the number of an addressPair
	localPort          uint16
	remotePort         uint16
	shared             uint32  // number of the rest; see sharings
	history            [6]byte // the states, each in half a byte; 0: none
	is                 timewaitFlags
}

// timewaitFlags are the bits of what is true of a timewait.
type timewaitFlags uint16

const (
	timewaitV4 timewaitFlags = 1 << iota
	timewaitStartKnown
	timewaitSeen   // the scan under way has shown it
	timewaitAbsent // row.absent
	timewaitIncoming
	timewaitOutgoing
	timewaitClosedByLocal
	timewaitClosedByRemote
)

// rests reports whether a timewait can stand for r: all else is as after row.
func (r *row) rests() bool {
	return r.stage == stageTimewait && r.State == snapshot.TimeWait && r.miniState == snapshot.TimeWait &&
		r.dying == 0 && r.ending == nil && r.listener == 0 && !r.awaitsPort && r.account == uncounted &&
		r.Cookie != 0 && r.Protocol == 0 && r.Inode == 0 && r.RecvQ == 0 && r.SendQ == 0 &&
		r.Local.Port() != 0 && samePlainFamily(r.Local.Addr(), r.Remote.Addr())
}

// samePlainFamily reports whether two addresses are of one family, without zones.
func samePlainFamily(a, b netip.Addr) bool {
	return a.IsValid() && b.IsValid() && a.Is4() == b.Is4() && a.Zone() == "" && b.Zone() == ""
}

// pack makes t what r is, but for its addresses and what it shares.
func (t *timewait) pack(r *row) {
	*t = timewait{
		id: r.ID, cookie: r.Cookie, mini: r.mini,
		start: r.Start, established: r.Established, last: r.last,
		localPort: r.Local.Port(), remotePort: r.Remote.Port(),
	}
	for i, s := range r.History.States() {
		t.history[i/2] |= byte(s) & 15 << (i % 2 * 4)
	}
	t.set(timewaitStartKnown, r.StartKnown)
	t.set(timewaitAbsent, r.absent)
	t.set(timewaitIncoming, r.Direction == Incoming)
	t.set(timewaitOutgoing, r.Direction == Outgoing)
	t.set(timewaitClosedByLocal, r.closedBy == Local)
	t.set(timewaitClosedByRemote, r.closedBy == Remote)
}

// unpack makes an empty r what was packed, but for its addresses, what it shares and the
// last scan.
func (t *timewait) unpack(r *row) {
	r.ID, r.Cookie, r.mini = t.id, t.cookie, t.mini
	r.Start, r.Established, r.last = t.start, t.established, t.last
	r.State, r.miniState, r.firstSeen = snapshot.TimeWait, snapshot.TimeWait, snapshot.TimeWait
	r.stage = stageTimewait
	for i := range historyMax {
		if s := snapshot.State(t.history[i/2] >> (i % 2 * 4) & 15); s != 0 {
			r.History.Add(s)
		}
	}
	r.StartKnown, r.absent = t.has(timewaitStartKnown), t.has(timewaitAbsent)
	switch {
	case t.has(timewaitIncoming):
		r.Direction = Incoming
	case t.has(timewaitOutgoing):
		r.Direction = Outgoing
	}
	switch {
	case t.has(timewaitClosedByLocal):
		r.closedBy = Local
	case t.has(timewaitClosedByRemote):
		r.closedBy = Remote
	}
}

func (t *timewait) has(f timewaitFlags) bool { return t.is&f != 0 }

func (t *timewait) set(f timewaitFlags, is bool) {
	t.is &^= f
	if is {
		t.is |= f
	}
}

// addressPair are the addresses of a timewait of IPv6: local and remote. Those of IPv4 lie
// in the timewait itself.
type addressPair [2][16]byte

// setAddresses keeps the addresses of r in t.
func (w *timewaits) setAddresses(t *timewait, r *row) {
	local, remote := r.Local.Addr(), r.Remote.Addr()
	if local.Is4() {
		t.set(timewaitV4, true)
		l, r := local.As4(), remote.As4()
		copy(t.addresses[copy(t.addresses[:], l[:]):], r[:])
		return
	}
	number := w.pairs.take()
	*w.pairs.at(number) = addressPair{local.As16(), remote.As16()}
	binary.NativeEndian.PutUint32(t.addresses[:], number)
}

// pair returns the number of the addresses of a timewait of IPv6.
func (t *timewait) pair() uint32 { return binary.NativeEndian.Uint32(t.addresses[:]) }

// addressesOf returns the addresses of t.
func (w *timewaits) addressesOf(t *timewait) (local, remote netip.Addr) {
	if t.has(timewaitV4) {
		return netip.AddrFrom4([4]byte(t.addresses[:4])), netip.AddrFrom4([4]byte(t.addresses[4:]))
	}
	pair := w.pairs.at(t.pair())
	return netip.AddrFrom16(pair[0]), netip.AddrFrom16(pair[1])
}
