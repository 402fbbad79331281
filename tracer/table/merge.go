package table

import "github.com/nettrace/nettrace/snapshot"

// A row of the kernel's table has no place among the events: it was read at some moment
// between Event.After and Event.Time. By the time that it is applied, all events up to
// Event.Time were. So it shows nothing that the table does not know, unless an event was
// lost; but it may be older than the table, where events of its socket came since
// Event.After. What the events do not explain is asked for alone: see doubts.go.

// merger applies rows of the kernel's table, and answers to what they leave in doubt.
type merger struct {
	cfg     *Config
	rows    *rows
	life    *life
	minis   *minis
	fulls   *fulls
	scan    *scan
	initial *initialTable
}

// relation says what a row of the kernel's table is to the row that the table has.
type relation uint8

const (
	agrees      relation = iota // the socket is as the row shows it
	older                       // it was, and events since explain the rest
	contradicts                 // no event explains what the row shows
)

// applyRow handles a row of the kernel's table.
func (m *merger) applyRow(e *Event) {
	if m.scan.state == scanNone {
		return // of a scan that was abandoned
	}
	if m.cfg.ScansOnly {
		m.applyPolled(e)
		return
	}
	if m.cfg.Kept != nil && m.scan.state == scanLater && e.Cookie != 0 {
		m.scan.shown[e.Cookie] = e.Mini
	}
	m.scan.endings.forget(e.After)
	m.prepare(e)
	if e.tornDown() {
		return
	}
	if m.rows.shows(e) {
		return
	}
	r := m.rows.ofRow(e)
	if r == nil {
		m.applyUnknown(e)
		return
	}
	rel := m.relate(r, e)
	if rel != contradicts {
		m.see(r, e, rel)
		return
	}
	r.scan = m.scan.number
	switch {
	case m.refreshes(r, e):
		m.believe(r, e)
	case m.scan.state == scanInitial: // the next scan, which follows it, asks
		m.scan.again = true
		m.list(r)
	case e.Cookie != 0:
		m.scan.ask(Question{Head: e.head(), row: r, id: r.ID})
	case r.recent(e): // of /proc, which cannot be asked for one socket
		m.scan.again = true
	default:
		m.believe(r, e)
	}
}

// prepare makes the indexes fit for a row.
func (m *merger) prepare(e *Event) {
	if e.Cookie == 0 && !m.rows.places.fulls {
		m.rows.openPlaces(m.scan.number, true)
	}
	if e.Mini {
		e.Sock = e.Cookie // which stands in for the address
	}
}

// tornDown reports whether the row shows a socket that is at its end. The kernel gives
// the port back before it stores and reports the last state (tcp_set_state,
// net/ipv4/tcp.c).
func (e *Event) tornDown() bool { return e.New == snapshot.Close || e.Local.Port() == 0 }

// head returns what identifies the socket of a row.
func (e *Event) head() snapshot.Head {
	return snapshot.Head{Netns: e.Netns, Device: e.Device, Local: e.Local, Remote: e.Remote, Cookie: e.Cookie}
}

// recent reports whether an event of r came since the row of the kernel's table may have
// been read, or so short a time before that the kernel may not have stored yet what the
// event reported.
func (r *row) recent(e *Event) bool { return r.last+rowGrace >= e.After }

// isMini reports whether r is a request or timewait socket.
func (r *row) isMini() bool {
	return r.onlyMini() || r.stage == stagePending ||
		r.stage == stageProc && (r.State == snapshot.TimeWait || r.State == snapshot.SynRecv && r.Inode == 0)
}

// relate compares a row of the kernel's table with the row that the table has.
func (m *merger) relate(r *row, e *Event) relation {
	switch {
	case r.dying != 0:
		return older
	case r.stage == stagePending:
		return m.relatePending(r, e)
	case !r.sameSocket(e): // it has another life, with the same cookie
		return unlessRecent(r, e)
	case r.isMini() && e.Mini:
		return relateMinis(r, e)
	case r.isMini():
		return relateChild(r, e)
	case e.Mini && e.New == snapshot.SynRecv: // its request, before it was complete
		return unlessRecent(r, e)
	case r.State == e.New && (!e.Mini || r.stage == stageProc): // in FIN_WAIT2, r may be a timewait socket too
		return agrees
	case e.Mini:
		return contradicts // its timewait socket, and no event of its end
	case r.recent(e) && r.History.has(e.New):
		return older
	}
	return contradicts
}

// unlessRecent is the relation of a row that shows what r cannot be any more.
func unlessRecent(r *row, e *Event) relation {
	if r.recent(e) {
		return older
	}
	return contradicts
}

// relatePending compares a row with a connection of which a timewait socket may be left.
// A full socket ended since.
func (m *merger) relatePending(r *row, e *Event) relation {
	if e.Mini && e.New != snapshot.SynRecv {
		for key, p := range m.rows.pending {
			if p == r {
				m.minis.foundTimewait(r, key, e, r.last)
				break
			}
		}
	}
	return older
}

// relateMinis compares a row of a mini-socket with one that the table has.
func relateMinis(r *row, e *Event) relation {
	switch {
	case r.State == e.New:
		return agrees
	case r.State == snapshot.TimeWait && e.New == snapshot.FinWait2:
		return older
	case r.State == snapshot.FinWait2 && e.New == snapshot.TimeWait:
		return contradicts
	}
	return unlessRecent(r, e)
}

// refreshes reports whether a row shows that a timewait socket left FIN_WAIT2, where no
// event tells that: it is as good as a refresh.
func (m *merger) refreshes(r *row, e *Event) bool {
	return m.cfg.RefreshMinis && r.stage == stageTimewait && r.State == snapshot.FinWait2 &&
		e.Mini && e.New == snapshot.TimeWait && r.sameSocket(e)
}

// relateChild compares a row of a full socket with a mini-socket of the same place.
func relateChild(r *row, e *Event) relation {
	if r.stage == stageRequest && e.New == snapshot.SynRecv {
		return older // the child of the request: its first event is about to come
	}
	if r.stage == stageRequest {
		return contradicts
	}
	return unlessRecent(r, e)
}

// applyUnknown handles a row of a socket that the table does not have.
func (m *merger) applyUnknown(e *Event) {
	switch {
	case m.cfg.keeps(e), m.scan.outdated(e, m.cfg.LateCookies), m.rows.undecided[e.Cookie] != nil && e.Cookie != 0:
	case m.scan.state == scanInitial:
		m.addRow(e)
	case e.Cookie != 0:
		m.scan.ask(Question{Head: e.head()})
	case !e.Mini: // of /proc
		m.addRow(e)
	}
}

// addRow makes the row of a socket that no event has reported.
func (m *merger) addRow(e *Event) {
	r := m.addScanned(e)
	switch {
	case e.Cookie == 0:
		m.rows.setProc(r)
	case !e.Mini:
		m.fulls.add(r, e)
	case e.New == snapshot.SynRecv:
		m.rows.setRequest(r, e.Sock)
	default:
		m.rows.setTimewait(r, e.Sock, e.New)
		m.minis.setState(r, e.New, r.last, false)
	}
	m.see(r, e, agrees)
}

// addScanned makes the row of a socket that no event has reported, in no index.
func (m *merger) addScanned(e *Event) *row {
	r := m.rows.add(e)
	r.State, r.firstSeen = e.New, e.New
	r.last = e.After
	switch {
	case e.New == snapshot.SynSent:
		r.Direction = Outgoing
	case e.Mini && e.New == snapshot.SynRecv: // a full socket may be one of two that connect to each other
		r.Direction = Incoming
	}
	r.History.Add(e.New)
	if e.New == snapshot.Listen {
		m.rows.listeners.add(r)
	}
	if m.toldBefore(e) {
		r.account = told
	}
	if m.scan.state != scanInitial {
		m.scan.found.Added++
		m.life.appear(r, e.Time)
	}
	return r
}

// toldBefore reports whether a row that the table does not have is the timewait socket of
// a connection whose close was reported: its full socket ended, and no event told that
// this is left.
func (m *merger) toldBefore(e *Event) bool {
	if !e.Mini || e.New == snapshot.SynRecv {
		return false
	}
	return m.fulls.ended.has(e.key()) || m.cfg.UnseenMinis && m.scan.state == scanLater
}

// see takes what a row of the kernel's table says of r. What events have told since it
// was read, they know better.
func (m *merger) see(r *row, e *Event, rel relation) {
	r.scan, r.absent = m.scan.number, false
	if rel == agrees {
		m.learn(r, e)
	}
	if r.Local.Port() == 0 && r.sameSocket(e) {
		m.rows.setLocal(r, e)
	}
	if r.stage == stageUnclaimed && r.dying == 0 && e.After > r.Start+rowGrace { // it was there before: its timer was started again
		m.rows.claim(r)
		r.History.Add(r.State)
	}
	m.list(r)
	if rel == agrees && m.scan.movedOn(e) {
		m.minis.setState(r, snapshot.TimeWait, e.Time, false)
	}
}

// learn takes what a row of r, in the state that it is in, knows besides.
func (m *merger) learn(r *row, e *Event) {
	recent := r.recent(e) && r.last != e.After // else the row made r
	if e.Mini {
		if r.Cookie == 0 && !recent {
			r.Cookie = e.Cookie
		}
		return
	}
	r.RecvQ, r.SendQ = uint64(e.RecvQ), uint64(e.SendQ)
	if r.CgroupID == 0 {
		r.CgroupID = e.CgroupID
	}
	if !recent || !r.HasUID {
		r.setUID(e)
	}
	if recent {
		return
	}
	if r.Cookie == 0 {
		r.Cookie = e.Cookie
	}
	if r.Inode != uint64(e.Inode) {
		setInode(m.rows, r, e.Inode)
	}
}

// believe makes r what a row of the kernel's table shows, against the events.
func (m *merger) believe(r *row, e *Event) {
	switch {
	case r.stage == stageTimewait && e.Mini && e.New == snapshot.TimeWait && r.sameSocket(e):
		inferred := !m.cfg.RefreshMinis // else the refresh that was due would have found it
		m.minis.setState(r, e.New, e.Time, inferred)
		if inferred {
			m.scan.found.Changed++
		}
	case r.stage == stageRequest && !e.Mini && r.sameSocket(e) && e.Cookie != 0:
		m.scan.found.Changed++
		m.fulls.add(r, e)
		m.life.transition(r, e.New, e.Time, true)
	case r.stage == stageFull && e.Mini && e.New != snapshot.SynRecv && e.Cookie != 0 && r.sameSocket(e):
		m.replace(r, e)
	case !r.isMini() && !e.Mini && r.sameSocket(e):
		m.scan.found.Changed++
		m.life.transition(r, e.New, e.Time, true)
	default: // another socket
		m.vanish(r, e.Time)
		if e.Cookie != 0 || !e.Mini {
			m.addRow(e)
		}
		return
	}
	m.see(r, e, agrees)
}

// replace leaves a timewait socket of a full one whose end no event reported.
func (m *merger) replace(r *row, e *Event) {
	m.scan.found.Changed++
	if r.mini == 0 {
		m.rows.setTimewait(r, e.Sock, e.New)
	}
	m.fulls.ended.add(r.key)
	m.rows.dropFull(r)
	r.Inode = 0
	m.minis.setState(r, e.New, e.Time, true)
}

// vanish ends r, whose end no event reported.
func (m *merger) vanish(r *row, at uint64) {
	m.scan.found.Removed++
	if r.stage == stageFull {
		m.fulls.ended.add(r.key)
		m.fulls.endMissed(r, at)
		return
	}
	m.life.end(r, at, true)
}

// list puts r in the initial table, during the initial scan.
func (m *merger) list(r *row) {
	if m.scan.state == scanInitial {
		m.initial.list(r)
	}
}

// applyPolled handles a row of /proc where there are no events. A listener is known by
// its inode, as several may share an address (SO_REUSEPORT), everything else by its
// 4-tuple.
func (m *merger) applyPolled(e *Event) {
	var r *row
	byInode := e.New == snapshot.Listen && e.Inode != 0
	if byInode {
		e.Sock = uint64(e.Inode)
		r = m.rows.byKey[e.key()]
	} else {
		r = m.rows.ofTuple(e)
	}
	if r != nil && !r.sameSocket(e) {
		m.vanish(r, e.Time)
		r = nil
	}
	switch {
	case r != nil:
	case byInode:
		r = m.addScanned(e)
		m.fulls.add(r, e)
	default:
		r = m.addScanned(e)
		m.rows.setProc(r)
	}
	r.scan = m.scan.number
	r.RecvQ, r.SendQ, r.Inode = uint64(e.RecvQ), uint64(e.SendQ), uint64(e.Inode)
	r.setUID(e)
	if r.State != e.New {
		m.scan.found.Changed++
		m.life.transition(r, e.New, e.Time, true)
	}
	m.list(r)
}
