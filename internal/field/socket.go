package field

import (
	"strings"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// SetRow fills the subject with a row of the stream's table that is none of TCP.
func (s *Subject) SetRow(row *table.Socket) {
	*s = Subject{Head: &row.Head, Transport: transportOfRow(row.Protocol), State: row.State, HasUID: row.HasUID, Other: Other{Socket: row}}
	if end := row.Unix; end != nil {
		s.State = unixStateNow(row.State, end.HasSocket)
		s.Name = end.Name
		if end.Abstract() { // as /proc spells it
			s.Name = strings.ReplaceAll(end.Name, "\x00", "@")
		}
	}
}

// SetSocketChange fills the subject with a record of such a socket. Old is absent where
// the state is the same as before.
func (s *Subject) SetSocketChange(c *table.SocketChange) {
	s.SetRow(c.Socket)
	s.Change, s.Time, s.Inferred = c, c.Time, c.Source == table.SocketInferred
	if c.Old.State == 0 {
		return
	}
	s.Old = c.Old.State
	if c.Socket.Unix != nil {
		s.Old = unixStateNow(c.Old.State, c.HadSocket())
	}
	if s.Old == s.State {
		s.Old = 0
	}
}

func transportOfRow(p snapshot.Protocol) Transport {
	if p == snapshot.Unix {
		return Unix
	}
	return Transport(p)
}

// unixStateNow returns the TCP state that ss gives a Unix socket, as unixState does.
func unixStateNow(state snapshot.State, hasSocket bool) snapshot.State {
	switch {
	case state == snapshot.Listen:
		return snapshot.Listen
	case hasSocket && state == snapshot.Established:
		return snapshot.Established
	case hasSocket:
		return snapshot.Close
	case state == snapshot.Established: // it waits for accept()
		return snapshot.SynSent
	}
	return snapshot.Closing
}

// idOf reads the number of a connection or of another socket.
func idOf(s *Subject) (uint64, Known) {
	switch {
	case s.Conn != nil:
		return s.Conn.ID, Exact
	case s.Socket != nil:
		return s.Socket.ID, Exact
	}
	return 0, Absent
}

func ofChange(get func(*table.SocketChange) (uint64, bool)) func(*Subject) (uint64, Known) {
	return func(s *Subject) (uint64, Known) {
		if s.Change == nil {
			return 0, Absent
		}
		n, ok := get(s.Change)
		return n, known(ok)
	}
}

func changeOf(c *table.SocketChange) (uint64, bool) {
	return uint64(c.Kind), c.Kind != table.SocketSeen
}

func reasonOf(c *table.SocketChange) (uint64, bool) {
	if c.Closed == nil {
		return 0, false
	}
	return uint64(c.Closed.Reason), c.Closed.Reason != table.ReasonUnknown
}

func ofUnix(get func(*table.UnixEnd) uint64) func(*Subject) (uint64, Known) {
	return func(s *Subject) (uint64, Known) {
		if s.Socket == nil || s.Socket.Unix == nil {
			return 0, Absent
		}
		n := get(s.Socket.Unix)
		return n, known(n != 0)
	}
}

func typeOf(s *Subject) (uint64, Known) {
	if s.Socket == nil || s.Socket.Unix == nil {
		return 0, Absent
	}
	return uint64(s.Socket.Type), known(int(s.Socket.Type) < len(socketTypes))
}

// pathOf reads the name of a Unix socket, as /proc spells it.
func pathOf(s *Subject) (string, bool) { return s.Name, s.Transport == Unix && s.Name != "" }

// errnoOf reads the error that ended a connection, or that came with a change.
func errnoOf(s *Subject) (uint64, Known) {
	switch {
	case s.Closed != nil:
		return uint64(s.Closed.Errno), known(s.Closed.Errno != 0)
	case s.Change != nil:
		return uint64(s.Change.Errno), known(s.Change.Errno != 0)
	}
	return 0, Absent
}

// lifeOf returns when a socket that has ended began, and whether that was seen.
func (s *Subject) lifeOf() (start uint64, seen, ended bool) {
	switch {
	case s.Conn != nil:
		return s.Conn.Start, s.Conn.StartKnown, s.Closed != nil
	case s.Change != nil:
		return s.Socket.Start, s.Socket.StartKnown, s.Change.Kind == table.SocketClose
	}
	return 0, false, false
}

// The words of what sockets that are none of TCP have.
var (
	changes     = changeWords()
	reasons     = reasonWords()
	socketTypes = []string{1: "STREAM", 2: "DGRAM", 3: "RAW", 4: "RDM", 5: "SEQPACKET"}
)

func changeWords() []string {
	words := make([]string, table.SocketChangeKinds)
	for k := table.SocketOpen; k < table.SocketChangeKinds; k++ {
		words[k] = k.String()
	}
	return words
}

func reasonWords() []string {
	words := []string{table.ReasonUnknown: ""}
	for r := table.ReasonClose; r <= table.ReasonKernel; r++ {
		words = append(words, r.String())
	}
	return words
}
