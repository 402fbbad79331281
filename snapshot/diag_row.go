package snapshot

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// DiagRow is a row of sock_diag, a struct inet_diag_msg.
type DiagRow []byte

func (r DiagRow) family() uint8 { return r[0] }

// IPv6 reports whether the row stands in the file of IPv6 in /proc.
func (r DiagRow) IPv6() bool { return r.family() == unix.AF_INET6 }

// Cookie returns the cookie of the socket.
func (r DiagRow) Cookie() uint64 {
	return uint64(binary.NativeEndian.Uint32(r[44:])) | uint64(binary.NativeEndian.Uint32(r[48:]))<<32
}

// Device returns the index of the interface that the socket is bound to, or 0.
func (r DiagRow) Device() uint32 { return binary.NativeEndian.Uint32(r[40:]) }

// Socket returns the row as /proc has it, without its timer. Three things are not
// in sock_diag (net/ipv4/tcp_diag.c, tcp_diag_get_info; net/ipv4/inet_diag.c,
// inet_req_diag_fill, 6.18): the send queue of a listener, which is 0 unless it
// was connected before; the user of a request socket; and retransmits where another
// timer runs.
func (r DiagRow) Socket(p Protocol) Socket {
	native := binary.NativeEndian
	s := Socket{Head: Head{
		Protocol: p,
		Local:    r.endpoint(4, 8),
		Remote:   r.endpoint(6, 24),
		State:    State(r[1]),
		RecvQ:    uint64(native.Uint32(r[56:])),
		SendQ:    uint64(native.Uint32(r[60:])),
		UID:      native.Uint32(r[64:]),
		Inode:    uint64(native.Uint32(r[68:])),
		Cookie:   r.Cookie(),
		Device:   r.Device(),
	}}
	switch {
	case p == TCP && s.State == Listen:
		s.SendQ = 0 // here it is the longest that the accept queue may become
	case p == Raw:
		s.Remote = netip.AddrPortFrom(s.Remote.Addr(), 0) // as raw_sock_seq_show has it
	}
	return s
}

// endpoint returns an address and its port, from where they are in the row.
func (r DiagRow) endpoint(port, addr int) netip.AddrPort {
	number := binary.BigEndian.Uint16(r[port:])
	if r.IPv6() {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(r[addr:addr+16])), number)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(r[addr:addr+4])), number)
}

// Attributes of a row (include/uapi/linux/inet_diag.h). The kernel adds these to every
// row of a full socket, asked for or not, and to no other row (net/ipv4/inet_diag.c,
// inet_diag_msg_attrs_fill, 5.10 to 7.2).
const (
	diagShutdown = 8  // INET_DIAG_SHUTDOWN
	diagCgroupID = 21 // INET_DIAG_CGROUP_ID, since 5.9
)

// Mini reports whether the row, of TCP, is one of a request socket or of a timewait
// socket, of which the kernel keeps little.
func (r DiagRow) Mini() bool {
	for kind := range netlinkAttributes(r[diagRowSize:]) {
		if kind == diagShutdown {
			return false
		}
	}
	return true
}

// CgroupID returns the id of the socket's cgroup v2; 0: it is not known.
func (r DiagRow) CgroupID() uint64 {
	for kind, value := range netlinkAttributes(r[diagRowSize:]) {
		if kind == diagCgroupID && len(value) == 8 {
			return binary.NativeEndian.Uint64(value)
		}
	}
	return 0
}

// NewDiagRow returns a row that names a socket to Diag.Find. A cookie of 0 means any: then
// what is found may be a listener that a connection with these addresses would go to.
func NewDiagRow(h *Head) DiagRow {
	r := make(DiagRow, diagRowSize)
	r[0] = unix.AF_INET
	if h.Local.Addr().Is6() {
		r[0] = unix.AF_INET6
	}
	binary.BigEndian.PutUint16(r[4:], h.Local.Port())
	binary.BigEndian.PutUint16(r[6:], h.Remote.Port())
	copy(r[8:], h.Local.Addr().AsSlice())
	copy(r[24:], h.Remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(r[40:], h.Device)
	cookie := h.Cookie
	if cookie == 0 {
		cookie = ^uint64(0) // INET_DIAG_NOCOOKIE, twice
	}
	binary.NativeEndian.PutUint32(r[44:], uint32(cookie))
	binary.NativeEndian.PutUint32(r[48:], uint32(cookie>>32))
	return r
}
