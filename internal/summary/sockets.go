package summary

import "github.com/nettrace/nettrace/tracer/table"

// AddSocket counts a UDP, raw or Unix socket of the initial rows of the stream as open.
func (s *Summary) AddSocket(row *table.Socket) {
	if s.groups.spec.counts == Connections {
		s.subject.SetRow(row)
		s.enter(row.ID)
	}
}

// AddSocketChange counts a change of such a socket, as AddChange that of a connection.
func (s *Summary) AddSocketChange(c *table.SocketChange) {
	s.subject.SetSocketChange(c)
	closes := c.Kind == table.SocketClose
	switch s.groups.spec.counts {
	case Transitions:
		if c.Kind != table.SocketSeen && (!closes || s.groups.spec.changes) {
			one := s.groups.of(&s.subject)
			s.groups.counted(one)
			one.count++
		}
	case Ends:
		if closes {
			s.end(s.groups.of(&s.subject), false)
		}
	case Connections:
		s.addLife(life{id: c.Socket.ID, opens: c.Kind != table.SocketSeen, ends: closes})
	}
}
