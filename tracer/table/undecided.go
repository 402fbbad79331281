package table

import (
	"syscall"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// Ends whose reason comes after them. The kernel sends a RST, and connect() returns
// its error, right after -> CLOSE, so the transition is held until then: the reason
// belongs to the record that follows it.

// mayLearn reports whether an event that comes next may say why a full socket ended.
func (f *fulls) mayLearn(r *row, e *Event) bool {
	switch {
	case !e.HasStats, r.mini != 0, r.ending != nil && r.ending.resetSent:
		return false
	case r.State == snapshot.SynSent:
		return f.cfg.Connects && e.insideConnect()
	case r.State == snapshot.LastAck:
		return f.cfg.Resets && e.lateData(r.State) && !e.AllAcked
	}
	return f.cfg.Resets && afterFIN(r.State) && (e.Err == 0 || e.lateData(r.State))
}

// connectGrace is how long an end inside connect() waits for the result of the call:
// the process may be preempted before it returns.
const connectGrace = uint64(time.Second)

// leaveUndecided holds the end of r.
func (f *fulls) leaveUndecided(r *row, e *Event) {
	f.life.endingOf(r).full = f.hold(e)
	f.rows.setUndecided(r, e.key())
	r.last = e.Time
	f.undecided.add(r)
	if e.HasStats && !e.Owned && e.CPU != 0 && !f.cfg.RealTime {
		f.next.set(e.CPU, r)
	}
}

// decideNext decides what ended last in a softirq of the CPU of e. The record of a RST,
// which names no CPU, would have come before e: it is sent in the same run
// (tcp_v4_do_rcv, tcp_v6_do_rcv), which neither another softirq nor a task interrupts.
func (f *fulls) decideNext(e *Event) {
	r := f.next.take(e.CPU)
	switch {
	case r == nil, r.stage != stageUndecided:
	case e.New == snapshot.Close && e.key() == r.ending.full.key(): // reported twice
		f.next.set(e.CPU, r)
	default:
		f.decide(r)
	}
}

// decide ends a row of stageUndecided by what is known of it.
func (f *fulls) decide(r *row) {
	e := r.ending.full
	r.ending.full = nil
	f.rows.endUndecided(r, e.key())
	f.life.conclude(r, e)
	f.life.end(r, e.Time, false)
	f.spare = append(f.spare, e)
}

// hold returns a copy of e. It is apart from what is known of an end, as connections may
// wait in FIN_WAIT2 by the thousand.
func (f *fulls) hold(e *Event) *Event {
	n := len(f.spare)
	if n == 0 {
		f.spare, n = append(f.spare, new(Event)), 1
	}
	held := f.spare[n-1]
	f.spare = f.spare[:n-1]
	*held = *e
	return held
}

// settleUndecided decides what no event came for.
func (f *fulls) settleUndecided(now uint64) {
	f.undecided.visit(func(ref *rowRef) bool {
		r := ref.row
		if r.stage != stageUndecided {
			return false
		}
		if now < undecidedUntil(r) {
			return true
		}
		f.decide(r)
		return false
	})
}

// reset handles a RST that was sent for a full socket. Before ESTABLISHED it answers
// a segment of another connection, and ends nothing (tcp_rcv_synsent_state_process).
func (f *fulls) reset(e *Event) {
	if r := f.rows.undecided[e.key()]; r != nil {
		if r.State != snapshot.SynSent {
			r.ending.resetSent = true
			f.decide(r)
		}
		return
	}
	if r := f.rows.ofFull(e); r != nil {
		f.resetSent(r)
	}
}

// resetSent takes that a RST was sent for r.
func (f *fulls) resetSent(r *row) {
	if afterFIN(r.State) || r.State == snapshot.Established || r.State == snapshot.CloseWait {
		f.life.endingOf(r).resetSent = true
	}
}

// connectFailed handles a connect that failed at once, or during which an ICMP error
// came. Most leave no transition behind.
func (f *fulls) connectFailed(e *Event) {
	if r := f.rows.undecided[e.key()]; r != nil {
		own := r.State == snapshot.SynSent
		if own {
			r.ending.connect = shortErrno(e.Err)
		}
		f.decide(r)
		if own {
			return
		}
	}
	r := f.rows.ofFull(e)
	switch {
	case r != nil && e.New == snapshot.SynSent && r.State == snapshot.SynSent:
		f.life.endingOf(r).icmp = shortErrno(e.Err)
	case r == nil && e.New == snapshot.Close:
		f.reportFailed(e)
	}
}

// reportFailed reports the close of a connection that never left CLOSE.
func (f *fulls) reportFailed(e *Event) {
	r := f.rows.add(e)
	r.State, r.StartKnown, r.Direction = snapshot.Close, true, Outgoing
	f.owners.setSocket(r, e)
	ending := f.life.endingOf(r)
	ending.Outcome, ending.Errno = hostOutcome(e.Err), e.Err
	if e.Err == syscall.EINVAL && e.Remote.Addr().IsLinkLocalUnicast() {
		ending.Outcome = OutcomeUnknown // it may be that the call names no interface
	}
	f.life.reportClose(r, e.Time, false)
	f.rows.remove(r)
}
