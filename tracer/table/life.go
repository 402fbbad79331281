package table

import "github.com/nettrace/nettrace/snapshot"

// life moves rows from state to state, and reports each step.
type life struct {
	cfg    *Config
	rows   *rows
	report func(*Change)
	change Change  // that is reported, one after another
	ended  *Closed // of the transition that is reported, if it ends the connection
	stats  Stats
	begun  bool      // the initial table is complete
	noPort waiting   // rows with awaitsPort
	spare  []*ending // to be used again
}

// transition moves r to a state and reports it. The first transition of a socket
// that has no local port yet is reported later: the kernel chooses the port next.
func (l *life) transition(r *row, to snapshot.State, at uint64, inferred bool) {
	l.portKnown(r)
	from := r.State
	l.enter(r, to, at)
	if l.cfg.ReportsPort && from == snapshot.Close && !inferred && r.Local.Port() == 0 {
		r.awaitsPort = true
		l.noPort.add(r)
		return
	}
	l.count(r)
	l.change = Change{Kind: ChangeState, Time: at, Conn: &r.Conn, Old: from, New: to, Inferred: inferred, Close: l.ended}
	l.emit()
}

// enter moves r to a state.
func (l *life) enter(r *row, to snapshot.State, at uint64) {
	if r.State == snapshot.Listen {
		l.rows.listeners.end(r, at)
	}
	r.State = to
	r.last = at
	r.History.Add(to)
	switch to {
	case snapshot.Established:
		if r.StartKnown {
			r.Established = at
		}
	case snapshot.FinWait1:
		r.firstToClose(Local)
	case snapshot.CloseWait:
		r.firstToClose(Remote)
	case snapshot.Listen:
		l.rows.listeners.add(r)
	}
}

// walk moves r to a state without a report.
func (l *life) walk(r *row, to snapshot.State, at uint64) {
	l.enter(r, to, at)
	l.count(r)
}

// lastTransition moves r to the state in which its connection ends, and reports that
// and the close. Both changes carry how it ended.
func (l *life) lastTransition(r *row, to snapshot.State, at uint64, inferred bool) {
	l.portKnown(r)
	l.ended = l.closed(r)
	l.transition(r, to, at, inferred)
	l.ended = nil
	l.reportClose(r, at, inferred)
}

// closed returns all that is known of the end of r.
func (l *life) closed(r *row) *Closed {
	ending := l.endingOf(r)
	ending.ClosedBy = r.closedBy
	if ending.Outcome == OutcomeUnknown {
		ending.Outcome = ending.withoutLast(r)
	}
	return &ending.Closed
}

// count has r counted as a connection, if it is an open one. What was there before
// is counted once the initial table is complete.
func (l *life) count(r *row) {
	if r.account == counted || !r.open() || !r.StartKnown && !l.begun {
		return
	}
	r.account = counted
	l.stats.Opened++
}

// countBefore counts the open connections of the initial table.
func (l *life) countBefore() {
	for r := range l.rows.all {
		if r.account != counted && r.open() {
			r.account = counted
			l.stats.Before++
		}
	}
	l.begun = true
}

// countClosed counts the end of r. It was not counted before if it was there before
// the tracer and ends while the initial table is read.
func (l *life) countClosed(r *row) {
	if r.account != counted && r.StartKnown {
		l.stats.Opened++
	} else if r.account != counted {
		l.stats.Before++
	}
	r.account = uncounted
	l.stats.Closed++
	if r.Established == 0 && r.StartKnown {
		l.stats.Failed++
	}
}

// uncount has r, which was there before the tracer, not counted: it is dropped.
func (l *life) uncount(r *row) {
	if r.account == counted {
		r.account = uncounted
		l.stats.Before--
	}
}

// discount has r, which began since, not counted: it is dropped.
func (l *life) discount(r *row) {
	if r.account == counted {
		r.account = uncounted
		l.stats.Opened--
	}
}

// portKnown reports the transition that waited for the local port, if one did.
func (l *life) portKnown(r *row) {
	if r.awaitsPort {
		l.reportFirst(r)
	}
}

func (l *life) reportFirst(r *row) {
	r.awaitsPort = false
	l.count(r)
	l.change = Change{Kind: ChangeState, Time: r.Start, Conn: &r.Conn, Old: snapshot.Close, New: r.State}
	l.emit()
}

// settlePorts reports what has waited for a port too long: a connect that the
// first write completes (TCP_FASTOPEN_CONNECT), or a port that no event carried.
func (l *life) settlePorts(now uint64) {
	l.noPort.visit(func(ref *rowRef) bool {
		r := ref.row
		if r.awaitsPort && now < portUntil(r) {
			return true
		}
		l.portKnown(r)
		return false
	})
}

// appear reports a socket that no event announced.
func (l *life) appear(r *row, at uint64) {
	l.count(r)
	l.change = Change{Kind: ChangeState, Time: at, Conn: &r.Conn, Old: snapshot.Close, New: r.State, Inferred: true}
	l.emit()
}

// ownerChanged reports that the owner of r is found, or not known any more. Where
// nothing was reported of r yet, its first transition will have it.
func (l *life) ownerChanged(r *row, at uint64) {
	if r.awaitsPort || r.stage == stageUnclaimed {
		return
	}
	l.change = Change{Kind: ChangeOwner, Time: at, Conn: &r.Conn}
	l.emit()
}

// end reports the last transition of r and its close, and removes it. TIME_WAIT
// has reported the close already, and a listener has none.
func (l *life) end(r *row, at uint64, inferred bool) {
	if r.State == snapshot.TimeWait || r.State == snapshot.Listen || r.account == told {
		l.transition(r, snapshot.Close, at, inferred)
	} else {
		l.lastTransition(r, snapshot.Close, at, inferred)
	}
	l.rows.remove(r)
}

func (l *life) reportClose(r *row, at uint64, inferred bool) {
	closed := l.closed(r)
	l.countClosed(r)
	l.change = Change{Kind: ChangeClose, Time: at, Conn: &r.Conn, Close: closed, Inferred: inferred}
	l.emit()
	l.spare = append(l.spare, r.ending)
	r.ending = nil
}

// endingOf returns the place for what is known of the end of r. It is apart from
// the row, as it is larger than that and few connections need it at a time.
func (l *life) endingOf(r *row) *ending {
	if r.ending != nil {
		return r.ending
	}
	if n := len(l.spare); n > 0 {
		r.ending, l.spare = l.spare[n-1], l.spare[:n-1]
		*r.ending = ending{}
	} else {
		r.ending = new(ending)
	}
	return r.ending
}

// emit passes l.change on. Where closes alone are told, that is what ends a connection.
func (l *life) emit() {
	if l.cfg.Kept != nil && l.change.Close == nil {
		return
	}
	l.stats.Reported++
	l.report(&l.change)
}
