package field

import (
	"net/netip"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// Transport is the protocol of a socket, in the words of the "transport" key.
type Transport uint8

// The transports. The first four are numbered as snapshot.Protocol.
const (
	TCP Transport = iota
	UDP
	UDPLite
	Raw
	SCTP
	Unix
)

// transports are their words.
var transports = []string{"tcp", "udp", "udplite", "raw", "sctp", "unix"}

// Subject is what fields are read from: a row of a view, or a record of the stream
// with its connection as it is known then. One is filled again for each record; what it
// points to is read and never kept.
type Subject struct {
	Head      *snapshot.Head // of a Unix socket it has inode, owner and queues alone
	Transport Transport
	State     snapshot.State // after the record; 0: it has none
	Old       snapshot.State // before it; 0: the record is no transition
	HasUID    bool           // Head.UID is known; else it is 0, which is root's
	Inferred  bool
	Name      string              // of a Unix socket; empty: it has none
	Peer      string              // of the peer of a Unix socket, likewise
	HasPeer   bool                // a Unix socket has a peer whose name is known
	Others    []*snapshot.Process // further processes that hold the socket
	Attr      *Attributes         // of sock_diag; nil: not read
	Conn      *table.Conn         // of TCP, in the stream; else nil
	Closed    *table.Closed       // nil: the record is not the end of a connection
	Other                         // any other, in the stream
	Time      uint64              // of the record, CLOCK_MONOTONIC, ns; 0: a row
}

// Other is a UDP, raw or Unix socket of the stream.
type Other struct {
	Socket *table.Socket       // nil: it is none
	Change *table.SocketChange // nil: a row
}

// Attributes are what sock_diag knows of a socket and /proc does not.
type Attributes = snapshot.SocketAttributes

// SetSocket fills the subject with a row of the Internet socket views. The user 0 of a
// socket without a file is nobody's: TIME_WAIT rows are not root's.
func (s *Subject) SetSocket(row *snapshot.Socket) {
	*s = Subject{
		Head: &row.Head, Transport: Transport(row.Protocol), State: row.State,
		HasUID: row.UID != 0 || row.Inode != 0, Others: s.Others[:0],
	}
}

// SetUnix fills the subject with a row of the Unix socket view. head is a place for
// what a Unix socket has in common with others.
func (s *Subject) SetUnix(row *snapshot.UnixSocket, head *snapshot.Head) {
	*head = snapshot.Head{Inode: row.Inode, State: unixState(row)}
	*s = Subject{Head: head, Transport: Unix, State: head.State, Name: row.Path, Others: s.Others[:0]}
}

// unixState returns the TCP state that ss gives a Unix socket.
func unixState(u *snapshot.UnixSocket) snapshot.State {
	switch {
	case u.Listening():
		return snapshot.Listen
	case u.State == 2: // SS_CONNECTING, include/uapi/linux/net.h
		return snapshot.SynSent
	case u.State == 3: // SS_CONNECTED
		return snapshot.Established
	case u.State == 4: // SS_DISCONNECTING
		return snapshot.Closing
	}
	return snapshot.Close
}

// SetSCTP fills the subject with an address pair of an association or of an endpoint,
// which has no peer.
func (s *Subject) SetSCTP(head *snapshot.Head) {
	*s = Subject{
		Head: head, Transport: SCTP, State: head.State,
		HasUID: head.UID != 0 || head.Inode != 0, Others: s.Others[:0],
	}
}

// SetConn fills the subject with a row of the stream's table.
func (s *Subject) SetConn(c *table.Conn) {
	*s = Subject{Head: &c.Head, Transport: TCP, State: c.State, HasUID: c.HasUID, Conn: c}
}

// SetChange fills the subject with a record of the stream.
func (s *Subject) SetChange(c *table.Change) {
	s.SetConn(c.Conn)
	s.Inferred, s.Closed, s.Time = c.Inferred, c.Close, c.Time
	if c.Kind == table.ChangeState {
		s.Old, s.State = c.Old, c.New
	}
}

// local and remote return the addresses of an Internet socket.
func (s *Subject) local() (netip.Addr, bool) {
	a := s.Head.Local.Addr()
	return a, a.IsValid()
}

func (s *Subject) remote() (netip.Addr, bool) {
	a := s.Head.Remote.Addr()
	return a, a.IsValid()
}

// localPort returns the local port. That of a connect is absent until the kernel has
// chosen it.
func (s *Subject) localPort() (uint16, bool) {
	p := s.Head.Local.Port()
	return p, s.Head.Local.IsValid() && (p != 0 || s.Transport != TCP)
}

// remotePort returns the peer's port, which is 0 where there is no peer.
func (s *Subject) remotePort() (uint16, bool) {
	return s.Head.Remote.Port(), s.Head.Remote.IsValid()
}

// Processes calls a function with each process that holds the socket, until it
// returns true. It reports whether it did.
func (s *Subject) Processes(f func(*snapshot.Process) bool) bool {
	if p := s.Head.Owner.Process; p != nil && f(p) {
		return true
	}
	for _, p := range s.Others {
		if f(p) {
			return true
		}
	}
	return false
}
