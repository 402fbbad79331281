package output

import (
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/nettrace/nettrace/tracer/table"
)

// ECSVersion is the version of the Elastic Common Schema whose names and values ECS
// writes.
const ECSVersion = "9.4.0"

// ECS writes the records of a stream as NDJSON does, with the names and values of the
// Elastic Common Schema where it has some, and otherwise with those of NDJSON behind
// "nettrace.". docs/nettrace.ecs.schema.json describes the lines. They are flat: the
// dots stand in the keys.
//
// Records of the run itself are those of NDJSON, renamed. The records of connections
// differ: source and destination are the local and remote side of an outgoing
// connection, and the other way round of an incoming one.
type ECS struct {
	NDJSON
	picks [len(ecsDirections)]*pick // by direction; nil: lines have all members
}

// NewECS returns a writer of a stream's records to out.
func NewECS(out io.Writer, opts NDJSONOptions, wall Clock) *ECS {
	w := &ECS{NDJSON: *NewNDJSON(out, opts, wall)}
	w.setMark(`,"nettrace.truncated":true`, 2)
	w.ecs = newECSEnvelope(opts.RunID)
	w.identify(`,"nettrace.run_id":"`, `,"nettrace.sample_rate":`, `,"host.name":"`)
	for d := range w.picks {
		w.picks[d] = newECSPick(opts.Fields, table.Direction(d))
	}
	w.pick = w.picks[table.DirectionUnknown]
	return w
}

// ecsDirections are the words of a host's point of view.
var ecsDirections = [...]string{table.Outgoing: "egress", table.Incoming: "ingress"}

// Change appends a "tcp_state" or a "tcp_close" record, or a "socket" record of a
// connection whose owner was found late.
func (w *ECS) Change(c *table.Change) {
	switch c.Kind {
	case table.ChangeState:
		w.tcpState(c)
	case table.ChangeClose:
		w.tcpClose(c)
	case table.ChangeOwner:
		w.socket(w.wall.At(c.Time), c.Conn)
	}
}

// Conn appends the "socket" record of a connection of the stream's table, as it was at
// the time at.
func (w *ECS) Conn(at time.Time, c *table.Conn) { w.socket(at.UnixNano(), c) }

func (w *ECS) socket(wall int64, c *table.Conn) {
	w.beginConn("socket", ecsSocket, wall, c)
	w.socketBy(c, w.identity, w.owner)
}

func (w *ECS) tcpState(c *table.Change) {
	w.beginChange("tcp_state", ecsTransition(c), c)
	w.step(c, w.states)
	k := w.holding(&c.Conn.Head, c.Conn.HasUID)
	w.ownerBy(k, w.owner)
	w.pathsOf(k)
	w.end()
}

func (w *ECS) states(c *table.Change) {
	w.state(`,"nettrace.old_state":`, c.Old)
	w.state(`,"nettrace.new_state":`, c.New)
}

func (w *ECS) tcpClose(c *table.Change) {
	closed := c.Close
	if closed == nil {
		closed = &table.Closed{}
	}
	w.beginChange("tcp_close", ecsClose(closed), c)
	k := w.holding(&c.Conn.Head, c.Conn.HasUID)
	w.ownerBy(k, w.owner)
	w.life(c)
	w.time(`,"event.end":`, w.wall.At(c.Time))
	w.word(`,"event.outcome":`, ecsOutcome(closed))
	w.ending(closed, &c.Conn.History)
	if closed.HasStats {
		w.counters(c.Conn.Direction, closed)
	}
	w.pathsOf(k)
	w.end()
}

// beginConn starts the line of a record about a connection.
func (w *ECS) beginConn(event, class string, wall int64, c *table.Conn) {
	if int(c.Direction) < len(w.picks) {
		w.pick = w.picks[c.Direction]
	}
	w.beginECS(event, class, wall)
}

// beginChange starts the line of a change, up to what both kinds have.
func (w *ECS) beginChange(event, class string, c *table.Change) {
	w.beginConn(event, class, w.wall.At(c.Time), c.Conn)
	if w.fromKernel(c) {
		w.uint(`,"nettrace.mono_ns":`, c.Time)
	}
	w.connBy(c.Conn, c.Kind == table.ChangeClose, w.identity)
	w.source()
	if c.Inferred {
		w.flag(`,"nettrace.inferred":`, true)
	}
}

// identity adds what identifies a connection.
func (w *ECS) identity(id *identity) {
	local, remote := ecsSides(id.direction)
	w.connID(id)
	w.word(`,"network.transport":`, "tcp")
	w.word(`,"network.type":`, familyName(onWire(id)))
	w.name(`,"network.direction":`, ecsDirections[:], uint8(id.direction))
	w.side(local, id.local, id.device)
	w.side(remote, id.remote, id.device)
	if id.device.index != 0 {
		w.str(`,"nettrace.iface":`, id.device.name, nameMax)
	}
	if id.netns != 0 {
		w.uint(`,"nettrace.netns":`, uint64(id.netns))
	}
}

// onWire returns an address of the family whose packets a connection has: those of an
// IPv6 socket with IPv4 peers are of IPv4.
func onWire(id *identity) netip.Addr {
	if remote := id.remote.Addr().Unmap(); remote.Is4() {
		return remote
	}
	return id.local.Addr().Unmap()
}

// ecsSide are the keys of one side of a connection.
type ecsSide struct{ ip, address, port, bytes, packets string }

var (
	ecsSource = ecsSide{
		`,"source.ip":`, `,"source.address":`, `,"source.port":`, `,"source.bytes":`, `,"source.packets":`,
	}
	ecsDestination = ecsSide{
		`,"destination.ip":`, `,"destination.address":`, `,"destination.port":`, `,"destination.bytes":`, `,"destination.packets":`,
	}
)

// ecsSides returns the keys of both sides: the source is who opened the connection, or
// this host where that is not known.
func ecsSides(d table.Direction) (local, remote *ecsSide) {
	if d == table.Incoming {
		return &ecsDestination, &ecsSource
	}
	return &ecsSource, &ecsDestination
}

// side adds one side of a connection. Where there is none, as the peer of a listener,
// nothing is added. An address that Elasticsearch's type ip cannot hold as it is, with
// a zone or of an IPv6 socket with IPv4 peers, stands in full beside it.
func (w *ECS) side(s *ecsSide, a netip.AddrPort, d device) {
	ip := a.Addr().Unmap().WithZone("")
	if !known(a) {
		return
	}
	w.addr(s.ip, ip)
	if ip != a.Addr() || d.index != 0 && hasZone(ip) {
		w.addrOn(s.address, a.Addr(), d)
	}
	w.port(s.port, a.Port())
}

// known reports whether a side of a connection is one: the unspecified address without
// a port says that there is none, or that it is not known.
func known(a netip.AddrPort) bool {
	return a.Port() != 0 || !a.Addr().Unmap().WithZone("").IsUnspecified()
}

// owner adds the process and the user that a connection belongs to.
func (w *ECS) owner(h *holder) {
	if h.hasUID {
		w.id(`,"user.id":`, uint64(h.uid))
		if w.opts.Users != nil {
			w.str(`,"user.name":`, w.opts.Users.User(h.uid), textMax)
		}
	}
	w.process(h)
}

// counters adds the kernel's statistics of the connection.
func (w *ECS) counters(d table.Direction, c *table.Closed) {
	local, remote := ecsSides(d)
	w.uint(local.bytes, c.BytesSent)
	w.uint(remote.bytes, c.BytesReceived)
	w.uint(`,"nettrace.bytes_retrans":`, c.BytesRetrans)
	w.uint(local.packets, uint64(c.SegsOut))
	w.uint(remote.packets, uint64(c.SegsIn))
	w.uint(`,"nettrace.retrans":`, uint64(c.Retrans))
	if c.RTT != 0 {
		w.uint(`,"nettrace.rtt_us":`, uint64(c.RTT))
	}
	if c.MinRTT != math.MaxUint32 {
		w.uint(`,"nettrace.rtt_min_us":`, uint64(c.MinRTT))
	}
}

// life adds when a connection began and how long it and its handshake took.
func (w *ECS) life(c *table.Change) {
	conn := c.Conn
	w.time(`,"event.start":`, w.wall.At(conn.Start))
	if !conn.StartKnown {
		w.flag(`,"nettrace.start_known":`, false)
	}
	w.uint(`,"event.duration":`, since(conn.Start, c.Time))
	if conn.StartKnown && conn.Established != 0 {
		w.uint(`,"nettrace.established_ns":`, since(conn.Start, conn.Established))
	}
}
