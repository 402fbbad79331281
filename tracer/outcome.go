package tracer

import (
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// conclude says how the full socket ended, from its last state and sk_err, which
// the kernel sets before -> CLOSE for what came from outside, and after it for
// what the socket did itself (net/ipv4/tcp.c, tcp_reset and tcp_done).
func (t *Table) conclude(c *Conn, e *Event) {
	closed := t.endOf(c)
	*closed = Closed{
		Outcome:       outcome(c.State, e.Err, c.mini != 0),
		Errno:         e.Err,
		HasStats:      e.HasStats,
		BytesSent:     e.BytesSent,
		BytesReceived: e.BytesReceived,
		SegsOut:       e.SegsOut,
		SegsIn:        e.SegsIn,
		Retrans:       e.Retrans,
		RTT:           e.RTT,
		MinRTT:        e.MinRTT,
	}
	switch closed.Outcome {
	case ResetLocal, AbortedConnect:
		c.firstToClose(Local)
	case ResetRemote, Refused:
		c.firstToClose(Remote)
	}
}

func outcome(last snapshot.State, err syscall.Errno, timewait bool) Outcome {
	switch last {
	case snapshot.SynSent:
		return connectOutcome(err)
	case snapshot.SynRecv:
		return HandshakeDropped
	}
	switch err {
	case syscall.ECONNRESET, syscall.EPIPE:
		return ResetRemote
	case syscall.ETIMEDOUT:
		return Timeout
	case syscall.ECONNABORTED:
		return Destroyed
	}
	switch last {
	case snapshot.LastAck, snapshot.Closing:
		return Finished
	case snapshot.Established, snapshot.CloseWait:
		if !timewait {
			return ResetLocal
		}
	}
	return OutcomeUnknown // FIN_WAIT1 and 2: the timewait socket decides, if there is one
}

func connectOutcome(err syscall.Errno) Outcome {
	switch err {
	case 0:
		return AbortedConnect
	case syscall.ECONNREFUSED, syscall.ECONNRESET:
		return Refused
	case syscall.ETIMEDOUT:
		return TimeoutConnect
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
		syscall.ENOPROTOOPT, syscall.EACCES, syscall.EPROTO:
		return Unreachable
	case syscall.ECONNABORTED:
		return Destroyed
	}
	return OutcomeUnknown
}
