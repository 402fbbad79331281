package table

import (
	"bytes"

	"github.com/nettrace/nettrace/snapshot"
)

// SocketConfig is what the table has to know of its sources. It does not change.
type SocketConfig struct {
	// Closes says of which protocols a hook reports the end of sockets: then a socket that
	// is in no file of /proc any more still lives.
	Closes func(snapshot.Protocol) bool
	// Polled says of which protocols some changes are found by reading the table alone.
	Polled func(snapshot.Protocol) bool
	// Waiting says that passes show Unix sockets that wait for accept() too.
	Waiting bool
	// Family is AF_INET or AF_INET6 where sockets of the other one are not traced; else 0.
	Family uint16
}

// SocketStats counts what happened to the table of sockets.
type SocketStats struct {
	Open     uint64 // that are there now
	Before   uint64 // that were there in the initial table
	Opened   uint64 // that began, or appeared, since
	Closed   uint64 // that ended
	Reported uint64 // changes
}

// Sockets keeps every UDP, raw and Unix socket that is traced: rows that events and
// passes over the kernel's table bring. It is fed by one goroutine, in the order of the
// ring buffer.
//
// Each event has the whole row, read after its place in the ring was reserved. So the
// last one is the row, and one that comes twice changes nothing. The rows of a pass have
// no place there: one counts where the socket had no event since it was read, and not at
// all once the socket is gone.
//
// What a protocol adds to the head of a row, and what of it is told, say its rules.
type Sockets struct {
	cfg    SocketConfig
	rules  [snapshot.Unix + 1]socketRules
	index  socketIndex
	tombs  tombstones
	pass   socketPass
	looks  socketLooks
	procs  *Processes
	report func(*SocketChange)
	change SocketChange
	closed SocketClosed
	before SocketBefore // the row as it was, during take
	stats  SocketStats
}

// socketRules are what differs by protocol.
type socketRules interface {
	// take sets what the protocol adds to the head of a row.
	take(r *socketRow, e *SocketEvent)
	// told says what is reported of an event, once its row was taken; SocketSeen: nothing.
	told(r *socketRow, before *SocketBefore, e *SocketEvent) SocketChangeKind
	// gone is called when a row leaves the table, once that was reported.
	gone(r *socketRow)
}

// socketRow is one socket of the table, and what the merge needs besides.
type socketRow struct {
	Socket
	sock   uint64 // address; 0: not known yet
	last   uint64 // time of the last event
	read   uint64 // a row of a pass that was read before this says nothing new
	pass   uint32 // the last pass that saw it, or its open file
	absent bool   // the pass before did not see it
	listed bool   // it is in the initial table
	quiet  bool   // nothing is told of it yet: see unixRules
	dead   bool   // it left the table
	intent intent
	end    UnixEnd // of a Unix socket
}

// intent is a call that a hook has told before it was made. The row shows what came of it.
type intent struct {
	task, tid uint32
	cgroup    uint64
	thread    [16]byte
}

// NewSockets returns an empty table. It passes every change to report; it is valid
// during the call.
func NewSockets(cfg SocketConfig, procs *Processes, report func(*SocketChange)) *Sockets {
	s := &Sockets{cfg: cfg, index: newSocketIndex(), tombs: newTombstones(), procs: procs, report: report}
	inet := datagramRules{}
	s.rules = [...]socketRules{
		snapshot.TCP: inet, snapshot.UDP: inet, snapshot.UDPLite: inet, snapshot.Raw: inet, snapshot.Unix: unixRules{s, make(map[unixName][]*socketRow)},
	}
	return s
}

// Stats returns the counters.
func (s *Sockets) Stats() SocketStats {
	stats := s.stats
	stats.Open = uint64(len(s.index.rows))
	return stats
}

// All yields every socket, in no order.
func (s *Sockets) All(yield func(*Socket) bool) {
	for r := range s.index.rows {
		if !yield(&r.Socket) {
			return
		}
	}
}

// Apply merges an event, or a row that was read.
func (s *Sockets) Apply(e *SocketEvent) {
	s.looks.now = max(s.looks.now, e.Time)
	switch {
	case e.After != 0:
		s.applyRow(e)
	case e.Row:
		s.applyRingRow(e)
	case e.Kind == SocketSeen:
		if r := s.index.find(e); r != nil {
			s.take(r, e)
		}
	case e.Kind == SocketClose:
		if r := s.index.find(e); r != nil {
			s.take(r, e) // it may show a connect that no hook could tell
			s.end(r, e)
		}
		s.tombs.add(e.key(), e.Time)
	default:
		s.applyCall(e)
	}
}

// applyCall merges a call on a socket.
func (s *Sockets) applyCall(e *SocketEvent) {
	if e.Kind == SocketOpen {
		s.tombs.drop(e.key())
	} else if e.Other && s.tombs.has(e.key()) {
		return
	}
	r := s.index.find(e)
	again := e.Inode != 0 && r != nil && r.Inode == uint64(e.Inode)                  // by a second copy of the program
	if r != nil && e.Kind == SocketOpen && r.StartKnown && r.Cookie == 0 && !again { // another one at its address
		s.vanish(r, e.Time)
		r = nil
	}
	if r == nil {
		if stale := s.index.at(e.Sock); stale != nil {
			s.vanish(stale, e.Time)
		}
		r = s.add(e)
	}
	s.take(r, e)
}

// add makes a row for the socket of an event.
func (s *Sockets) add(e *SocketEvent) *socketRow {
	r := s.index.add(e)
	r.Start, r.StartKnown = e.Time, e.Kind == SocketOpen && e.After == 0
	if s.pass.initial && !r.StartKnown {
		s.stats.Before++
	} else {
		s.stats.Opened++
	}
	return r
}

// take sets the row by an event and reports what that changes.
func (s *Sockets) take(r *socketRow, e *SocketEvent) {
	before := &s.before
	*before = SocketBefore{State: r.State, Head: r.Head, Shown: r.Shown}
	s.index.identify(r, e)
	r.take(e)
	s.rules[r.Protocol].take(r, e)
	if e.After == 0 {
		r.last = e.Time
	}
	s.own(r, e)
	if kind := s.rules[r.Protocol].told(r, before, e); kind != SocketSeen {
		s.tell(r, kind, before, e)
	}
	if e.Intent {
		s.intend(r, e)
	}
	if s.outside(r) {
		s.remove(r)
	}
}

// take sets what every socket has.
func (r *socketRow) take(e *SocketEvent) {
	r.Protocol, r.Type, r.State, r.Shown = e.Protocol, e.Type, e.State, e.Shown
	r.Netns, r.Device = e.Netns, e.Device
	r.Local, r.Remote = e.Local, e.Remote
	if e.Inode != 0 {
		r.Inode = uint64(e.Inode)
	}
	if e.HasUID {
		r.UID, r.HasUID = e.UID, true
	}
	if e.After != 0 {
		r.RecvQ, r.SendQ = e.RecvQ, e.SendQ
		if r.CgroupID == 0 {
			r.CgroupID = e.CgroupID
		}
	}
}

// outside reports whether a socket is not traced any more: it became one of the other
// address family (IPV6_ADDRFORM).
func (s *Sockets) outside(r *socketRow) bool {
	const afInet = 2
	if s.cfg.Family == 0 || !r.Local.IsValid() {
		return false
	}
	return r.Local.Addr().Is4() != (s.cfg.Family == afInet)
}

// own makes the calling process the owner, where the call is one that does.
func (s *Sockets) own(r *socketRow, e *SocketEvent) {
	switch e.Kind {
	case SocketOpen, SocketBind, SocketConnect, SocketListen, SocketAccept:
	default:
		return
	}
	if e.Task == 0 || e.Kernel || e.Intent || e.Other || r.Unix != nil && !r.Unix.HasSocket {
		return
	}
	s.ownBy(r, &intent{e.Task, e.TID, e.CgroupID, e.Thread})
}

// ownBy makes the process of a call the owner. If the record of the process was lost,
// the socket is nobody's.
func (s *Sockets) ownBy(r *socketRow, call *intent) {
	r.Owner = snapshot.Owner{}
	if p := s.procs.get(call.task, 0); p != nil {
		r.Owner = snapshot.Owner{Process: p, TID: call.tid, Source: snapshot.OwnerSocket}
		if name, _, _ := bytes.Cut(call.thread[:], []byte{0}); string(name) != p.Comm {
			r.Owner.Thread = call.thread
		}
	}
	if call.cgroup != 0 {
		r.CgroupID = call.cgroup
	}
}

// tell reports a change of a row that stays.
func (s *Sockets) tell(r *socketRow, kind SocketChangeKind, before *SocketBefore, e *SocketEvent) {
	if kind == SocketConnect && r.intent.task != 0 {
		s.ownBy(r, &r.intent)
		r.intent = intent{}
	}
	r.History.Add(kind)
	s.change = SocketChange{
		Kind: kind, Source: s.sourceOf(e), Auto: e.Auto, Errno: e.Err, Time: e.Time, Socket: &r.Socket, Old: *before,
	}
	s.emit(r)
}

// sourceOf says how the change of an event is known. What a row shows that was told for
// something else, or read, no hook has told.
func (s *Sockets) sourceOf(e *SocketEvent) SocketSource {
	switch {
	case e.Kind == SocketClose || e.Intent:
		return SocketInferred
	case e.Kind != SocketSeen:
		return e.Source
	case e.After != 0 || e.Row:
		return s.readSource(e.Protocol)
	}
	return SocketPolled
}

// readSource says how a change is known that a pass found.
func (s *Sockets) readSource(p snapshot.Protocol) SocketSource {
	if s.pass.mends || !s.cfg.Polled(p) {
		return SocketInferred
	}
	return SocketPolled
}

// end reports that a socket is gone, and removes it.
func (s *Sockets) end(r *socketRow, e *SocketEvent) {
	s.closed = SocketClosed{Duration: e.Time - min(r.Start, e.Time), Reason: r.reason(e), Closer: s.procs.get(e.Task, 0)}
	s.close(r, e.Time, e.Source)
}

// reason says why the kernel reports that a socket is gone. A Unix socket of a process that
// a kernel thread closes was in flight.
func (r *socketRow) reason(e *SocketEvent) SocketReason {
	switch {
	case e.Kernel && r.Protocol == snapshot.Unix && r.Owner.Process != nil:
		return ReasonCollected
	case e.Kernel:
		return ReasonKernel
	case e.Exiting:
		return ReasonExit
	case e.Task != 0:
		return ReasonClose
	}
	return ReasonUnknown
}

// vanish reports that a socket is gone whose end nothing has reported.
func (s *Sockets) vanish(r *socketRow, at uint64) {
	s.closed = SocketClosed{Duration: at - min(r.Start, at)}
	s.close(r, at, s.readSource(r.Protocol))
}

// close reports the end as s.closed has it.
func (s *Sockets) close(r *socketRow, at uint64, source SocketSource) {
	s.stats.Closed++
	s.change = SocketChange{
		Kind: SocketClose, Source: source, Time: at, Socket: &r.Socket, Closed: &s.closed,
		Old: SocketBefore{State: r.State, Head: r.Head, Shown: r.Shown},
	}
	s.emit(r)
	s.remove(r)
}

func (s *Sockets) remove(r *socketRow) {
	s.rules[r.Protocol].gone(r)
	s.index.remove(r)
}

// emit passes s.change on. Nothing is told of what was there before the initial table, as
// that has the rows as they are when it is handed over.
func (s *Sockets) emit(r *socketRow) {
	if r.quiet || s.pass.initial && !r.StartKnown {
		return
	}
	s.stats.Reported++
	s.report(&s.change)
}
