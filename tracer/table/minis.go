package table

import (
	"cmp"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// dyingGrace is how long silence has to last before it decides. A mini-socket whose
// timer stopped is either gone, or its timer starts again or its child appears: next,
// on the same CPU. So the next record of that CPU decides (see decide), and where
// none comes, silence.
const dyingGrace = uint64(50 * time.Millisecond)

// minis follows request sockets (SYN_RECV) and timewait sockets: what the kernel
// keeps of a connection before and after its full socket.
type minis struct {
	cfg    *Config
	rows   *rows
	life   *life
	owners *Owners
	scan   *scan

	dying     waiting // their timer stopped
	stopped   nextOn  // those of them that a CPU's next record decides
	unclaimed waiting // rows in stageUnclaimed
	finWait2  waiting // timewait sockets in FIN_WAIT2; empty unless Config.RefreshMinis
	told      waiting // timewait sockets of which nothing more is told; empty unless Config.Kept
}

// born handles the start of a mini-socket's timer.
func (m *minis) born(e *Event) {
	switch {
	case m.startedAgain(e):
	case e.New == snapshot.SynRecv:
		m.requestBorn(e)
	default:
		m.timewaitBorn(e)
	}
}

// bornOf handles the birth of the timewait socket of r, which ends.
func (m *minis) bornOf(r *row, e *Event) {
	if !m.startedAgain(e) {
		m.rows.setTimewait(r, e.Sock, e.New)
		r.last = e.Time
	}
}

// startedAgain reports whether e is about a mini-socket that there was before. Another one at
// its address has ended.
func (m *minis) startedAgain(e *Event) bool {
	for r := m.rows.ofMini(e); r != nil; r = m.rows.ofMini(e) {
		if r.sameMini(e) {
			r.dying = 0
			r.last = e.Time
			m.owners.relisten(r, e.Listener)
			m.setState(r, e.New, e.Time, false)
			return true
		}
		m.life.end(r, cmp.Or(r.dying, e.Time), r.dying == 0)
	}
	return false
}

// requestRow returns the row of a request socket that is born, in no index yet.
func (m *minis) requestRow(e *Event) *row {
	r := m.rows.add(e)
	r.State, r.firstSeen, r.StartKnown = snapshot.Listen, snapshot.Listen, true
	m.owners.inherit(r, e.Listener)
	return r
}

func (m *minis) requestBorn(e *Event) {
	r := m.requestRow(e)
	m.rows.setRequest(r, e.Sock)
	m.life.transition(r, e.New, e.Time, false)
}

func (m *minis) timewaitBorn(e *Event) {
	if r := m.rows.byKey[e.key()]; r != nil && e.Cookie != 0 {
		m.rows.setLocal(r, e)
		m.rows.setTimewait(r, e.Sock, e.New)
		r.last = e.Time
		return
	}
	if r := m.rows.pending[e.Cookie]; r != nil && e.Cookie != 0 {
		// No event reported its birth. Its timer was started again.
		m.foundTimewait(r, e.Cookie, e, e.Time)
		return
	}
	// Its full socket goes to CLOSE next, and finds it by its addresses.
	if r := m.rows.ofTuple(e); r != nil && r.stage == stageProc && !r.isMini() {
		m.rows.setTimewait(r, e.Sock, e.New)
		r.last = e.Time
		return
	}
	r := m.rows.add(e)
	r.State, r.firstSeen = e.New, e.New
	m.rows.setUnclaimed(r, e.Sock, e.New)
	m.unclaimed.add(r)
}

// foundTimewait gives a pending row the timewait socket that e is about. key is
// the one that it is pending by. Where e is a row of /proc, the cookie of r stands in for
// the address; without one, no event could be tied to r any more, and it stays pending.
func (m *minis) foundTimewait(r *row, key uint64, e *Event, at uint64) {
	mini := cmp.Or(e.Sock, r.Cookie)
	if mini == 0 {
		return
	}
	m.rows.endPending(r, key)
	m.rows.setTimewait(r, mini, e.New)
	m.setState(r, e.New, at, false)
}

// gone handles the end of a mini-socket's timer.
func (m *minis) gone(e *Event) {
	r := m.rows.ofMini(e)
	m.scan.miniEnded(r, e)
	if r != nil && r.dying == 0 {
		m.stop(r, e.Time)
		m.decideBy(e.CPU, r)
	}
}

// decideBy lets the next record of a CPU decide whether r is over.
func (m *minis) decideBy(cpu uint16, r *row) {
	if cpu == 0 || r.stage == stageUnclaimed || m.cfg.RealTime {
		return
	}
	m.stopped.set(cpu, r)
}

// decide ends the mini-socket whose timer stopped last on the CPU of e, unless e shows
// that it goes on. Nothing else can come between on that CPU: the timer is started
// again with interrupts off (__mod_timer, kernel/time/timer.c), or later in its own
// run (reqsk_timer_handler), and a child follows in the run of the packet that made it
// (tcp_check_req and tcp_child_process, Linux 5.10 to 7.2). Both are softirqs, which
// another one does not interrupt, nor a task.
func (m *minis) decide(e *Event) {
	if r := m.stopped.take(e.CPU); r != nil && r.dying != 0 && !m.goesOn(r, e) {
		m.life.end(r, r.dying, false)
	}
}

// goesOn reports whether e is what follows when the timer of r stops for no end.
func (m *minis) goesOn(r *row, e *Event) bool {
	switch e.Kind {
	case EventMiniBorn:
		return e.Sock == r.mini
	case EventState:
		return m.rows.ofTuple(e) == r
	}
	return false
}

// stop lets r end, unless its timer starts again or its child appears.
func (m *minis) stop(r *row, at uint64) {
	r.dying = at
	m.dying.add(r)
}

// reset handles a RST that was sent for a timewait socket or ended it. By the time
// that the latter is reported, the timer has stopped: a timewait socket whose timer
// runs is a later one at the same address.
func (m *minis) reset(e *Event) {
	r := m.rows.ofMini(e)
	if r == nil || r.State != snapshot.FinWait2 {
		return
	}
	switch {
	case e.Kind == EventResetSent:
		m.life.endingOf(r).resetSent = true
	case r.dying != 0:
		m.life.endingOf(r).resetCame = true
	}
}

// expired handles the report that a timewait socket waited for a FIN in vain.
func (m *minis) expired(e *Event) {
	if r := m.rows.ofMini(e); r != nil && r.sameMini(e) && r.State == snapshot.FinWait2 {
		m.life.endingOf(r).expired = true
	}
}

// settleDying ends the mini-sockets whose timer stopped for good.
func (m *minis) settleDying(now uint64) {
	m.dying.visit(func(ref *rowRef) bool {
		r := ref.row
		if r.dying != 0 && now < dyingUntil(r) {
			return true
		}
		if r.dying != 0 { // else it is alive after all, or a child took over
			m.life.end(r, r.dying, false)
		}
		return false
	})
}

// settleUnclaimed reports the timewait sockets whose full socket was never seen.
func (m *minis) settleUnclaimed(now uint64) {
	m.unclaimed.visit(func(ref *rowRef) bool {
		r := ref.row
		if r.stage == stageUnclaimed && now < unclaimedUntil(r) {
			return true
		}
		if r.stage == stageUnclaimed {
			m.rows.claim(r)
			r.History.Add(r.State)
			if m.cfg.Kept != nil && r.State == snapshot.TimeWait {
				m.told.add(r)
			} else if m.scan.state != scanInitial && !r.listed { // else it is in the initial table
				m.life.appear(r, r.Start)
			}
		}
		return false
	})
}

// change handles a report that a timewait socket left FIN_WAIT2.
func (m *minis) change(e *Event) {
	if r := m.rows.ofMini(e); r != nil && r.sameMini(e) {
		m.setState(r, e.New, e.Time, false)
		return
	}
	m.scan.leftFinWait2(e)
}

// setState reports a timewait socket's state, and with TIME_WAIT the close: the
// connection is over, though its timewait socket lives another minute. Outside of a scan
// r may be packed or dropped then: it must not be used any more.
func (m *minis) setState(r *row, state snapshot.State, at uint64, inferred bool) {
	r.miniState = state
	switch r.stage {
	case stageFull: // the full socket's state counts
		return
	case stageUnclaimed: // reported once its full socket is known
		r.State = state
		return
	}
	if state == snapshot.FinWait2 && m.cfg.RefreshMinis {
		m.finWait2.add(r)
	}
	if r.State == state {
		return
	}
	if state != snapshot.TimeWait || r.account == told {
		m.life.transition(r, state, at, inferred)
		return
	}
	if ending := m.life.endingOf(r); ending.Outcome == OutcomeUnknown {
		ending.Outcome = Finished
	}
	m.life.lastTransition(r, state, at, inferred)
	if m.cfg.Kept != nil {
		m.drop(r)
		return
	}
	m.rows.pack(r)
}

// drop drops a timewait socket of which nothing more is told. During a scan its row may be in
// use: then dropTold does.
func (m *minis) drop(r *row) {
	if m.scan.state != scanNone || r.stage != stageTimewait {
		m.told.add(r)
		return
	}
	m.rows.remove(r)
}

// dropTold drops those that drop has left.
func (m *minis) dropTold() {
	m.told.visit(func(ref *rowRef) bool {
		if ref.row.stage == stageTimewait {
			m.rows.remove(ref.row)
		}
		return false
	})
}

// nextFinWait2 is NextFinWait2.
func (m *minis) nextFinWait2(most int, look func(sock, cookie uint64)) {
	m.finWait2.rotate(most, func(r *row) bool {
		if r.stage == stageFull || r.mini == 0 || r.miniState != snapshot.FinWait2 {
			return false
		}
		if !r.hasAddress() { // a scan has to look
			m.scan.wanted = true
			return true
		}
		look(r.mini, r.Cookie)
		return true
	})
}
