package tracer

import (
	"net/netip"
	"syscall"
	"unsafe"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

const (
	sizeLife    = offsetLife + int(unsafe.Offsetof(streamLife{}.Family)) // of a record
	sizeDropped = int(unsafe.Sizeof(streamDroppedEvent{}))
	offsetLife  = int(unsafe.Offsetof(streamLifeEvent{}.Life))
)

// decodeStory reads a record of what the kernel side kept of a connection. It allocates
// nothing but the steps of the first one.
func decodeStory(raw []byte, s *table.Story) error {
	if len(raw) != sizeLife {
		return sizeError(table.EventStory, len(raw))
	}
	end, steps := raw[:offsetLife], s.Steps
	*s = table.Story{End: table.Event{Kind: table.EventState}}
	decodeClose(end, &s.End)
	decodeBody(end, &s.End)
	decodeHead(end, &s.End)
	decodeLife(raw[offsetLife:], s)
	s.Steps = decodeSteps(raw[offsetLife:], steps[:0])
	return nil
}

func decodeLife(raw []byte, s *table.Story) {
	var l streamLife
	s.Start = native.Uint64(raw[unsafe.Offsetof(l.Start):])
	s.Established = native.Uint64(raw[unsafe.Offsetof(l.Established):])
	s.Moved = native.Uint64(raw[unsafe.Offsetof(l.Moved):])
	s.Used = native.Uint64(raw[unsafe.Offsetof(l.UsedAt):])
	s.Listener = native.Uint64(raw[unsafe.Offsetof(l.Listener):])
	s.Timewait = native.Uint64(raw[unsafe.Offsetof(l.Timewait):])
	s.Substate = snapshot.State(raw[unsafe.Offsetof(l.Substate)])
	s.ICMP = syscall.Errno(native.Uint16(raw[unsafe.Offsetof(l.Icmp):]))
	s.End.Task = native.Uint32(raw[unsafe.Offsetof(l.Used):])
	s.End.TID = native.Uint32(raw[unsafe.Offsetof(l.UsedTid):])
	s.End.Known = native.Uint64(raw[unsafe.Offsetof(l.UsedKnown):])
	decodeCaller(raw[unsafe.Offsetof(l.By):], &s.Caller)
	flags := streamLifeFlag(raw[unsafe.Offsetof(l.Flags)])
	s.Incoming = flags&streamLifeFlagLIFE_INCOMING != 0
	s.Request = flags&streamLifeFlagLIFE_REQUEST != 0
	s.Owned = flags&streamLifeFlagLIFE_OWNED != 0
	s.Accepted = flags&streamLifeFlagLIFE_ACCEPTED != 0
	s.ResetSent = flags&streamLifeFlagLIFE_RESET_SENT != 0
}

func decodeCaller(raw []byte, e *table.Event) {
	var c streamCaller
	e.CgroupID = native.Uint64(raw[unsafe.Offsetof(c.Cgroup):])
	e.Known = native.Uint64(raw[unsafe.Offsetof(c.Known):])
	e.Task = native.Uint32(raw[unsafe.Offsetof(c.Task):])
	e.TID = native.Uint32(raw[unsafe.Offsetof(c.Tid):])
	copy(e.Thread[:], raw[unsafe.Offsetof(c.Thread):])
}

// decodeUnended makes a story of what is kept of a connection whose end nobody saw.
func decodeUnended(cookie uint64, l *streamLife, s *table.Story) {
	raw, steps := unsafe.Slice((*byte)(unsafe.Pointer(l)), unsafe.Sizeof(*l)), s.Steps
	*s = table.Story{End: table.Event{Kind: table.EventState, Cookie: cookie, Netns: l.Netns, Device: l.Device}}
	s.End.Local = addrPort(l.Family, l.LocalAddr, l.LocalPort)
	s.End.Remote = addrPort(l.Family, l.RemoteAddr, l.RemotePort)
	decodeLife(raw, s)
	s.Steps = decodeSteps(raw, steps[:0])
}

// addrPort returns an address in the form of headers/event.h.
func addrPort(family uint8, addr [16]uint8, port uint16) netip.AddrPort {
	if family == afInet {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(addr), port)
}

// decodeSteps reads the states that a connection went through. Each byte has the former one
// in its upper half.
func decodeSteps(raw []byte, steps []table.Step) []table.Step {
	var l streamLife
	walk := raw[unsafe.Offsetof(l.Walk):][:len(l.Walk)]
	for _, s := range walk[:min(int(raw[unsafe.Offsetof(l.Steps)]), len(walk))] {
		steps = append(steps, table.Step{Old: snapshot.State(s >> 4), New: snapshot.State(s & 15)})
	}
	return steps
}

// decodeDropped reads a record of a request that never became a connection, and when it
// was gone.
func decodeDropped(raw []byte, e *table.Event) (gone uint64, err error) {
	if len(raw) != sizeDropped {
		return 0, sizeError(table.EventDropped, len(raw))
	}
	*e = table.Event{Kind: table.EventMiniBorn}
	e.Listener = native.Uint64(raw[unsafe.Offsetof(streamRequestEvent{}.Listener):])
	decodeBody(raw, e)
	decodeHead(raw, e)
	return native.Uint64(raw[unsafe.Offsetof(streamDroppedEvent{}.Gone):]), nil
}
