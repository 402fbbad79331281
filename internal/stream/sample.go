package stream

import (
	"iter"
	"math/bits"
	"time"

	"github.com/nettrace/nettrace/tracer/table"
)

// sample passes on all that is told of one connection in n, and nothing of the others.
// The ids of connections are random, so that they decide: the same for the row of a
// connection, its transitions and its close. A listener counts as a connection.
type sample struct {
	Handler        // the next stage
	n       uint64 // 0 or 1: all
	dropped uint64 // changes that were not passed on
}

// wants reports whether a connection is in the sample.
func (s *sample) wants(c *table.Conn) bool { return s.has(c.ID) }

// has reports whether an id is in the sample. It looks at the high bits: the low ones
// choose a place in the cache of output.NDJSON.
func (s *sample) has(id uint64) bool {
	high, _ := bits.Mul64(id, s.n)
	return high == 0
}

// Snapshot passes on the rows that are in the sample.
func (s *sample) Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error {
	return s.Handler.Snapshot(func(yield func(*table.Conn) bool) {
		for row := range rows {
			if s.wants(row) && !yield(row) {
				return
			}
		}
	}, took)
}

// Change passes on a change of a connection that is in the sample.
func (s *sample) Change(c *table.Change) error {
	if !s.wants(c.Conn) {
		s.dropped++
		return nil
	}
	return s.Handler.Change(c)
}
