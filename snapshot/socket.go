package snapshot

// Protocol names the transport of a socket.
type Protocol uint8

// The protocols of the Internet socket views that have one file per family
// under /proc/net and one line layout, and Unix sockets.
const (
	TCP Protocol = iota
	UDP
	UDPLite
	Raw
	Unix
)

// String returns the name of the protocol's file under /proc/net, which is also
// the value of the "transport" key in NDJSON.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case UDPLite:
		return "udplite"
	case Unix:
		return "unix"
	default:
		return "raw"
	}
}

// Socket is one Internet socket: a row of /proc/net/{tcp,udp,udplite,raw}{,6}
// or of sock_diag over the same tables.
//
// The family of a row is the family of its addresses: a v4-mapped address
// stays a 16-byte one, as the row then stands in the IPv6 file.
type Socket struct {
	Head
	Timer   uint8  // kind: 0 none, 1 retransmit, 2 keepalive, 3 timewait, 4 probe
	Expires uint64 // of the timer, in clock ticks of USER_HZ (1/100 s)
	Retrans uint32 // unacknowledged retransmits
	Timeout uint32 // unanswered zero-window probes

	// Odd is nil unless a number of the row does not fit the fields above.
	// No kernel writes such a row; netstat shows it nevertheless.
	Odd *OddNumbers
}

// OddNumbers are the numbers of a row as its file has them.
type OddNumbers struct {
	IPv6File              bool // the row stands in an IPv6 file
	LocalPort, RemotePort uint32
	State, Timer          uint32
	Retrans               uint64
}

// Numbers returns the numbers of the row as its file has them, whether they fit
// the fields or not.
func (s *Socket) Numbers() OddNumbers {
	if s.Odd != nil {
		return *s.Odd
	}
	return OddNumbers{
		IPv6File:  s.Local.Addr().Is6(),
		LocalPort: uint32(s.Local.Port()), RemotePort: uint32(s.Remote.Port()),
		State: uint32(s.State), Timer: uint32(s.Timer), Retrans: uint64(s.Retrans),
	}
}

// Connected reports whether the socket has a peer, as netstat sees it: a TCP
// socket has a remote port, another one a remote address. With its option -l
// it shows the others only, without -a and -l these only.
func (s *Socket) Connected() bool {
	if s.Protocol == TCP {
		return s.Remote.Port() != 0 || s.Odd != nil && s.Odd.RemotePort != 0
	}
	// A v4-mapped 0.0.0.0 has bits set and counts as an address.
	a := s.Remote.Addr()
	return a.IsValid() && !a.IsUnspecified()
}
