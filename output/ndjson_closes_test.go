package output

import (
	"io"
	"net/netip"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// benchConns is how many connections churn has: several times what the cache holds.
const benchConns = 1 << 16

// churn makes the changes of a machine whose programs open and close connections to each
// other: each connection has two ends here, each of which is told once. The threads of two processes
// own them.
type churn struct {
	n        uint64
	client   snapshot.Process
	server   snapshot.Process
	workload snapshot.Workload
	conn     table.Conn
	closed   table.Closed
	change   table.Change
}

func newChurn() *churn {
	c := &churn{
		client:   snapshot.Process{PID: 20331, Comm: "loadgen", Exe: "/usr/local/bin/loadgen", Cmdline: "loadgen\x00-rate\x0020000\x00"},
		server:   snapshot.Process{PID: 20107, Comm: "httpd", Exe: "/usr/local/sbin/httpd", Cmdline: "httpd\x00-listen\x00:8080\x00"},
		workload: snapshot.Workload{Unit: "session-3.scope", Slice: "user-1000.slice"},
	}
	c.change = table.Change{Kind: table.ChangeClose, Conn: &c.conn, Close: &c.closed}
	return c
}

// next returns the next close.
func (c *churn) next() *table.Change {
	const second = 1_000_000_000
	end, i := c.n&1, c.n>>1%(benchConns/2)
	c.n++
	id := (2*i + end + 1) * 0x9e3779b97f4a7c15 // ids are random
	start := 76_543*second + c.n*25_000
	c.conn = table.Conn{
		Head: snapshot.Head{
			Netns: 4026531840, UID: 1000, Cookie: 0x1000_0000 + 2*i + end, CgroupID: 4711,
			Workload: &c.workload,
			Owner:    snapshot.Owner{Process: &c.client, TID: uint32(20_332 + i*7%6), Source: snapshot.OwnerSocket},
		},
		ID: id, Start: start, Established: start + 31_000 + i%1000, StartKnown: true, HasUID: true, Direction: table.Outgoing,
	}
	c.closed = table.Closed{
		Outcome: table.Finished, ClosedBy: table.Local, HasStats: true,
		BytesSent: 120 + i%50, BytesReceived: 1024 + i%3000, SegsOut: 6, SegsIn: 5,
		RTT: uint32(40 + i%100), MinRTT: uint32(20 + i%20),
	}
	c.sides(end, i)
	c.change.Time = start + 1_234_567 + i*13
	return &c.change
}

// sides sets what differs between the two ends.
func (c *churn) sides(end, i uint64) {
	local := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 11, 0, 2}), uint16(32768+i%28000))
	remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 11, 0, 1}), 8080)
	states := []snapshot.State{
		snapshot.SynSent, snapshot.Established, snapshot.FinWait1, snapshot.FinWait2, snapshot.TimeWait, snapshot.Close,
	}
	if end == 1 {
		local, remote = remote, local
		states = []snapshot.State{
			snapshot.SynRecv, snapshot.Established, snapshot.CloseWait, snapshot.LastAck, snapshot.Close,
		}
		c.conn.Direction, c.closed.ClosedBy = table.Incoming, table.Remote
		c.conn.Owner.Process, c.conn.Owner.TID = &c.server, uint32(20_108+i*5%6)
	}
	c.conn.Local, c.conn.Remote = local, remote
	for _, s := range states {
		c.conn.History.Add(s)
	}
}

// BenchmarkNDJSONCloses writes closes of which nothing was told before, as a run does that
// tells closes alone.
func BenchmarkNDJSONCloses(b *testing.B) {
	w := newWriter(io.Discard, NDJSONOptions{DeferSeq: true})
	c := newChurn()
	benchmarkLine(b, w, func() { w.Change(c.next()) })
}

// BenchmarkChurn is what of BenchmarkNDJSONCloses makes the changes, and writes nothing.
func BenchmarkChurn(b *testing.B) {
	c := newChurn()
	for b.Loop() {
		c.next()
	}
}
