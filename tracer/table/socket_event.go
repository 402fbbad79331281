package table

import (
	"net/netip"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// SocketEvent is what the kernel has told of a UDP, raw or Unix socket: a change, or a
// row that was read. It has the whole row after the change, but with Intent.
type SocketEvent struct {
	Kind     SocketChangeKind // SocketSeen: a row that was read
	Source   SocketSource
	Protocol snapshot.Protocol
	Type     uint8
	State    snapshot.State
	Time     uint64 // CLOCK_MONOTONIC, ns
	After    uint64 // a row that was read: it was so between this and Time; 0: it is a hook's
	Sock     uint64 // address of the socket; 0: not known
	Cookie   uint64 // 0: not known, or it has none yet
	Netns    uint32
	Task     uint32 // thread-group id in the first pid namespace; 0: not known
	TID      uint32 // of the thread, where the tracer runs; 0: it has none there
	UID      uint32
	HasUID   bool
	Inode    uint32 // 0: none, or not known
	Device   uint32
	Local    netip.AddrPort // zero for a Unix socket
	Remote   netip.AddrPort
	Err      syscall.Errno // of the change
	CgroupID uint64        // of the caller; 0: not known
	Thread   [16]byte
	RecvQ    uint64 // a row that was read
	SendQ    uint64

	Shown   bool // it has a row in its file of /proc
	Auto    bool // the kernel chose the port or the name
	Exiting bool // the caller exits
	Kernel  bool // the socket is the kernel's own, or a kernel thread made the call
	Intent  bool // told before the call: the row does not show it yet
	Other   bool // the call was one on the other end
	Row     bool // a row that was read, with a place among the events
	More    bool // a record of the other end of the same change follows

	Unix UnixEvent // of a Unix socket
}

// PeerByInode stands for a peer that only its inode names. Of one that was not accepted
// yet that is 0.
const PeerByInode = ^uint64(0)

// UnixEvent is what only an event of a Unix socket has.
type UnixEvent struct {
	Name      []byte // without the NUL at the end of a file's name; valid during the call only
	Named     bool   // it is bound
	HasSocket bool   // false: it waits for accept()
	Peer      uint64 // cookie, or address, of the peer, or PeerByInode; 0: none
	PeerInode uint32
	PeerPID   uint32
	Listener  uint64 // cookie, or address, of the listener that it was made by; 0: none, or not known
	Backlog   uint32
}
