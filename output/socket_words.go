package output

import (
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// socketState returns netstat's word for the state of a UDP, raw or Unix socket, given
// its sk_state; "": it has none.
func socketState(s *table.Socket, state snapshot.State, hasSocket bool) string {
	established := state == snapshot.Established
	switch {
	case s.Unix == nil && established:
		return "ESTABLISHED"
	case s.Unix == nil:
		return ""
	case state == snapshot.Listen:
		return "LISTENING"
	case hasSocket && established:
		return "CONNECTED"
	case hasSocket:
		return ""
	case established:
		return "CONNECTING"
	}
	return "DISCONNECTING"
}

// stateNow returns the word for the state that a socket is in.
func stateNow(s *table.Socket) string {
	return socketState(s, s.State, s.Unix == nil || s.Unix.HasSocket)
}

// stateAfter returns the word for the state after a change.
func stateAfter(c *table.SocketChange) string { return stateNow(c.Socket) }

// stateBefore returns the word for the state before a change.
func stateBefore(c *table.SocketChange) string {
	if c.Old.State == 0 {
		return ""
	}
	return socketState(c.Socket, c.Old.State, c.HadSocket())
}

// otherPeer returns the peer that a change took from a socket, if there was one.
func otherPeer(c *table.SocketChange) (was *snapshot.Head, ok bool) {
	was = &c.Old.Head
	return was, was.Remote.IsValid() && known(was.Remote) && was.Remote != c.Socket.Remote
}

// anotherCloser returns the process that closed a socket, where it is not the owner.
func anotherCloser(c *table.SocketChange) (pid int, ok bool) {
	if c.Closed == nil || c.Closed.Closer == nil || c.Closed.Closer.PID == 0 {
		return 0, false
	}
	pid = c.Closed.Closer.PID
	owner := c.Socket.Owner.Process
	return pid, owner == nil || owner.PID != pid
}

// reasonOf returns the word for why a socket is gone; "": it is not known, or the socket
// is not gone.
func reasonOf(c *table.SocketClosed) string {
	if c == nil || c.Reason == table.ReasonUnknown {
		return ""
	}
	return c.Reason.String()
}

// appendSocketHistory appends the changes that a socket went through.
func appendSocketHistory(dst []byte, h *table.SocketHistory) []byte {
	for i, k := range h.Kinds() {
		if i > 0 {
			dst = append(dst, '>')
		}
		dst = append(dst, k.String()...)
	}
	return dst
}
