package table

import "github.com/nettrace/nettrace/snapshot"

// socketPass is the pass over the kernel's table that is under way.
type socketPass struct {
	number  uint32
	start   uint64 // its time; 0: none is under way
	initial bool   // it is the first one: until its end nothing is told of what it finds
	mends   bool   // events were lost: what it finds is inferred
	held    bool   // open files were read too
	covers  func(snapshot.Protocol) bool
	listed  []*socketRow // the initial table
	found   Resync
}

// BeginPass begins a pass over the sockets of some protocols. mends says that it is
// for what was lost, and not one of those by which a protocol is followed.
func (s *Sockets) BeginPass(now uint64, covers func(snapshot.Protocol) bool, initial, mends bool) {
	p := &s.pass
	*p = socketPass{number: p.number + 1, start: now, initial: initial, mends: mends, covers: covers}
}

// applyRow merges a row that a pass has read.
func (s *Sockets) applyRow(e *SocketEvent) {
	if e.Sock == 0 && (e.Cookie == 0 || e.Protocol == snapshot.Unix) { // of /proc, or with a new cookie
		s.index.needInodes()
	}
	if s.tombs.has(e.key()) {
		return
	}
	r := s.index.find(e)
	switch {
	case r == nil:
		r = s.add(e)
		s.found().Added++
		s.take(r, e)
	case r.last >= e.After || r.read > e.After:
		s.index.identify(r, e) // the event knows better
	default:
		r.read = e.Time
		s.compare(r, e)
	}
	s.show(r)
}

// applyRingRow merges a row of a pass that has its place in the ring.
func (s *Sockets) applyRingRow(e *SocketEvent) {
	if s.tombs.has(e.key()) || s.tombs.has(e.Sock) {
		return
	}
	r := s.index.find(e)
	if r == nil {
		if stale := s.index.at(e.Sock); stale != nil {
			s.vanish(stale, e.Time)
		}
		r = s.add(e)
		s.found().Added++
	}
	s.compare(r, e)
	s.show(r)
}

// compare takes what a pass shows of a row, and counts what that changes.
func (s *Sockets) compare(r *socketRow, e *SocketEvent) {
	reported := s.stats.Reported
	s.take(r, e)
	s.found().Changed += int(s.stats.Reported - reported)
}

// show notes that the pass under way has shown a row.
func (s *Sockets) show(r *socketRow) {
	r.pass, r.absent = s.pass.number, false
	if s.pass.initial {
		s.list(r)
	}
}

// list puts a row in the initial table, unless its socket was opened since the hooks
// were attached.
func (s *Sockets) list(r *socketRow) {
	if !r.listed && !r.StartKnown {
		r.listed = true
		s.pass.listed = append(s.pass.listed, r)
	}
}

// UseFile makes a process with an open file of a socket its owner, unless a better one
// is known. It reports whether the socket is in the table.
func (s *Sockets) UseFile(e *Event) bool {
	r := s.index.find(&SocketEvent{Cookie: e.Cookie, Sock: e.Sock, Inode: e.Inode})
	if r == nil || s.mayBeLater(r, e) {
		return false
	}
	s.pass.held = true
	r.pass = s.pass.number
	s.index.identify(r, &SocketEvent{Cookie: e.Cookie, Sock: e.Sock})
	if r.Owner.Process == nil {
		r.Owner = snapshot.Owner{Process: s.procs.ofFile(e), Source: snapshot.OwnerFiles}
	}
	if r.Inode == 0 {
		r.Inode = uint64(e.Inode)
	}
	return true
}

// mayBeLater reports whether an open file may be of a later socket at the address of r: where
// no hook tells the end of Unix sockets, and the inode of r is not known yet.
func (s *Sockets) mayBeLater(r *socketRow, e *Event) bool {
	return r.Unix != nil && r.Cookie == 0 && r.Inode != uint64(e.Inode) && !s.cfg.Closes(snapshot.Unix)
}

// OwnersDue reports whether there is a Unix socket that has come since a time, and has no
// owner: one that no hook told.
func (s *Sockets) OwnersDue(since uint64) bool {
	for r := range s.index.rows {
		if r.Unix != nil && r.Unix.HasSocket && r.Owner.Process == nil && r.Start >= since {
			return true
		}
	}
	return false
}

// FillOwners asks find for the owner of every socket that has none, by its inode.
func (s *Sockets) FillOwners(find func(inode uint64) *snapshot.Process) {
	for r := range s.index.rows {
		if r.Inode == 0 || r.Owner.Process != nil {
			continue
		}
		if p := find(r.Inode); p != nil {
			r.Owner = snapshot.Owner{Process: p, Source: snapshot.OwnerFiles}
		}
	}
}

// EndPass ends the pass: what it did not see is gone, once the one before did not see
// it either. visited says which namespaces were read to their end. again says that
// another pass is needed for that.
func (s *Sockets) EndPass(now uint64, visited func(netns uint32) bool) (found Resync, again bool) {
	p := &s.pass
	for r := range s.index.rows {
		if r.pass == p.number || r.last >= p.start || !p.covers(r.Protocol) || !visited(r.Netns) {
			continue
		}
		if r.Unix != nil && !r.Unix.HasSocket && !s.cfg.Waiting { // no pass sees it
			continue
		}
		again = s.missing(r, now) || again
	}
	p.start, s.index.byInode = 0, nil
	s.trimTombs(now)
	return p.found, again
}

// missing handles a row that the pass did not see, and reports whether the next one has
// to decide.
func (s *Sockets) missing(r *socketRow, now uint64) bool {
	if !r.Shown { // nothing but an open file shows it
		if s.pass.mends && s.pass.held {
			s.vanish(r, now)
		}
		return false
	}
	if !r.absent {
		r.absent = true
		return true
	}
	r.absent = false
	s.found().Removed++
	// Its end would have been told, unless it is the kernel's own: those no process holds,
	// nor does a hook tell of them that tells its address.
	if r.Unix == nil && s.cfg.Closes(r.Protocol) && !s.pass.mends && r.sock != 0 {
		s.hide(r, now)
	} else {
		s.vanish(r, now)
	}
	return false
}

func (s *Sockets) found() *Resync { return &s.pass.found }

// hide handles a socket that lives on without a row: AF_UNSPEC has taken its port.
func (s *Sockets) hide(r *socketRow, now uint64) {
	e := SocketEvent{
		Protocol: r.Protocol, Type: r.Type, State: snapshot.Close, Time: now, After: now,
		Netns: r.Netns, Device: r.Device, Local: zeroPort(r.Local), Remote: zeroPort(r.Remote),
	}
	if r.Protocol == snapshot.Raw {
		e.Local = r.Local // its protocol
	}
	s.take(r, &e)
}

// AbandonPass ends a pass that failed.
func (s *Sockets) AbandonPass() {
	s.pass.start, s.pass.initial, s.index.byInode = 0, false, nil
}

// InitialRows yields the initial table: what was there when the hooks were attached, as
// it is now. A row is valid until the next one.
func (s *Sockets) InitialRows(yield func(*Socket) bool) {
	for _, r := range s.pass.listed {
		if r.dead || !r.Shown {
			continue
		}
		if !yield(&r.Socket) {
			return
		}
	}
}

// CompleteInitial adds to the initial table what events alone have shown.
func (s *Sockets) CompleteInitial() {
	for r := range s.index.rows {
		if r.Shown {
			s.list(r)
		}
	}
}

// EndInitial drops the initial table, once it was reported. From here on everything is
// told.
func (s *Sockets) EndInitial() {
	for _, r := range s.pass.listed {
		r.listed = false
	}
	s.pass.listed, s.pass.initial = nil, false
}

// Trim forgets what is remembered of sockets that are gone. Call it now and then.
func (s *Sockets) Trim(now uint64) { s.trimTombs(now) }

func (s *Sockets) trimTombs(now uint64) {
	before := now - min(now, tombstoneAge)
	if s.pass.start != 0 {
		before = min(before, s.pass.start-min(s.pass.start, tombstoneAge))
	}
	s.tombs.trim(before)
}
