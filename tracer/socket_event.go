package tracer

import (
	"fmt"
	"syscall"
	"unsafe"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// The kinds of records of UDP, raw and Unix sockets (enum event_kind of headers/event.h).
const (
	kindSocket = uint8(streamEventKindEVENT_SOCKET)
	kindUnix   = uint8(streamEventKindEVENT_UNIX)
)

const (
	sizeSocket = int(unsafe.Sizeof(socketsSocketEvent{}))
	sizeUnix   = int(unsafe.Sizeof(socketsUnixEvent{}))
)

// ofSocket reports whether a record is one that decodeSocket reads.
func ofSocket(raw []byte) bool {
	return len(raw) >= sizeHead && (raw[kindOffset] == kindSocket || raw[kindOffset] == kindUnix)
}

// decodeSocket reads a record of ofSocket into e. It allocates nothing; a name is that of
// the record. A record of the wrong size is an error.
func decodeSocket(raw []byte, e *table.SocketEvent) error {
	want := sizeSocket
	if raw[kindOffset] == kindUnix {
		want = sizeUnix
	}
	if len(raw) != want {
		return sizeError(table.EventKind(raw[kindOffset]), len(raw))
	}
	*e = table.SocketEvent{}
	decodeSocketHead(raw, e)
	if err := decodeCall(raw, e); err != nil {
		return err
	}
	if want == sizeUnix {
		return decodeUnix(raw, e)
	}
	decodeAddrs(raw, &e.Local, &e.Remote)
	decodeAbort(raw, e)
	return nil
}

// decodeAbort reads the error of a socket that was aborted (udp_abort, net/ipv4/udp.c). Any
// other one came by a datagram before, and is not why the socket has no peer any more.
func decodeAbort(raw []byte, e *table.SocketEvent) {
	var b streamEvent
	err := syscall.Errno(native.Uint16(raw[unsafe.Offsetof(b.Err):]))
	if e.Kind == table.SocketDisconnect && err == syscall.ECONNABORTED {
		e.Err = err
	}
}

func decodeSocketHead(raw []byte, e *table.SocketEvent) {
	var h streamEventHead
	e.Time = native.Uint64(raw[unsafe.Offsetof(h.Time):])
	e.State = snapshot.State(raw[unsafe.Offsetof(h.NewState)])
	e.Netns = native.Uint32(raw[unsafe.Offsetof(h.Netns):])
	e.Sock = native.Uint64(raw[unsafe.Offsetof(h.Sk):])
	e.Cookie = native.Uint64(raw[unsafe.Offsetof(h.Cookie):])
	e.Task = native.Uint32(raw[unsafe.Offsetof(h.Task):])
	e.TID = native.Uint32(raw[unsafe.Offsetof(h.Tid):])
	var b streamEvent
	e.UID, e.HasUID = decodeUID(raw)
	e.Inode = native.Uint32(raw[unsafe.Offsetof(b.Inode):])
	e.Device = native.Uint32(raw[unsafe.Offsetof(b.Device):])
}

// decodeCall reads what a call has done.
func decodeCall(raw []byte, e *table.SocketEvent) error {
	var s socketsSocketEvent
	e.Kind = table.SocketChangeKind(raw[unsafe.Offsetof(s.Change)])
	if e.Kind > table.SocketClose {
		return fmt.Errorf("record of a socket: unknown change %d", e.Kind)
	}
	flags := socketsSocketFlag(raw[unsafe.Offsetof(s.Flags)])
	e.Shown = flags&socketsSocketFlagSOCKET_SHOWN != 0
	e.Auto = flags&socketsSocketFlagSOCKET_AUTO != 0
	e.Exiting = flags&socketsSocketFlagSOCKET_EXITING != 0
	e.Kernel = flags&socketsSocketFlagSOCKET_KERNEL != 0
	e.Intent = flags&socketsSocketFlagSOCKET_INTENT != 0
	e.More = flags&socketsSocketFlagSOCKET_MORE != 0
	e.Other = flags&socketsSocketFlagSOCKET_OTHER != 0
	e.Row = flags&socketsSocketFlagSOCKET_ROW != 0
	e.Type = raw[unsafe.Offsetof(s.Type)]
	e.Protocol = protocolOf(raw[unsafe.Offsetof(s.Protocol)], e.Type)
	e.CgroupID = native.Uint64(raw[unsafe.Offsetof(s.Cgroup):])
	copy(e.Thread[:], raw[unsafe.Offsetof(s.Thread):])
	return nil
}

// protocolOf returns the protocol of an Internet socket from its IPPROTO and its SOCK.
func protocolOf(number, kind uint8) snapshot.Protocol {
	switch {
	case kind == syscall.SOCK_RAW:
		return snapshot.Raw
	case number == syscall.IPPROTO_UDP:
		return snapshot.UDP
	default:
		return snapshot.UDPLite
	}
}

func decodeUnix(raw []byte, e *table.SocketEvent) error {
	var u socketsUnixEvent
	e.Protocol = snapshot.Unix
	flags := socketsUnixFlag(raw[unsafe.Offsetof(u.Flags)])
	n := int(native.Uint16(raw[unsafe.Offsetof(u.NameLen):]))
	if n > len(u.Name) {
		return fmt.Errorf("record of a Unix socket: name of %d bytes, at most %d", n, len(u.Name))
	}
	e.Unix = table.UnixEvent{
		Name:      raw[unsafe.Offsetof(u.Name):][:n:n],
		Named:     flags&socketsUnixFlagUNIX_HAS_NAME != 0,
		HasSocket: flags&socketsUnixFlagUNIX_HAS_SOCKET != 0,
		Peer:      native.Uint64(raw[unsafe.Offsetof(u.Peer):]),
		Listener:  native.Uint64(raw[unsafe.Offsetof(u.Listener):]),
		PeerInode: native.Uint32(raw[unsafe.Offsetof(u.PeerInode):]),
		PeerPID:   native.Uint32(raw[unsafe.Offsetof(u.PeerPid):]),
		Backlog:   native.Uint32(raw[unsafe.Offsetof(u.Backlog):]),
	}
	return nil
}
