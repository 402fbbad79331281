package tracer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

const (
	afInet      = 2
	afInet6     = 10
	kindOffset  = unsafe.Offsetof(streamEventHead{}.Kind)
	sizeHead    = int(unsafe.Sizeof(streamEventHead{}))
	sizeEvent   = int(unsafe.Sizeof(streamEvent{}))
	sizeOwner   = int(unsafe.Sizeof(streamOwnerEvent{}))
	sizeClose   = int(unsafe.Sizeof(streamCloseEvent{}))
	sizeProcess = int(unsafe.Sizeof(streamProcessEvent{}))
	sizeExe     = int(unsafe.Sizeof(streamExeEvent{}))
	sizeFile    = int(unsafe.Sizeof(streamFileEvent{}))
	sizeRequest = int(unsafe.Sizeof(streamRequestEvent{}))
)

// decode reads one record of the ring buffer into e. It allocates for
// EventProcess and EventExe only. A record of unknown kind or of the wrong size is an error.
func decode(raw []byte, e *table.Event) error {
	if len(raw) < sizeHead {
		return fmt.Errorf("record of %d bytes: too short for its head of %d", len(raw), sizeHead)
	}
	*e = table.Event{Kind: table.EventKind(raw[kindOffset])}
	switch e.Kind {
	case table.EventProcess:
		return decodeProcess(raw, e)
	case table.EventExe:
		return decodeExe(raw, e)
	case table.EventState:
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
	case table.EventMiniBorn:
		switch len(raw) {
		case sizeEvent:
		case sizeRequest:
			e.Listener = native.Uint64(raw[unsafe.Offsetof(streamRequestEvent{}.Listener):])
		default:
			return sizeError(e.Kind, len(raw))
		}
		decodeBody(raw, e)
	case table.EventMissed, table.EventPort:
		if len(raw) != sizeEvent {
			return sizeError(e.Kind, len(raw))
		}
		decodeBody(raw, e)
	case table.EventAccept, table.EventConnectFailed:
		if len(raw) != sizeOwner {
			return sizeError(e.Kind, len(raw))
		}
		decodeOwner(raw, e)
		decodeBody(raw, e)
	case table.EventFile:
		if len(raw) != sizeFile {
			return sizeError(e.Kind, len(raw))
		}
		decodeFile(raw, e)
	case table.EventRelease, table.EventMiniGone, table.EventMiniState, table.EventMiniExpired,
		table.EventResetSent, table.EventResetCame:
		if len(raw) != sizeHead {
			return sizeError(e.Kind, len(raw))
		}
	default:
		return fmt.Errorf("record of unknown kind %d", e.Kind)
	}
	decodeHead(raw, e)
	return nil
}

func sizeError(kind table.EventKind, n int) error {
	return fmt.Errorf("record of kind %d has %d bytes", kind, n)
}

var native = binary.NativeEndian

func decodeHead(raw []byte, e *table.Event) {
	var h streamEventHead
	e.Time = native.Uint64(raw[unsafe.Offsetof(h.Time):])
	e.Old = snapshot.State(raw[unsafe.Offsetof(h.OldState)])
	e.New = snapshot.State(raw[unsafe.Offsetof(h.NewState)])
	e.Netns = native.Uint32(raw[unsafe.Offsetof(h.Netns):])
	e.Sock = native.Uint64(raw[unsafe.Offsetof(h.Sk):])
	e.Cookie = native.Uint64(raw[unsafe.Offsetof(h.Cookie):])
	e.Task = native.Uint32(raw[unsafe.Offsetof(h.Task):])
	e.TID = native.Uint32(raw[unsafe.Offsetof(h.Tid):])
	if e.Kind == table.EventMiniGone { // no process makes it: its place has the CPU
		e.CPU, e.TID = uint16(e.TID), 0
	}
}

func decodeBody(raw []byte, e *table.Event) {
	var b streamEvent
	e.UID, e.HasUID = decodeUID(raw)
	e.Inode = native.Uint32(raw[unsafe.Offsetof(b.Inode):])
	e.Device = native.Uint32(raw[unsafe.Offsetof(b.Device):])
	e.Released = raw[unsafe.Offsetof(b.Released)] != 0
	e.CPU = native.Uint16(raw[unsafe.Offsetof(b.Cpu):])
	e.Err = syscall.Errno(native.Uint16(raw[unsafe.Offsetof(b.Err):]))
	decodeAddrs(raw, &e.Local, &e.Remote)
}

// decodeAddrs reads the addresses and ports of an event in place.
func decodeAddrs(raw []byte, at, to *netip.AddrPort) {
	var b streamEvent
	local := raw[unsafe.Offsetof(b.LocalAddr):][:16]
	remote := raw[unsafe.Offsetof(b.RemoteAddr):][:16]
	localPort := native.Uint16(raw[unsafe.Offsetof(b.LocalPort):])
	remotePort := native.Uint16(raw[unsafe.Offsetof(b.RemotePort):])
	if raw[unsafe.Offsetof(b.Head.Family)] == afInet {
		*at = netip.AddrPortFrom(netip.AddrFrom4([4]byte(local)), localPort)
		*to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(remote)), remotePort)
		return
	}
	*at = netip.AddrPortFrom(netip.AddrFrom16([16]byte(local)), localPort)
	*to = netip.AddrPortFrom(netip.AddrFrom16([16]byte(remote)), remotePort)
}

// uidUnknown is UID_UNKNOWN in headers/event.h.
const uidUnknown = ^uint32(0)

// decodeUID reads the user, if it is known. A timewait socket has none in the kernel.
func decodeUID(raw []byte) (uid uint32, known bool) {
	var b streamEvent
	uid = native.Uint32(raw[unsafe.Offsetof(b.Uid):])
	if uid == uidUnknown {
		return 0, false
	}
	return uid, true
}

func decodeOwner(raw []byte, e *table.Event) {
	var o streamOwnerEvent
	e.CgroupID = native.Uint64(raw[unsafe.Offsetof(o.Cgroup):])
	copy(e.Thread[:], raw[unsafe.Offsetof(o.Thread):])
}

func decodeClose(raw []byte, e *table.Event) {
	var c streamCloseEvent
	e.HasStats = true
	e.BytesSent = native.Uint64(raw[unsafe.Offsetof(c.BytesSent):])
	e.BytesReceived = native.Uint64(raw[unsafe.Offsetof(c.BytesReceived):])
	e.BytesRetrans = native.Uint64(raw[unsafe.Offsetof(c.BytesRetrans):])
	e.BytesOut = native.Uint64(raw[unsafe.Offsetof(c.BytesOut):])
	e.SegsOut = native.Uint32(raw[unsafe.Offsetof(c.SegsOut):])
	e.SegsIn = native.Uint32(raw[unsafe.Offsetof(c.SegsIn):])
	e.Retrans = native.Uint32(raw[unsafe.Offsetof(c.Retrans):])
	e.RTT = native.Uint32(raw[unsafe.Offsetof(c.RttUs):])
	e.MinRTT = native.Uint32(raw[unsafe.Offsetof(c.MinRttUs):])
	e.ErrSoft = syscall.Errno(native.Uint16(raw[unsafe.Offsetof(c.ErrSoft):]))
	e.SocketState = raw[unsafe.Offsetof(c.SocketState)]
	flags := streamCloseFlag(raw[unsafe.Offsetof(c.Flags)])
	e.RcvShutdown = flags&streamCloseFlagCLOSE_RCV_SHUTDOWN != 0
	e.SendShutdown = flags&streamCloseFlagCLOSE_SEND_SHUTDOWN != 0
	e.GotFIN = flags&streamCloseFlagCLOSE_GOT_FIN != 0
	e.AllSent = flags&streamCloseFlagCLOSE_ALL_SENT != 0
	e.AllAcked = flags&streamCloseFlagCLOSE_ALL_ACKED != 0
	e.Owned = flags&streamCloseFlagCLOSE_OWNED != 0
}

func decodeProcess(raw []byte, e *table.Event) error {
	var p streamProcessEvent
	if len(raw) != sizeProcess {
		return sizeError(e.Kind, len(raw))
	}
	n := native.Uint32(raw[unsafe.Offsetof(p.CmdlineLen):])
	if int(n) > len(p.Cmdline) {
		return fmt.Errorf("process record: command line of %d bytes, at most %d", n, len(p.Cmdline))
	}
	cmdline := raw[unsafe.Offsetof(p.Cmdline):][:n]
	if raw[unsafe.Offsetof(p.Title)] != 0 {
		cmdline, _, _ = bytes.Cut(cmdline, []byte{0})
	}
	e.Time = native.Uint64(raw[unsafe.Offsetof(p.Time):])
	e.Task = native.Uint32(raw[unsafe.Offsetof(p.Task):])
	e.Exec = raw[unsafe.Offsetof(p.Exec)] != 0
	e.Process = &snapshot.Process{
		PID:     int(native.Uint32(raw[unsafe.Offsetof(p.Pid):])),
		Comm:    unix.ByteSliceToString(raw[unsafe.Offsetof(p.Comm):][:len(p.Comm)]),
		Cmdline: trimNUL(string(cmdline)),
	}
	return nil
}

func decodeExe(raw []byte, e *table.Event) error {
	var x streamExeEvent
	if len(raw) != sizeExe {
		return sizeError(e.Kind, len(raw))
	}
	e.Time = native.Uint64(raw[unsafe.Offsetof(x.Time):])
	e.Task = native.Uint32(raw[unsafe.Offsetof(x.Task):])
	e.Process = new(snapshot.Process)
	const end = len(x.Path) / 2 // EXE_MAX
	start := int(native.Uint16(raw[unsafe.Offsetof(x.Start):]))
	if start >= end {
		return nil // not known
	}
	e.Process.Exe = string(raw[unsafe.Offsetof(x.Path):][start:end])
	if raw[unsafe.Offsetof(x.Deleted)] != 0 {
		e.Process.Exe += " (deleted)" // as /proc/PID/exe shows it
	}
	return nil
}

func decodeFile(raw []byte, e *table.Event) {
	var f streamFileEvent
	e.PID = native.Uint32(raw[unsafe.Offsetof(f.Pid):])
	e.Inode = uint32(native.Uint64(raw[unsafe.Offsetof(f.Inode):]))
	e.Start = native.Uint64(raw[unsafe.Offsetof(f.Start):])
	e.MPTCP = native.Uint32(raw[unsafe.Offsetof(f.Mptcp):]) != 0
	copy(e.Thread[:], raw[unsafe.Offsetof(f.Comm):][:len(f.Comm)])
	e.CgroupID = native.Uint64(raw[unsafe.Offsetof(f.Cgroup):])
	e.UID, e.HasUID = native.Uint32(raw[unsafe.Offsetof(f.Uid):]), true
}
