package table

import (
	"slices"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// Socket is one UDP, raw or Unix socket. Times are nanoseconds of CLOCK_MONOTONIC.
//
// State is the kernel's sk_state: of UDP and raw sockets Established where they have a
// peer, else Close; of Unix sockets Listen too. Addresses are invalid for Unix sockets.
// The local port of a raw socket is its protocol, as in /proc. A UDP socket that was not
// bound yet has the local port 0, and no row in /proc.
type Socket struct {
	snapshot.Head
	Unix       *UnixEnd // of a Unix socket; else nil
	ID         uint64   // the same from the first to the last record; unique per socket
	Start      uint64   // first seen
	Type       uint8    // SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET
	Shown      bool     // it has a row in its file of /proc now
	StartKnown bool     // it was opened while it was traced
	HasUID     bool     // UID is known; else it is 0, which is root's
	History    SocketHistory
}

// UnixEnd is what only a Unix socket has.
type UnixEnd struct {
	Name       string // as bound, raw: an abstract name begins with a NUL, which is its first byte
	Named      bool   // it is bound; the name may be empty
	HasSocket  bool   // false: it waits for accept()
	Peer       uint64 // ID of the peer; 0: none, or not known
	PeerCookie uint64 // of the peer; 0: none, or not known
	PeerInode  uint64 // 0: none, not accepted yet, or not known
	PeerPID    uint32 // as SO_PEERCRED says it; 0: none, or not known
	Listener   uint64 // ID of the listener that it was made by; 0: none, or not known
	Backlog    uint32 // of a listener

	peerKey uint64  // cookie, or address, of the peer; 0: none
	backlog bool    // Backlog is known
	listens bool    // it is in unixRules.listeners
	made    bool    // by the connect() of its peer, for accept() to return
	changed kindSet // by the event that is merged
}

// Abstract reports whether the socket has an abstract name.
func (u *UnixEnd) Abstract() bool { return len(u.Name) > 0 && u.Name[0] == 0 }

// Listening reports whether the socket waits for connections.
func (s *Socket) Listening() bool { return s.State == snapshot.Listen }

// Row returns a Unix socket as /proc/net/unix has it (net/unix/af_unix.c,
// unix_seq_show). Its reference count is not known.
func (s *Socket) Row() snapshot.UnixSocket {
	u := snapshot.UnixSocket{Type: uint32(s.Type), Inode: s.Inode, HasInode: true}
	if end := s.Unix; end != nil {
		u.State, u.Path, u.Abstract = uint32(s.socketState()), end.Name, end.Abstract()
		if end.Abstract() {
			u.Path = "@" + end.Name[1:]
		}
	}
	if s.Listening() {
		u.Flags = snapshot.UnixAccepting
	}
	return u
}

// socketState returns the column St of /proc/net/unix: the socket_state of
// include/uapi/linux/net.h that stands for what the socket is.
func (s *Socket) socketState() uint8 {
	const unconnected, connecting, connected, disconnecting = 1, 2, 3, 4
	established := s.State == snapshot.Established
	switch {
	case s.Unix.HasSocket && established:
		return connected
	case s.Unix.HasSocket:
		return unconnected
	case established:
		return connecting
	default:
		return disconnecting
	}
}

// SocketChangeKind says what a SocketChange reports.
type SocketChangeKind uint8

// The kinds of change, but for the last one numbered as in headers/event.h.
const (
	SocketSeen        SocketChangeKind = iota // nothing that is known has changed: the row as it is
	SocketOpen                                // socket(), or half of a socketpair()
	SocketBind                                // bind(), or the kernel chose a port or a name (Auto)
	SocketConnect                             // it has a peer, or another one
	SocketDisconnect                          // it has none any more: AF_UNSPEC, or an abort (Errno)
	SocketListen                              // listen()
	SocketAccept                              // accept() returned it
	SocketLostPeer                            // the peer of a datagram socket is gone
	SocketFamily                              // IPV6_ADDRFORM: an IPv6 socket became an IPv4 one
	SocketClose                               // it is gone
	SocketChanged                             // a poll found the row changed, in a way that is none of these
	SocketChangeKinds                         // how many there are
)

var socketChangeNames = [...]string{
	SocketSeen: "seen", SocketOpen: "open", SocketBind: "bind", SocketConnect: "connect",
	SocketDisconnect: "disconnect", SocketListen: "listen", SocketAccept: "accept",
	SocketLostPeer: "lost_peer", SocketFamily: "family", SocketClose: "close", SocketChanged: "changed",
}

// String returns the word that records have for it.
func (k SocketChangeKind) String() string { return socketChangeNames[k] }

// historySockets bounds the changes kept of one socket.
const historySockets = 12

// SocketHistory are the changes of one socket, in order. One that repeats the one
// before it is left out.
type SocketHistory struct {
	kinds [historySockets]SocketChangeKind
	n     uint8
}

// Kinds returns the changes in order. The slice aliases the history.
func (h *SocketHistory) Kinds() []SocketChangeKind { return h.kinds[:h.n] }

// Add appends a change. A history that is full keeps its beginning.
func (h *SocketHistory) Add(k SocketChangeKind) {
	if h.n > 0 && h.kinds[h.n-1] == k {
		return
	}
	if int(h.n) < len(h.kinds) {
		h.kinds[h.n] = k
		h.n++
	}
}

// Has reports whether a change is among them.
func (h *SocketHistory) Has(k SocketChangeKind) bool { return slices.Contains(h.Kinds(), k) }

// SocketSource says how a change is known, surest first.
type SocketSource uint8

// The ways a change is known.
const (
	SocketTold     SocketSource = iota // a hook reported it
	SocketPolled                       // the row was read at short intervals, as no hook reports such changes
	SocketInferred                     // comparing with the kernel's table after a loss showed it
)

// String returns the word that records have for it; empty for an event.
func (s SocketSource) String() string {
	switch s {
	case SocketPolled:
		return "poll"
	case SocketInferred:
		return "inferred"
	}
	return ""
}

// SocketChange is what the table reports of a UDP, raw or Unix socket. Socket is the
// whole row after the change; of SocketClose the last one.
type SocketChange struct {
	Kind   SocketChangeKind
	Source SocketSource
	Auto   bool          // SocketBind: the kernel chose the port or the name
	Errno  syscall.Errno // SocketDisconnect: of an abort
	Time   uint64        // CLOCK_MONOTONIC, ns
	Socket *Socket       // valid during the call only
	Old    SocketBefore
	Closed *SocketClosed // of SocketClose; valid during the call only
}

// HadSocket reports whether the socket was one that a process could have before the change:
// what accept() returns was none, among Unix sockets.
func (c *SocketChange) HadSocket() bool {
	end := c.Socket.Unix
	return end == nil || end.HasSocket && c.Kind != SocketAccept
}

// SocketBefore is what a change has replaced.
type SocketBefore struct {
	State  snapshot.State
	Head   snapshot.Head // addresses and State; the rest is that of the socket
	Shown  bool
	Family uint16 // SocketFamily: the former address family, AF_INET6
}

// SocketReason says why a socket is gone.
type SocketReason uint8

// The reasons.
const (
	ReasonUnknown   SocketReason = iota
	ReasonClose                  // its last file was closed
	ReasonExit                   // by the end of the last process that had it
	ReasonCollected              // it was in flight, in a cycle: the kernel's collector found it
	ReasonKernel                 // the kernel closed one of its own, or a kernel thread did
)

// String returns the word that records have for it.
func (r SocketReason) String() string {
	return [...]string{"unknown", "close", "exit", "collected", "kernel"}[r]
}

// SocketClosed is what is known of a socket at its end. Its start and its history
// stand in the row.
type SocketClosed struct {
	Duration uint64 // since Socket.Start, ns
	Reason   SocketReason
	Closer   *snapshot.Process // who closed it; nil: not known
}
