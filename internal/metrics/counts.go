package metrics

import (
	"slices"
	"sync/atomic"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

const (
	states     = int(snapshot.Closing) + 1
	directions = int(table.Incoming) + 1
	protocols  = int(snapshot.Unix) + 1
)

// counts are what the run has reported. The run alone writes them, and scrapes read
// them meanwhile.
type counts struct {
	transitions [states][states]atomic.Uint64
	opened      [directions]atomic.Uint64
	closed      [table.Outcomes][directions]atomic.Uint64
	sockets     [protocols][table.SocketChangeKinds]atomic.Uint64
	connect     histogram // outgoing connections, from the SYN to ESTABLISHED
	life        histogram // connections that ended
	lost        atomic.Uint64
	resyncs     atomic.Uint64
}

func newCounts() *counts {
	return &counts{connect: newHistogram(connectBounds), life: newHistogram(lifeBounds)}
}

// transition counts a change of a state.
func (c *counts) transition(ch *table.Change) {
	conn := ch.Conn
	c.transitions[known(ch.Old)][known(ch.New)].Add(1)
	if opens(ch) {
		c.opened[directionOf(conn)].Add(1)
	}
	if ch.New == snapshot.Established && conn.Direction == table.Outgoing && conn.StartKnown {
		c.connect.observe(since(conn.Start, ch.Time))
	}
}

// opens reports whether a connection begins with a transition: a socket connects, or a
// listener has a request. It may also be there already when it is seen first.
func opens(ch *table.Change) bool {
	switch ch.Old {
	case snapshot.Close:
		return ch.New != snapshot.Listen && ch.New != snapshot.TimeWait && ch.New != snapshot.Close
	case snapshot.Listen:
		return ch.New != snapshot.Close
	}
	return false
}

// close counts the end of a connection. Without a history it never left CLOSE: no
// transition has opened it.
func (c *counts) close(ch *table.Change) {
	conn, outcome := ch.Conn, table.OutcomeUnknown
	if ch.Close != nil && ch.Close.Outcome < table.Outcomes {
		outcome = ch.Close.Outcome
	}
	if len(conn.History.States()) == 0 {
		c.opened[directionOf(conn)].Add(1)
	}
	c.closed[outcome][directionOf(conn)].Add(1)
	if conn.StartKnown {
		c.life.observe(since(conn.Start, ch.Time))
	}
}

// socket counts a change of a UDP, raw or Unix socket.
func (c *counts) socket(ch *table.SocketChange) {
	if p := int(ch.Socket.Protocol); p < protocols && ch.Kind < table.SocketChangeKinds {
		c.sockets[p][ch.Kind].Add(1)
	}
}

func directionOf(c *table.Conn) table.Direction {
	if int(c.Direction) < directions {
		return c.Direction
	}
	return table.DirectionUnknown
}

// since returns the time from start to end, or 0 if end comes first: the clocks of two
// CPUs may differ by a little.
func since(start, end uint64) uint64 {
	if end < start {
		return 0
	}
	return end - start
}

// histogram counts times by their length.
type histogram struct {
	bounds  []uint64        // ns, rising: what is as long or shorter belongs to it
	buckets []atomic.Uint64 // one for each bound, and one for what is longer
	sum     atomic.Uint64   // ns
}

const (
	microsecond uint64 = 1000 // ns
	millisecond        = 1000 * microsecond
	second             = 1000 * millisecond
)

// connectBounds have steps of 1, 2.5 and 5, and a step just below 1, 3 and 7 seconds,
// when the SYN is sent again.
var connectBounds = []uint64{
	100 * microsecond, 250 * microsecond, 500 * microsecond,
	1 * millisecond, 2500 * microsecond, 5 * millisecond,
	10 * millisecond, 25 * millisecond, 50 * millisecond,
	100 * millisecond, 250 * millisecond, 500 * millisecond, 900 * millisecond,
	1 * second, 2500 * millisecond, 2900 * millisecond, 5 * second, 6900 * millisecond, 10 * second,
}

// lifeBounds reach from a request to a day.
var lifeBounds = []uint64{
	1 * millisecond, 10 * millisecond, 100 * millisecond,
	1 * second, 10 * second, 60 * second, 600 * second, 3600 * second, 86400 * second,
}

func newHistogram(bounds []uint64) histogram {
	return histogram{bounds: bounds, buckets: make([]atomic.Uint64, len(bounds)+1)}
}

func (h *histogram) observe(ns uint64) {
	i, _ := slices.BinarySearch(h.bounds, ns)
	h.buckets[i].Add(1)
	h.sum.Add(ns)
}
