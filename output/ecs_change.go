package output

import (
	"time"

	"github.com/nettrace/nettrace/tracer/table"
)

// SocketRow appends the "socket" record of a UDP, raw or Unix socket of the stream's
// table, as it was at the time at.
func (w *ECS) SocketRow(at time.Time, s *table.Socket) {
	w.beginSocket("socket", ecsSocketRow, at.UnixNano())
	socketLines{&w.NDJSON}.row(s, w.socketPlace, w.owner)
}

// SocketChange appends a "socket_change" or a "socket_close" record, or a "socket"
// record where nothing but the owner is news.
func (w *ECS) SocketChange(c *table.SocketChange) {
	at, l := w.wall.At(c.Time), socketLines{&w.NDJSON}
	switch c.Kind {
	case table.SocketSeen:
		w.beginSocket("socket", ecsSocketRow, at)
		l.row(c.Socket, w.socketPlace, w.owner)
		return
	case table.SocketClose:
		w.beginSocket("socket_close", ecsSocketEnds, at)
	default:
		w.beginSocket("socket_change", ecsChange(c), at)
	}
	l.changed(c, w.socketPlace)
	k := w.holding(&c.Socket.Head, c.Socket.HasUID)
	w.ownerBy(k, w.owner)
	w.inode(c.Socket.Inode)
	if c.Kind == table.SocketClose {
		l.life(c)
		w.time(`,"event.end":`, at)
	} else {
		w.errno(c.Errno)
	}
	w.pathsOf(k)
	w.end()
}

// beginSocket starts the line of a record about a socket that is none of TCP. Who
// opened a connection is not known of these: the source is this host.
func (w *ECS) beginSocket(event, class string, wall int64) {
	w.pick = w.picks[table.DirectionUnknown]
	w.beginECS(event, class, wall)
}

// socketPlace adds the addresses of an Internet socket.
func (w *ECS) socketPlace(s *table.Socket) {
	id := identity{local: localEnd(s), remote: s.Remote, device: w.device(s.Netns, s.Device)}
	w.word(`,"network.type":`, familyName(onWire(&id)))
	w.side(&ecsSource, id.local, id.device)
	w.side(&ecsDestination, id.remote, id.device)
	if id.device.index != 0 {
		w.str(`,"nettrace.iface":`, id.device.name, nameMax)
	}
	socketLines{&w.NDJSON}.ipProtocol(s)
}

const (
	ecsOfSocket = `,"event.dataset":"nettrace.socket"`

	ecsSocketRow    = ecsKind + `"state"` + ecsNetwork + `["info"]` + ecsOfSocket
	ecsSocketInfo   = ecsKind + `"event"` + ecsNetwork + `["info"]` + ecsOfSocket
	ecsSocketBegins = ecsKind + `"event"` + ecsNetwork + `["connection","start"]` + ecsOfSocket
	ecsSocketLeaves = ecsKind + `"event"` + ecsNetwork + `["connection","end"]` + ecsOfSocket
	ecsSocketEnds   = ecsKind + `"event"` + ecsNetwork + `["end"]` + ecsOfSocket
)

// ecsChange classifies a change. A connection is what a socket with a peer has.
func ecsChange(c *table.SocketChange) string {
	switch c.Kind {
	case table.SocketConnect, table.SocketAccept:
		return ecsSocketBegins
	case table.SocketDisconnect, table.SocketLostPeer:
		return ecsSocketLeaves
	}
	return ecsSocketInfo
}
