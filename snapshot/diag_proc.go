package snapshot

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// What a DiagTable takes from /proc: what sock_diag lacks of a socket, and all that is
// left where the kernel breaks off one dump after another.

// procReads is how often a file of /proc is read for what sock_diag lacks: a socket may be
// younger than the last reading.
const procReads = 4

// procRows are the rows of /proc that sock_diag lacks something of, by family: IPv4 first.
type procRows [2]struct {
	rows  map[boundSocket]Socket
	reads int
}

// lacks reports whether sock_diag may not have all that is shown of a socket: see
// DiagRow.Socket. A listener that was connected before still has the address that it
// was connected to (net/ipv4/tcp.c, tcp_disconnect, 6.18).
func (t *DiagTable) lacks(s *Socket) bool {
	if t.opts.Protocol != TCP {
		return false
	}
	return s.State == SynRecv && t.opts.Users || s.State == Listen && !s.Remote.Addr().IsUnspecified()
}

// complete adds to a socket what /proc has of it. If it is not there any more, it
// takes the socket as it is now. It returns false if there is none.
func (t *DiagTable) complete(row DiagRow, s *Socket) bool {
	if there, ok := t.procRow(s); ok {
		s.UID, s.SendQ = there.UID, there.SendQ
		return true
	}
	d, err := t.opts.open()
	if err != nil {
		return false
	}
	defer func() { _ = d.Close() }() // nothing is written
	now, ok, err := d.Find(t.opts.Protocol, row)
	if err != nil || !ok {
		return false
	}
	*s = now.Socket(t.opts.Protocol)
	return !t.lacks(s)
}

// procRow looks a socket up in its file of /proc, which it reads for the first socket of a
// family, and again for one that is not there.
func (t *DiagTable) procRow(s *Socket) (Socket, bool) {
	family := &t.inProc[0]
	if s.Local.Addr().Is6() {
		family = &t.inProc[1]
	}
	for {
		if there, ok := family.rows[boundSocket{s.Local, s.Remote, s.Inode}]; ok || family.reads == procReads {
			return there, ok
		}
		family.reads++
		family.rows = t.readProc(s.Local.Addr().Is6())
	}
}

func (t *DiagTable) readProc(ipv6 bool) map[boundSocket]Socket {
	found := map[boundSocket]Socket{}
	rows, err := ReadSockets(t.opts.Proc, t.opts.Protocol, ipv6)
	if err != nil {
		return found
	}
	for s, err := range rows {
		if err == nil && t.lacks(&s) {
			found[boundSocket{s.Local, s.Remote, s.Inode}] = s
		}
	}
	return found
}

// shownSocket is a row that was yielded: what tells it from others in sock_diag, and what
// does in /proc.
type shownSocket struct{ cookie, place uint64 }

// place returns a number for the addresses and the inode of a row, which /proc has too;
// one pair in 2^64 shares it.
func (r DiagRow) place() uint64 {
	const odd = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	n := uint64(binary.NativeEndian.Uint32(r[68:]))
	for at := 4; at < 40; at += 4 {
		high, low := bits.Mul64(n^uint64(binary.NativeEndian.Uint32(r[at:])), odd)
		n = high ^ low ^ odd
	}
	return n
}

// fromProc yields the sockets of /proc that were not yielded before. why is the reason for
// which sock_diag does not serve.
func (t *DiagTable) fromProc(ipv6 bool, why error, yield func(Socket, error) bool) {
	rows, err := ReadSockets(t.opts.Proc, t.opts.Protocol, ipv6)
	if err != nil {
		yield(Socket{}, fmt.Errorf("%w: %w", ErrUnread, why))
		return
	}
	shown := make(map[uint64]bool, len(t.shown))
	for _, s := range t.shown {
		shown[s.place] = true
	}
	for s, err := range rows {
		if err == nil && shown[placeOf(&s)] {
			continue
		}
		if !yield(s, err) {
			return
		}
	}
}

// placeOf returns DiagRow.place of a row of /proc.
func placeOf(s *Socket) uint64 {
	row := NewDiagRow(&s.Head)
	binary.NativeEndian.PutUint32(row[68:], uint32(s.Inode))
	return row.place()
}
