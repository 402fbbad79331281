package table

import (
	"net/netip"

	"github.com/nettrace/nettrace/snapshot"
)

// datagramRules are those of UDP, UDP-Lite and raw sockets.
//
// A UDP socket has a row in /proc from when it has a port, a raw one from socket() on;
// either loses it by a connect to AF_UNSPEC, a UDP socket unless it was bound by bind().
type datagramRules struct{}

func (datagramRules) take(r *socketRow, _ *SocketEvent) {
	if r.Protocol == snapshot.Raw { // as raw_sock_seq_show has it
		r.Remote = zeroPort(r.Remote)
	}
}

// told goes by what the row has become, whatever call that was: a call that changes nothing
// is not told, and one that nobody told is by the next row.
func (datagramRules) told(r *socketRow, before *SocketBefore, e *SocketEvent) SocketChangeKind {
	old := &before.Head
	switch {
	case e.Kind == SocketOpen:
		if r.History.n > 0 { // a second copy
			return SocketSeen
		}
		return SocketOpen
	case old.Local.IsValid() && old.Local.Addr().Is4() != r.Local.Addr().Is4():
		const afInet6 = 10
		before.Family = afInet6
		return SocketFamily
	case r.State == snapshot.Established && (old.State != snapshot.Established || old.Remote != r.Remote):
		return SocketConnect
	case r.State != snapshot.Established && old.State == snapshot.Established, before.Shown && !r.Shown:
		return SocketDisconnect
	case r.Shown && (!before.Shown || old.Local != r.Local):
		return SocketBind
	}
	return SocketSeen
}

func (datagramRules) gone(*socketRow) {}

// zeroPort returns an address without its port.
func zeroPort(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 0) }
