package output

import (
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// reasons says why a socket is gone, in words for people.
var reasons = [...]string{
	table.ReasonUnknown:   "ended",
	table.ReasonClose:     "closed",
	table.ReasonExit:      "exit",
	table.ReasonCollected: "collected",
	table.ReasonKernel:    "by the kernel",
}

// reasonText returns why a socket is gone; "": it is not.
func reasonText(c *table.SocketChange) string {
	switch {
	case c.Kind != table.SocketClose:
		return ""
	case c.Closed == nil || int(c.Closed.Reason) >= len(reasons):
		return reasons[table.ReasonUnknown]
	}
	return reasons[c.Closed.Reason]
}

// shortChanges are the changes in the compact form of the stream's text.
var shortChanges = [table.SocketChangeKinds]string{
	table.SocketOpen:       "open",
	table.SocketBind:       "bind",
	table.SocketConnect:    "conn",
	table.SocketDisconnect: "disc",
	table.SocketListen:     "lstn",
	table.SocketAccept:     "acpt",
	table.SocketLostPeer:   "lost",
	table.SocketFamily:     "fam",
	table.SocketClose:      "close",
	table.SocketChanged:    "chgd",
}

// appendChangeWord appends what happened to a socket. The compact form of the text has
// no protocol of its own.
func appendChangeWord(dst []byte, c *table.SocketChange, short bool) []byte {
	if !short {
		return append(dst, c.Kind.String()...)
	}
	dst = append(append(dst, socketLabel(c.Socket)...), ' ')
	return append(dst, shortChanges[c.Kind]...)
}

// socketLabel names the protocol of a socket as the first column of netstat's table does.
func socketLabel(s *table.Socket) string { return protocolLabel(s.Protocol, s.Local.Addr().Is6()) }

// appendLocal appends the local end of a socket: its address and port, or the name of a
// Unix socket, or # and the inode of one that has no name.
func (s *StreamStyle) appendLocal(dst []byte, sock *table.Socket) []byte {
	switch {
	case sock.Unix == nil:
		return s.appendEndpoint(dst, sock.Local, &sock.Head)
	case sock.Unix.Name != "":
		return s.appendName(dst, sock.Unix.Name)
	}
	return appendInode(dst, sock.Inode)
}

// appendRemote appends the other end of a socket. Of the peer of a Unix socket that is
// the inode, and the process that SO_PEERCRED names.
func (s *StreamStyle) appendRemote(dst []byte, sock *table.Socket) []byte {
	end := sock.Unix
	if end == nil {
		return s.appendEndpoint(dst, sock.Remote, &sock.Head)
	}
	if end.PeerInode == 0 && end.PeerPID == 0 {
		return append(dst, '*')
	}
	dst = appendInode(dst, end.PeerInode)
	if end.PeerPID != 0 {
		dst = strconv.AppendUint(append(dst, " pid "...), uint64(end.PeerPID), 10)
	}
	return dst
}

// appendName appends the name of a Unix socket. "@" stands for the NUL before an
// abstract one.
func (s *StreamStyle) appendName(dst []byte, name string) []byte {
	if name != "" && name[0] == 0 {
		dst = append(dst, '@')
		name = name[1:]
	}
	return appendVisible(dst, name, s.ASCII)
}

func appendInode(dst []byte, inode uint64) []byte {
	if inode == 0 {
		return append(dst, '*')
	}
	return strconv.AppendUint(append(dst, '#'), inode, 10)
}

// Socket appends a line for a change or the close of a UDP, raw or Unix socket. An owner
// that was found late has no line: the next one shows it.
func (t *StreamText) Socket(c *table.SocketChange) {
	if c.Kind == table.SocketSeen {
		return
	}
	s := c.Socket
	t.when(c.Time, socketLabel(s))
	t.opened = 0 // no close completes it
	l, r := &t.layout, &t.rows
	r.to(l.local, l.step)
	start := len(r.buf)
	r.buf = t.style.appendLocal(r.buf, s)
	r.counted(start)
	r.to(l.remote, l.step)
	start = len(r.buf)
	r.buf = t.style.appendRemote(r.buf, s)
	r.counted(start)
	r.to(l.state, l.step)
	r.buf = appendChangeWord(r.buf, c, l.compact)
	t.numbers(&s.Head, s.HasUID)
	t.owner(&s.Owner)
	if t.socketCell(c); len(t.cell) > 0 {
		t.aside("")
	}
}

// socketCell makes what stands after the columns of a change.
func (t *StreamText) socketCell(c *table.SocketChange) {
	t.cell = t.cell[:0]
	if source := c.Source.String(); source != "" {
		t.cell = append(append(append(t.cell, '('), source...), ')')
	}
	if c.Auto {
		t.also("(auto)")
	}
	if was, ok := otherPeer(c); ok {
		t.also("was ")
		t.cell = t.style.appendEndpoint(t.cell, was.Remote, &c.Socket.Head)
	}
	if c.Errno != 0 {
		t.also(errnoText(uint64(c.Errno)))
	}
	if c.Kind != table.SocketClose {
		return
	}
	t.also(reasonText(c))
	if s := c.Socket; s.StartKnown && c.Time >= s.Start {
		t.cell = append(t.cell, ' ')
		t.cell = appendMillis(t.cell, c.Time-s.Start, t.layout.gap())
	}
	if pid, another := anotherCloser(c); another {
		t.also("by pid ")
		t.cell = strconv.AppendInt(t.cell, int64(pid), 10)
	}
}

// also appends a text to the cell, after a blank.
func (t *StreamText) also(text string) {
	if len(t.cell) > 0 {
		t.cell = append(t.cell, ' ')
	}
	t.cell = append(t.cell, text...)
}

// AppendSocket appends the row of a UDP or raw socket to the table of Internet sockets.
func (t *StreamTable) AppendSocket(dst []byte, s *table.Socket) []byte {
	row := snapshot.Socket{Head: s.Head}
	return t.appendRow(dst, &row, s.HasUID)
}

// AppendUnixHeader appends the title of the table of Unix sockets, and the line above
// its rows. How many references a socket has is not followed.
func (t *StreamTable) AppendUnixHeader(dst []byte) []byte {
	dst = append(dst, "Active UNIX domain sockets "...)
	dst = append(dst, t.listening.String()...)
	dst = append(dst, "\nProto Flags       Type       State         I-Node   PID/Program name     Path"...)
	return append(dst, '\n')
}

// AppendUnix appends the row of a Unix socket.
func (t *StreamTable) AppendUnix(dst []byte, s *table.Socket) []byte {
	u := s.Row()
	start := len(dst)
	dst = append(dst, "unix  "...)
	dst = append(appendUnixFlags(dst, u.Flags), ' ')
	dst = append(appendLeft(dst, unixType(u.Type), 10), ' ')
	dst = append(appendLeft(dst, stateNow(s), 13), ' ')
	column := len(dst)
	dst = append(padTo(strconv.AppendUint(dst, u.Inode, 10), column+8), ' ')
	column = len(dst)
	dst = append(dst, t.owner(&s.Owner, column-start)...)
	dst = append(padTo(dst, column+ownerWidth), ' ')
	if s.Unix != nil {
		dst = t.style.appendName(dst, s.Unix.Name)
	}
	return endRow(dst)
}
