package stream

import (
	"iter"
	"time"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// Workloads knows what the owners of sockets run in. *container.Cache is one. All calls
// come from the goroutine of Run.
type Workloads interface {
	// Begin waits a moment for what is there at the start, and for what ask asks of Of.
	Begin(ask func())
	// Of returns what is known of the owner of a socket that was first seen at a time. It is
	// called for each record, and must not wait for anything.
	Of(h *snapshot.Head, began uint64) *snapshot.Workload
	// Settle is called when everything was handed over.
	Settle()
}

// enrich tells the stages after it what the owner of each socket runs in.
type enrich struct {
	Handler   // the next stage
	workloads Workloads
}

// Snapshot passes the initial table on.
func (e *enrich) Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error {
	e.workloads.Begin(func() {
		for row := range rows {
			e.complete(row)
		}
	})
	return e.Handler.Snapshot(func(yield func(*table.Conn) bool) {
		for row := range rows {
			if e.complete(row); !yield(row) {
				return
			}
		}
	}, took)
}

// Sockets passes the initial rows of other sockets on.
func (e *enrich) Sockets(rows iter.Seq[*table.Socket]) error {
	e.workloads.Begin(func() {
		for row := range rows {
			e.completeSocket(row)
		}
	})
	return e.Handler.Sockets(func(yield func(*table.Socket) bool) {
		for row := range rows {
			if e.completeSocket(row); !yield(row) {
				return
			}
		}
	})
}

// Socket passes a change of such a socket on.
func (e *enrich) Socket(c *table.SocketChange) error {
	e.completeSocket(c.Socket)
	return e.Handler.Socket(c)
}

func (e *enrich) completeSocket(s *table.Socket) { s.Workload = e.workloads.Of(&s.Head, s.Start) }

// Change passes a change on.
func (e *enrich) Change(c *table.Change) error {
	e.complete(c.Conn)
	return e.Handler.Change(c)
}

func (e *enrich) complete(c *table.Conn) { c.Workload = e.workloads.Of(&c.Head, c.Start) }

// Idle passes the moment on.
func (e *enrich) Idle() error {
	e.workloads.Settle()
	return e.Handler.Idle()
}
