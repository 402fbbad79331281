package tracer

import "github.com/nettrace/nettrace/tracer/table"

// heldSocket is a change of a UDP, raw or Unix socket that waits for the initial table,
// and copies of what it points to.
type heldSocket struct {
	change table.SocketChange
	socket table.Socket
	unix   table.UnixEnd
	closed table.SocketClosed
}

// socket is change for the other sockets.
func (d *delivery) socket(c *table.SocketChange) {
	if d.ready {
		d.keep(d.handler.Socket(c))
		return
	}
	h := heldSocket{change: *c, socket: *c.Socket}
	if c.Socket.Unix != nil {
		h.unix = *c.Socket.Unix
	}
	if c.Closed != nil {
		h.closed = *c.Closed
	}
	d.sockets = append(d.sockets, h)
}

func (d *delivery) releaseSockets() {
	for i := range d.sockets {
		h := &d.sockets[i]
		h.change.Socket = &h.socket
		if h.socket.Unix != nil {
			h.socket.Unix = &h.unix
		}
		if h.change.Closed != nil {
			h.change.Closed = &h.closed
		}
		d.keep(d.handler.Socket(&h.change))
	}
	d.sockets = nil
}
