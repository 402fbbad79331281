package tracer

import (
	"iter"
	"time"

	"github.com/nettrace/nettrace/tracer/table"
)

// Handler receives what a source has to report, in order, from one goroutine. An
// error that it returns ends the run.
type Handler interface {
	// Snapshot receives the initial table once, before any change, in the kernel's
	// order. It may iterate over the rows more than once during the call; each row
	// is valid until the next one.
	Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error
	// Sockets receives the initial rows of UDP, raw and Unix sockets, in the kernel's
	// order, right before Snapshot; it is not called where none of these is traced. The
	// handler may iterate over them, more than once, until Snapshot returns; each row is
	// valid until the next one.
	Sockets(rows iter.Seq[*table.Socket]) error
	// Socket receives a change or the close of such a socket, valid during the call.
	Socket(*table.SocketChange) error
	// Change receives a transition or a close, valid during the call.
	Change(*table.Change) error
	// Lost receives an interval in which events were lost.
	Lost(Lost) error
	// Inexact receives a sentence on what cannot be reported exactly from now on.
	Inexact(what string) error
	// Resync receives what a comparison with the kernel's table found.
	Resync(table.Resync) error
	// Idle is called when everything that the kernel has reported so far was
	// handed over: the moment to flush. Where nothing happens it is called once a
	// second; see Timed.
	Idle() error
}

// delivery hands everything over to the handler of a run. Changes that come
// before the initial table was handed over are held until then.
type delivery struct {
	handler Handler
	started uint64
	ready   bool // the initial table was handed over
	held    []heldChange
	sockets []heldSocket
	err     error // the first one, of the handler or of the tracer; it ends the run
}

// heldChange is a change that waits for the initial table, and copies of what it
// points to.
type heldChange struct {
	change table.Change
	conn   table.Conn
	closed table.Closed
}

// keep remembers the first error.
func (d *delivery) keep(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *delivery) change(c *table.Change) {
	if d.ready {
		d.keep(d.handler.Change(c))
		return
	}
	held := heldChange{change: *c, conn: *c.Conn}
	if c.Close != nil {
		held.closed = *c.Close
	}
	d.held = append(d.held, held)
}

// snapshot hands the initial table over, and what was held. others is nil where TCP
// alone is traced.
func (d *delivery) snapshot(t *table.Table, others *table.Sockets) {
	took := time.Duration(monotonic() - d.started)
	if others != nil {
		others.CompleteInitial()
		d.keep(d.handler.Sockets(others.InitialRows))
	}
	d.keep(d.handler.Snapshot(t.InitialRows, took))
	t.EndInitial()
	if others != nil {
		others.EndInitial()
	}
	d.ready = true
	for i := range d.held {
		h := &d.held[i]
		h.change.Conn = &h.conn
		if h.change.Close != nil {
			h.change.Close = &h.closed
		}
		d.keep(d.handler.Change(&h.change))
	}
	d.held = nil
	d.releaseSockets()
}

func (d *delivery) idle() {
	if d.ready {
		d.keep(d.handler.Idle())
	}
}
