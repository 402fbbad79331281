package table

import "github.com/nettrace/nettrace/snapshot"

// fulls follows full sockets: transitions, and ends.
type fulls struct {
	cfg     *Config
	rows    *rows
	life    *life
	owners  *Owners
	minis   *minis
	scan    *scan
	initial *initialTable

	ended     recent
	missed    []Event  // ends that only sock_ops reported, until the next Settle
	undecided waiting  // rows in stageUndecided
	spare     []*Event // that are not held any more, to be used again
	next      nextOn   // those of them that a CPU's next record decides
}

// apply handles a transition.
func (f *fulls) apply(e *Event) {
	if e.Old == snapshot.Close && e.New == snapshot.SynRecv { // a child of a listener that was closed meanwhile
		e.Old = snapshot.Listen
	}
	r := f.rows.ofFull(e)
	if r == nil && e.New == snapshot.Close && f.ended.has(e.key()) {
		// Another copy of the program reported the end, or it is that of a later life,
		// whose beginning no event reported.
		f.scan.unknownEnded(e)
		return
	}
	if r == nil {
		r = f.first(e)
	}
	if begins(e.Old, e.New) && r.State != e.Old && r.State != e.New || r.elsewhere(e) {
		// No event reported the end of a former life: the socket connects again, or
		// its address is used again.
		f.endMissed(r, e.Time)
		r = f.first(e)
	}
	f.proceed(r, e)
}

// proceed has r, which is the full socket of e, make the transition.
func (f *fulls) proceed(r *row, e *Event) {
	r.setUID(e)
	if e.Released && r.Local.Port() != 0 && r.State != snapshot.Listen { // those are found by it; see places
		r.Inode = 0
	}
	if r.State == e.New { // another copy of the program reported it, or the row has it
		r.last = e.Time
		f.learnPort(r, e)
		f.owners.useContext(r, e)
		return
	}
	f.rows.setLocal(r, e)
	r.setUID(e) // accept changes it
	f.move(r, e)
}

// learnPort takes the port of a connect that was reported before it had one.
func (f *fulls) learnPort(r *row, e *Event) {
	if e.New == snapshot.SynSent && r.Local.Port() == 0 && e.Local.Port() != 0 {
		f.rows.setLocal(r, e)
		f.life.portKnown(r)
	}
}

// move takes r from e.Old to e.New.
func (f *fulls) move(r *row, e *Event) {
	if r.State != e.Old && e.Old != 0 && r.State != 0 {
		f.life.transition(r, e.Old, e.Time, true) // no event reported it
	}
	switch e.New {
	case e.Old: // close() after shutdown() sets the state anew
		f.owners.useContext(r, e)
		return
	case snapshot.Close:
		f.end(r, e)
		return
	}
	if e.Old == snapshot.Close && e.Task != 0 {
		f.owners.setSocket(r, e)
	} else {
		f.owners.useContext(r, e)
	}
	f.owners.disinherit(r)
	f.life.transition(r, e.New, e.Time, false)
	if e.Old == snapshot.SynRecv && f.cfg.SeekOwners {
		f.owners.accepted(r, e.Time)
	}
}

// failedUnsent reports whether a connect failed before the hook that reports its first
// transition: no port was left, for one. The call made both transitions.
func (f *fulls) failedUnsent(e *Event) bool {
	return f.cfg.LateConnects && e.Old == snapshot.SynSent && e.New == snapshot.Close && e.Task != 0 && e.insideConnect() && e.SegsOut == 0
}

// begins reports whether the life of a socket can begin with a transition.
func begins(from, to snapshot.State) bool {
	switch from {
	case snapshot.Close:
		return to == snapshot.SynSent || to == snapshot.Listen
	case snapshot.Listen:
		return to == snapshot.SynRecv
	}
	return false
}

// first returns the row for the first event of a full socket: that of its request
// socket, one of /proc, or a new one.
func (f *fulls) first(e *Event) *row {
	if e.Old != snapshot.Close {
		if r := f.rows.ofTuple(e); r != nil && (r.stage == stageProc || r.stage == stageRequest) {
			f.scan.placeEnded(r.tuple(), e.Time) // the timer of the request stops about now
			f.add(r, e)
			return r
		}
	}
	r := f.newRow(e)
	f.add(r, e)
	if f.failedUnsent(e) {
		r.State, r.firstSeen = snapshot.Close, snapshot.Close
		f.owners.setSocket(r, e)
		f.life.transition(r, snapshot.SynSent, e.Time, false)
	}
	if e.Old == snapshot.SynRecv {
		f.scan.placeEnded(r.tuple(), e.Time)
		// No request socket (SYN cookies), or one that was not seen. The kernel made
		// this transition just before, without addresses to recognise it by.
		r.State, r.firstSeen = snapshot.Listen, snapshot.Listen
		f.life.transition(r, snapshot.SynRecv, e.Time, false)
	}
	return r
}

// newRow returns a row for the first event of a full socket, in no index yet.
func (f *fulls) newRow(e *Event) *row {
	r := f.rows.add(e)
	r.State = e.Old
	r.StartKnown = begins(e.Old, e.New) || e.Old == snapshot.SynRecv || f.failedUnsent(e)
	r.firstSeen = e.Old
	if !r.StartKnown {
		r.History.Add(e.Old)
	}
	switch {
	case e.Old == snapshot.Close && e.New == snapshot.SynSent, e.Old == snapshot.SynSent:
		r.Direction = Outgoing
	case e.Old == snapshot.Listen, e.Old == snapshot.SynRecv:
		f.owners.inherit(r, 0)
		if e.Old == snapshot.SynRecv && f.scan.state == scanInitial {
			r.Direction = DirectionUnknown // it may have been in SYN_SENT before the tracer
		}
	}
	return r
}

func (f *fulls) add(r *row, e *Event) {
	if former := f.rows.undecided[e.key()]; former != nil {
		f.decide(former) // no event said why the socket's former life ended
	}
	f.rows.setFull(r, e)
	f.ended.remove(r.key)
}

// end ends the full socket of r. What is left is a timewait socket or nothing.
func (f *fulls) end(r *row, e *Event) {
	f.owners.useContext(r, e)
	f.ended.add(e.key())
	f.scan.fullEnded(r, e.Time)
	f.rows.dropFull(r)
	if r.mini == 0 {
		f.claimTimewait(r, e)
	}
	if f.mayLearn(r, e) {
		f.leaveUndecided(r, e)
		return
	}
	f.life.conclude(r, e)
	if r.mini == 0 {
		f.life.end(r, e.Time, false)
		return
	}
	r.Inode, r.last = 0, e.Time
	f.minis.setState(r, r.miniState, e.Time, false)
}

// claimTimewait gives r the timewait socket that was born before it ended, where
// cookies do not tie the two together.
func (f *fulls) claimTimewait(r *row, e *Event) {
	from := f.rows.ofTuple(e)
	if from == nil || from.stage != stageUnclaimed {
		return
	}
	mini, state, dying := from.mini, from.miniState, from.dying
	if from.Cookie == 0 { // and gets one of its own when somebody asks
		r.Cookie = 0
	}
	f.rows.remove(from)
	f.rows.setTimewait(r, mini, state)
	if dying != 0 { // it is over already
		f.minis.stop(r, dying)
	}
}

// leavePending keeps a connection whose full socket ended until a scan has shown
// whether a timewait socket is left of it.
func (f *fulls) leavePending(r *row, e *Event) {
	f.life.conclude(r, e)
	f.rows.setPending(r, e.key())
	r.Inode, r.last = 0, e.Time
	f.scan.wanted = true
}

// settlePending ends what a scan that began at start found no timewait socket of.
func (f *fulls) settlePending(start uint64) {
	for key, r := range f.rows.pending {
		if r.last < start {
			f.rows.endPending(r, key)
			f.life.end(r, r.last, false)
		}
	}
}
