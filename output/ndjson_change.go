package output

import (
	"net/netip"
	"time"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// socketLines makes the lines of UDP, raw and Unix sockets among those of an NDJSON.
type socketLines struct{ *NDJSON }

// SocketRow appends the "socket" record of a UDP, raw or Unix socket of the stream's
// table, as it was at the time at.
func (w *NDJSON) SocketRow(at time.Time, s *table.Socket) {
	w.begin("socket", at.UnixNano())
	l := socketLines{w}
	l.row(s, l.place, w.owner)
}

// SocketChange appends a "socket_change" or a "socket_close" record, or a "socket"
// record where nothing but the owner is news.
func (w *NDJSON) SocketChange(c *table.SocketChange) {
	at, l := w.wall.At(c.Time), socketLines{w}
	switch c.Kind {
	case table.SocketSeen:
		w.begin("socket", at)
		l.row(c.Socket, l.place, w.owner)
		return
	case table.SocketClose:
		w.begin("socket_close", at)
	default:
		w.begin("socket_change", at)
	}
	l.changed(c, l.place)
	k := w.holding(&c.Socket.Head, c.Socket.HasUID)
	w.ownerBy(k, w.owner)
	w.inode(c.Socket.Inode)
	if c.Kind == table.SocketClose {
		l.life(c)
	} else {
		w.errno(c.Errno)
	}
	w.pathsOf(k)
	w.end()
}

// row completes the line of a row. The schemas have members of their own for where
// a socket is, and for its owner.
func (w socketLines) row(s *table.Socket, place func(*table.Socket), owner func(*holder)) {
	w.ident(s, place)
	w.source()
	w.stateWord(`,"state":`, stateNow(s))
	k := w.holding(&s.Head, s.HasUID)
	w.ownerBy(k, owner)
	if s.Unix == nil {
		w.queue(`,"recv_q":`, s.RecvQ)
		w.queue(`,"send_q":`, s.SendQ)
	}
	w.inode(s.Inode)
	w.pathsOf(k)
	w.end()
}

// changed adds what changed, of which socket.
func (w socketLines) changed(c *table.SocketChange, place func(*table.Socket)) {
	if c.Source == table.SocketTold && !w.opts.Poll {
		w.uint(`,"mono_ns":`, c.Time)
	}
	w.ident(c.Socket, place)
	if c.Source == table.SocketPolled || w.opts.Poll {
		w.word(`,"source":`, "poll")
	}
	if c.Source == table.SocketInferred {
		w.flag(`,"inferred":`, true)
	}
	now := stateNow(c.Socket)
	if c.Kind == table.SocketClose {
		w.stateWord(`,"state":`, now)
		return
	}
	w.word(`,"change":`, c.Kind.String())
	w.details(c)
	w.stateWord(`,"state":`, now)
	if before := stateBefore(c); before != now {
		w.stateWord(`,"old_state":`, before)
	}
}

// details adds what only some changes have.
func (w socketLines) details(c *table.SocketChange) {
	if c.Auto {
		w.flag(`,"auto":`, true)
	}
	if c.Kind == table.SocketFamily {
		w.word(`,"old_family":`, "ipv6")
	}
	if was, ok := otherPeer(c); ok {
		w.addrZoned(`,"old_remote_addr":`, was.Remote.Addr(), w.device(c.Socket.Netns, c.Socket.Device))
		w.port(`,"old_remote_port":`, was.Remote.Port())
	}
	if end := c.Socket.Unix; end != nil && c.Kind == table.SocketListen {
		w.uint(`,"backlog":`, uint64(end.Backlog))
	}
}

// ident adds what identifies a socket. Its addresses and its name may change with
// each record, so nothing of it is kept.
func (w socketLines) ident(s *table.Socket, place func(*table.Socket)) {
	w.connID(&identity{id: s.ID, cookie: s.Cookie})
	w.word(`,"transport":`, s.Protocol.String())
	if s.Unix != nil {
		w.unixEnd(s)
	} else {
		place(s)
	}
	if s.Netns != 0 {
		w.uint(`,"netns":`, uint64(s.Netns))
	}
}

// place adds the addresses of an Internet socket.
func (w socketLines) place(s *table.Socket) {
	w.addresses(localEnd(s), s.Remote, w.device(s.Netns, s.Device))
	w.ipProtocol(s)
}

// localEnd returns the local address and port of an Internet socket. A raw one has no
// ports: where others have the local one, there is the number of its IP protocol.
func localEnd(s *table.Socket) netip.AddrPort {
	if s.Protocol == snapshot.Raw {
		return netip.AddrPortFrom(s.Local.Addr(), 0)
	}
	return s.Local
}

func (w socketLines) ipProtocol(s *table.Socket) {
	if s.Protocol == snapshot.Raw {
		w.uint(`,"ip_protocol":`, uint64(s.Local.Port()))
	}
}

// unixEnd adds what only a Unix socket has.
func (w socketLines) unixEnd(s *table.Socket) {
	if name := unixType(uint32(s.Type)); name != unknownWord {
		w.word(`,"type":`, name)
	}
	end := s.Unix
	w.unixName(`,"path":`, end.Name)
	if end.Abstract() {
		w.flag(`,"abstract":`, true)
	}
	if end.Peer != 0 {
		w.hex(`,"peer_id":`, end.Peer)
	}
	w.inodeOf(`,"peer_inode":`, end.PeerInode)
	w.nonzero(`,"peer_pid":`, uint64(end.PeerPID))
	if end.Listener != 0 {
		w.hex(`,"listener_id":`, end.Listener)
	}
}

// unixName adds the name of a Unix socket. "@" stands for the NUL before an abstract one.
func (w socketLines) unixName(key, name string) {
	if name == "" || !w.open(key) {
		return
	}
	if name[0] == 0 {
		w.buf = append(w.buf, '@')
		name = name[1:]
	}
	w.escaped(name, min(unixPathMax, w.room()-1))
	w.buf = append(w.buf, '"')
}

func (w socketLines) stateWord(key, word string) {
	if word != "" {
		w.word(key, word)
	}
}

// life adds how long a socket was there, and how it ended.
func (w socketLines) life(c *table.SocketChange) {
	s := c.Socket
	w.time(`,"start":`, w.wall.At(s.Start))
	if !s.StartKnown {
		w.flag(`,"start_known":`, false)
	}
	w.uint(`,"duration_ns":`, since(s.Start, c.Time))
	w.stateWord(`,"reason":`, reasonOf(c.Closed))
	if len(s.History.Kinds()) > 0 {
		w.key(`,"history":`)
		w.buf = append(w.buf, '"')
		w.buf = appendSocketHistory(w.buf, &s.History)
		w.buf = append(w.buf, '"')
	}
	if pid, another := anotherCloser(c); another {
		w.uint(`,"closed_by_pid":`, uint64(pid))
	}
}
