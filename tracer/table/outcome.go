package table

import (
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// ending is what is known of the end of a connection.
type ending struct {
	Closed               // what is reported of it
	full      *Event     // in stageUndecided: the end of the full socket
	connect   shortErrno // what connect() returned at once
	icmp      shortErrno // an ICMP error that came while connect() held the socket
	resetSent bool       // a RST was sent
	resetCame bool       // a RST ended the timewait socket
	expired   bool       // the timewait socket waited for a FIN in vain
}

// shortErrno is a syscall.Errno, which is 4095 at most (MAX_ERRNO, include/linux/err.h).
type shortErrno uint16

const (
	socketNone        = 0 // there is no struct socket: nobody accepted it
	socketUnconnected = 1 // SS_UNCONNECTED (include/uapi/linux/net.h)
)

// conclude decides how the full socket ended.
func (l *life) conclude(r *row, e *Event) {
	n := l.endingOf(r)
	outcome := n.outcome(r, e)
	n.Closed = Closed{
		Outcome:       outcome,
		Errno:         n.errno(r, e, outcome),
		HasStats:      e.HasStats,
		BytesSent:     e.bytesSent(r.Direction),
		BytesReceived: e.BytesReceived,
		BytesRetrans:  e.BytesRetrans,
		SegsOut:       e.SegsOut,
		SegsIn:        e.SegsIn,
		Retrans:       e.Retrans,
		RTT:           e.RTT,
		MinRTT:        e.MinRTT,
	}
	if !e.sentFIN(r.State) && r.closedBy == Local {
		r.closedBy = SideUnknown
		if e.GotFIN {
			r.closedBy = Remote
		}
	}
	switch {
	case n.resetSent, outcome == ResetLocal:
		r.firstToClose(Local)
	case outcome == ResetRemote, outcome == Refused:
		r.firstToClose(Remote)
	}
}

// bytesSent returns how many bytes of data were sent, each counted once.
func (e *Event) bytesSent(d Direction) uint64 {
	switch {
	case d == Outgoing && e.SegsOut > 0 && e.BytesOut > 0:
		return e.BytesOut - 1 // the SYN
	case d == Incoming:
		return e.BytesOut
	case d == DirectionUnknown && e.BytesSent >= e.BytesRetrans:
		return e.BytesSent - e.BytesRetrans
	}
	return 0
}

// outcome decides by the state that the full socket was in last, sk_err, and what
// else its end has shown. sk_err alone may be an error that nobody took and that did
// not end the connection (IP_RECVERR).
func (n *ending) outcome(r *row, e *Event) Outcome {
	switch {
	case r.State == snapshot.SynSent, r.State == snapshot.SynRecv && r.Direction == Outgoing:
		return n.connectOutcome(e)
	case r.State == snapshot.SynRecv:
		return HandshakeDropped
	case r.mini != 0:
		return OutcomeUnknown // the timewait socket decides
	case r.State == snapshot.Established, r.State == snapshot.CloseWait:
		return n.openOutcome(e)
	}
	return n.finOutcome(r.State, e)
}

// openOutcome is the outcome of a connection to which this side sent no FIN.
// __tcp_close sets SEND_SHUTDOWN before it changes the state, tcp_done after it: with
// it, close() ends the connection, by a RST. So do connect(AF_UNSPEC), and the close
// of a listener for what nobody accepted (inet_csk_listen_stop).
func (n *ending) openOutcome(e *Event) Outcome {
	switch {
	case e.SendShutdown:
		return ResetLocal
	case e.Err == 0 && (e.Owned || n.resetSent || e.HasStats && e.SocketState == socketNone):
		return ResetLocal
	}
	return lostOutcome(e.Err)
}

// finOutcome is the outcome of a connection to which this side sent a FIN, and that
// left no timewait socket.
func (n *ending) finOutcome(last snapshot.State, e *Event) Outcome {
	switch {
	case last == snapshot.LastAck && e.HasStats && e.AllAcked: // our FIN was the last
		return Finished
	case e.Err == 0 && !e.HasStats && (last == snapshot.LastAck || last == snapshot.Closing):
		return Finished
	case n.resetSent && (e.Err == 0 || e.lateData(last)):
		return ResetLocal
	case e.Err == 0 && e.GotFIN && e.AllAcked: // no memory for a timewait socket
		return Finished
	}
	return lostOutcome(e.Err)
}

// lateData reports whether data that nobody can read any more may have ended the
// connection. tcp_rcv_state_process calls tcp_reset for it, as for a RST. The
// difference is the RST that is sent next.
func (e *Event) lateData(last snapshot.State) bool {
	return e.Err == syscall.ECONNRESET && e.RcvShutdown && afterFIN(last)
}

// sentFIN reports whether this side's FIN went out. In FIN_WAIT1 and CLOSING it may wait
// behind data that is not acknowledged.
func (e *Event) sentFIN(last snapshot.State) bool {
	return !e.HasStats || e.AllSent || last != snapshot.FinWait1 && last != snapshot.Closing
}

// afterFIN reports whether a full socket in a state has a FIN to send, or sent it.
func afterFIN(s snapshot.State) bool {
	switch s {
	case snapshot.FinWait1, snapshot.FinWait2, snapshot.Closing, snapshot.LastAck:
		return true
	}
	return false
}

// lostOutcome is the outcome of an established connection by the error that ended
// it. tcp_reset sets EPIPE in CLOSE_WAIT.
func lostOutcome(err syscall.Errno) Outcome {
	switch err {
	case syscall.ECONNRESET, syscall.EPIPE:
		return ResetRemote
	case syscall.ETIMEDOUT:
		return Timeout
	}
	return hostOutcome(err)
}

// hostOutcome is the outcome by an error that a host on the way reported by ICMP, or
// this one found out itself. A blackhole route has EINVAL.
func hostOutcome(err syscall.Errno) Outcome {
	switch err {
	case syscall.ECONNABORTED:
		return Destroyed
	case syscall.ECONNREFUSED, syscall.EACCES, syscall.EPERM:
		return Rejected
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
		syscall.ENOPROTOOPT, syscall.EPROTO, syscall.ENONET, syscall.EINVAL:
		return Unreachable
	case syscall.EADDRNOTAVAIL:
		return NoLocalPort
	}
	return OutcomeUnknown
}

// connectOutcome is the outcome of a connect that did not succeed.
func (n *ending) connectOutcome(e *Event) Outcome {
	if e.insideConnect() && (e.SegsOut == 0 || e.Err == 0) {
		return n.failedOutcome(e)
	}
	switch e.Err {
	case 0:
		return n.silentConnect(e)
	case syscall.ECONNRESET:
		return Refused
	case syscall.ECONNREFUSED:
		if !e.HasStats || e.SegsIn > 0 { // else ICMP said so
			return Refused
		}
	case syscall.ETIMEDOUT:
		return TimeoutConnect
	}
	return hostOutcome(e.Err)
}

// failedOutcome is the outcome of a connect that failed at once. sk_err is none of
// its own before the SYN is sent: tcp_connect_init clears it.
func (n *ending) failedOutcome(e *Event) Outcome {
	switch {
	case e.SegsOut > 0 && n.connect == 0: // the firewall refused the SYN (NF_DROP_ERR)
		return Rejected
	case n.connect == 0, n.connect == shortErrno(syscall.ENOMEM):
		return NoLocalPort
	}
	return hostOutcome(syscall.Errno(n.connect))
}

// silentConnect is the outcome of a connect without an error.
func (n *ending) silentConnect(e *Event) Outcome {
	switch {
	case !e.HasStats:
		return OutcomeUnknown
	case !e.SendShutdown && (!e.Owned || e.SocketState == socketNone):
		return OutcomeUnknown // somebody took the error before the end, or it is not a program's
	case n.tookICMP(e):
		return hostOutcome(syscall.Errno(n.icmp))
	}
	return AbortedConnect
}

// insideConnect reports whether a socket in SYN_SENT ends before connect() returns:
// inet_stream_connect stores SS_CONNECTING after that.
func (e *Event) insideConnect() bool {
	return e.HasStats && !e.SendShutdown && e.SocketState == socketUnconnected
}

// tookICMP reports whether the program took the ICMP error that came while connect()
// held the socket: SO_ERROR returns sk_err_soft too, and clears it.
func (n *ending) tookICMP(e *Event) bool {
	return n.icmp != 0 && e.HasStats && e.Err == 0 && e.ErrSoft == 0
}

// errno returns the error that goes with an outcome: sk_err, unless that is left from
// before and did not end the connection.
func (n *ending) errno(r *row, e *Event, o Outcome) syscall.Errno {
	switch {
	case r.mini != 0, o == Finished, o == AbortedConnect, o == ResetLocal && !e.lateData(r.State):
		return 0
	case r.State == snapshot.SynSent && e.insideConnect() && (e.SegsOut == 0 || e.Err == 0):
		return syscall.Errno(n.connect)
	case r.State == snapshot.SynSent && n.tookICMP(e):
		return syscall.Errno(n.icmp)
	}
	return e.Err
}

// withoutLast is the outcome where the full socket's end does not say it: that of a
// timewait socket that ended in FIN_WAIT2, and of what ended unseen.
func (n *ending) withoutLast(r *row) Outcome {
	switch {
	case n.resetCame:
		return ResetRemote
	case n.resetSent:
		return ResetLocal
	case n.expired:
		return Timeout
	case r.Established == 0 && r.Direction == Incoming && r.StartKnown:
		return HandshakeDropped
	}
	return OutcomeUnknown
}
