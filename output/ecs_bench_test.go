package output

import (
	"io"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// The benchmarks of NDJSON, with the names of the Elastic Common Schema.

func BenchmarkECSState(b *testing.B) {
	w := newECSWriter(io.Discard, NDJSONOptions{})
	change := &table.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: outgoing()}
	benchmarkLine(b, w, func() { w.Change(change) })
}

func BenchmarkECSClose(b *testing.B) {
	w := newECSWriter(io.Discard, NDJSONOptions{})
	change := &table.Change{
		Kind: table.ChangeClose, Time: noonMono, Conn: outgoing(),
		Close: &table.Closed{Outcome: table.Finished, HasStats: true, RTT: 1},
	}
	w.Change(&table.Change{Time: noonMono, Old: snapshot.TimeWait, New: snapshot.Close, Conn: change.Conn}) // is told before
	benchmarkLine(b, w, func() { w.Change(change) })
}
