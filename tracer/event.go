package tracer

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"github.com/nettrace/nettrace/snapshot"
)

// EventKind tells what the kernel said; headers/event.h describes each.
type EventKind uint8

// The kinds of event.
const (
	EventState     = EventKind(streamEventKindEVENT_STATE)
	EventMissed    = EventKind(streamEventKindEVENT_MISSED)
	EventPort      = EventKind(streamEventKindEVENT_PORT)
	EventAccept    = EventKind(streamEventKindEVENT_ACCEPT)
	EventRelease   = EventKind(streamEventKindEVENT_RELEASE)
	EventMiniBorn  = EventKind(streamEventKindEVENT_MINI_BORN)
	EventMiniGone  = EventKind(streamEventKindEVENT_MINI_GONE)
	EventMiniState = EventKind(streamEventKindEVENT_MINI_STATE)
	EventRow       = EventKind(streamEventKindEVENT_ROW)
	EventRowsEnd   = EventKind(streamEventKindEVENT_ROWS_END)
	EventFile      = EventKind(streamEventKindEVENT_FILE)
	EventProcess   = EventKind(streamEventKindEVENT_PROCESS)
)

// Event is what the kernel said: one record of the ring buffer. Fields that the
// kind does not carry are zero.
type Event struct {
	Kind     EventKind
	Old, New snapshot.State
	Mini     bool   // the row is a request or timewait socket
	Time     uint64 // CLOCK_MONOTONIC, ns
	Sock     uint64 // address of the socket
	Cookie   uint64 // 0: the kernel does not tell it
	Netns    uint32
	PID, TID uint32 // 0: not in the context of a process
	UID      uint32
	Inode    uint32
	Local    netip.AddrPort
	Remote   netip.AddrPort
	Err      syscall.Errno
	CgroupID uint64
	Thread   [16]byte

	RecvQ, SendQ             uint32 // EventRow
	HasStats                 bool   // EventState to Close
	BytesSent, BytesReceived uint64
	SegsOut, SegsIn, Retrans uint32
	RTT, MinRTT              uint32 // µs

	Process *Process // EventProcess
}

// key identifies the socket: by its cookie, and by its address on kernels that
// do not tell the cookie. Addresses lie in the upper half, cookies count from 1.
func (e *Event) key() uint64 {
	if e.Cookie != 0 {
		return e.Cookie
	}
	return e.Sock
}

// newSynRecv is TCP_NEW_SYN_RECV (include/net/tcp_states.h), the state of a
// request socket, shown as SYN_RECV.
const newSynRecv = 12

const (
	afInet      = 2
	afInet6     = 10
	kindOffset  = unsafe.Offsetof(streamEventHead{}.Kind)
	sizeHead    = int(unsafe.Sizeof(streamEventHead{}))
	sizeEvent   = int(unsafe.Sizeof(streamEvent{}))
	sizeOwner   = int(unsafe.Sizeof(streamOwnerEvent{}))
	sizeClose   = int(unsafe.Sizeof(streamCloseEvent{}))
	sizeRow     = int(unsafe.Sizeof(streamRowEvent{}))
	sizeProcess = int(unsafe.Sizeof(streamProcessEvent{}))
)

// decode reads one record of the ring buffer into e. It allocates for
// EventProcess only. A record of unknown kind or of the wrong size is an error.
func decode(raw []byte, e *Event) error {
	if len(raw) < sizeHead {
		return fmt.Errorf("record of %d bytes: too short for its head of %d", len(raw), sizeHead)
	}
	*e = Event{Kind: EventKind(raw[kindOffset])}
	switch e.Kind {
	case EventProcess:
		return decodeProcess(raw, e)
	case EventState:
		switch len(raw) {
		case sizeEvent:
		case sizeOwner:
			decodeOwner(raw, e)
		case sizeClose:
			decodeClose(raw, e)
		default:
			return sizeError(e.Kind, len(raw))
		}
		decodeBody(raw, e)
	case EventMissed, EventPort, EventMiniBorn:
		if len(raw) != sizeEvent {
			return sizeError(e.Kind, len(raw))
		}
		decodeBody(raw, e)
	case EventAccept:
		if len(raw) != sizeOwner {
			return sizeError(e.Kind, len(raw))
		}
		decodeOwner(raw, e)
		decodeBody(raw, e)
	case EventRow:
		if len(raw) != sizeRow {
			return sizeError(e.Kind, len(raw))
		}
		decodeBody(raw, e)
		decodeRow(raw, e)
	case EventRelease, EventMiniGone, EventMiniState, EventFile:
		if len(raw) != sizeHead {
			return sizeError(e.Kind, len(raw))
		}
	case EventRowsEnd:
		if len(raw) != sizeRow {
			return sizeError(e.Kind, len(raw))
		}
	default:
		return fmt.Errorf("record of unknown kind %d", e.Kind)
	}
	decodeHead(raw, e)
	return nil
}

func sizeError(kind EventKind, n int) error {
	return fmt.Errorf("record of kind %d has %d bytes", kind, n)
}

var native = binary.NativeEndian

func decodeHead(raw []byte, e *Event) {
	var h streamEventHead
	e.Time = native.Uint64(raw[unsafe.Offsetof(h.Time):])
	e.Old = snapshot.State(raw[unsafe.Offsetof(h.OldState)])
	e.New = snapshot.State(raw[unsafe.Offsetof(h.NewState)])
	e.Netns = native.Uint32(raw[unsafe.Offsetof(h.Netns):])
	e.Sock = native.Uint64(raw[unsafe.Offsetof(h.Sk):])
	e.Cookie = native.Uint64(raw[unsafe.Offsetof(h.Cookie):])
	e.PID = native.Uint32(raw[unsafe.Offsetof(h.Pid):])
	e.TID = native.Uint32(raw[unsafe.Offsetof(h.Tid):])
	if e.Kind == EventRow {
		e.Mini = e.Old == snapshot.TimeWait || e.Old == newSynRecv
		e.Old = 0
	}
}

func decodeBody(raw []byte, e *Event) {
	var b streamEvent
	e.UID = native.Uint32(raw[unsafe.Offsetof(b.Uid):])
	e.Inode = native.Uint32(raw[unsafe.Offsetof(b.Inode):])
	e.Err = syscall.Errno(native.Uint16(raw[unsafe.Offsetof(b.Err):]))
	local := raw[unsafe.Offsetof(b.LocalAddr):][:16]
	remote := raw[unsafe.Offsetof(b.RemoteAddr):][:16]
	localPort := native.Uint16(raw[unsafe.Offsetof(b.LocalPort):])
	remotePort := native.Uint16(raw[unsafe.Offsetof(b.RemotePort):])
	if raw[unsafe.Offsetof(b.Head.Family)] == afInet {
		e.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(local)), localPort)
		e.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte(remote)), remotePort)
		return
	}
	e.Local = netip.AddrPortFrom(netip.AddrFrom16([16]byte(local)), localPort)
	e.Remote = netip.AddrPortFrom(netip.AddrFrom16([16]byte(remote)), remotePort)
}

func decodeOwner(raw []byte, e *Event) {
	var o streamOwnerEvent
	e.CgroupID = native.Uint64(raw[unsafe.Offsetof(o.Cgroup):])
	copy(e.Thread[:], raw[unsafe.Offsetof(o.Thread):])
}

func decodeClose(raw []byte, e *Event) {
	var c streamCloseEvent
	e.HasStats = true
	e.BytesSent = native.Uint64(raw[unsafe.Offsetof(c.BytesSent):])
	e.BytesReceived = native.Uint64(raw[unsafe.Offsetof(c.BytesReceived):])
	e.SegsOut = native.Uint32(raw[unsafe.Offsetof(c.SegsOut):])
	e.SegsIn = native.Uint32(raw[unsafe.Offsetof(c.SegsIn):])
	e.Retrans = native.Uint32(raw[unsafe.Offsetof(c.Retrans):])
	e.RTT = native.Uint32(raw[unsafe.Offsetof(c.RttUs):])
	e.MinRTT = native.Uint32(raw[unsafe.Offsetof(c.MinRttUs):])
}

func decodeRow(raw []byte, e *Event) {
	var r streamRowEvent
	e.CgroupID = native.Uint64(raw[unsafe.Offsetof(r.Cgroup):])
	e.RecvQ = native.Uint32(raw[unsafe.Offsetof(r.RecvQ):])
	e.SendQ = native.Uint32(raw[unsafe.Offsetof(r.SendQ):])
}

func decodeProcess(raw []byte, e *Event) error {
	var p streamProcessEvent
	if len(raw) != sizeProcess {
		return sizeError(e.Kind, len(raw))
	}
	n := native.Uint32(raw[unsafe.Offsetof(p.CmdlineLen):])
	if int(n) > len(p.Cmdline) {
		return fmt.Errorf("process record: command line of %d bytes, at most %d", n, len(p.Cmdline))
	}
	e.Time = native.Uint64(raw[unsafe.Offsetof(p.Time):])
	e.PID = native.Uint32(raw[unsafe.Offsetof(p.Pid):])
	e.Process = &Process{
		PID:     e.PID,
		Comm:    cString(raw[unsafe.Offsetof(p.Comm):][:len(p.Comm)]),
		Cmdline: trimNUL(string(raw[unsafe.Offsetof(p.Cmdline):][:n])),
	}
	return nil
}
