package snapshot

import "net/netip"

// Protocol names the transport of an Internet socket.
type Protocol uint8

// The protocols of the Internet socket views that have one file per family
// under /proc/net and one line layout.
const (
	TCP Protocol = iota
	UDP
	UDPLite
	Raw
)

// String gives the name of the protocol's file under /proc/net, which is also
// the value of the "transport" key in NDJSON.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case UDPLite:
		return "udplite"
	default:
		return "raw"
	}
}

// Socket is one Internet socket: a row of /proc/net/{tcp,udp,udplite,raw}{,6}
// or of a BPF iterator over the same tables.
//
// The family of a row is the family of its addresses: a v4-mapped address
// stays a 16-byte one, as the row then stands in the IPv6 file.
type Socket struct {
	Protocol Protocol
	Local    netip.AddrPort
	Remote   netip.AddrPort
	State    State
	RecvQ    uint64 // bytes; for a listener the length of its accept queue
	SendQ    uint64 // bytes
	Timer    uint8  // kind: 0 none, 1 retransmit, 2 keepalive, 3 timewait, 4 probe
	Expires  uint64 // of the timer, in clock ticks of USER_HZ (1/100 s)
	Retrans  uint32 // unacknowledged retransmits
	Timeout  uint32 // unanswered zero-window probes
	UID      uint32
	Inode    uint64 // 0: not attached to a file (TIME_WAIT, orphan, not accepted)

	Cookie uint64 // socket cookie; 0 when the source does not tell it
	Netns  uint32 // inode of the network namespace; 0 when the source does not tell it
}
