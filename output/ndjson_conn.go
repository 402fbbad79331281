package output

import (
	"bytes"
	"math"
	"time"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// The words for what the tracer numbers. What is not known has none.
var (
	directions   = [...]string{table.Outgoing: "outgoing", table.Incoming: "incoming"}
	sides        = [...]string{table.Local: "local", table.Remote: "remote"}
	ownerSources = [...]string{
		snapshot.OwnerSocket:   "socket",
		snapshot.OwnerFiles:    "files",
		snapshot.OwnerListener: "listener",
		snapshot.OwnerContext:  "context",
	}
)

// Change appends a "tcp_state" or a "tcp_close" record, or a "socket" record of a
// connection whose owner was found late.
func (w *NDJSON) Change(c *table.Change) {
	switch c.Kind {
	case table.ChangeState:
		w.tcpState(c)
	case table.ChangeClose:
		w.tcpClose(c)
	case table.ChangeOwner:
		w.socket(w.wall.At(c.Time), c.Conn)
	}
}

// Conn appends the "socket" record of a connection of the stream's table, as it
// was at the time at.
func (w *NDJSON) Conn(at time.Time, c *table.Conn) {
	w.socket(at.UnixNano(), c)
}

func (w *NDJSON) socket(wall int64, c *table.Conn) {
	w.begin("socket", wall)
	w.socketBy(c, w.identity, w.owner)
}

// socketBy completes the line of a row. The schema has members of its own for what
// identifies a connection, and for its owner.
func (w *NDJSON) socketBy(c *table.Conn, conn func(*identity), owner func(*holder)) {
	w.connBy(c, false, conn)
	w.source()
	w.state(`,"state":`, c.State)
	k := w.holding(&c.Head, c.HasUID)
	w.ownerBy(k, owner)
	w.row(c)
	w.pathsOf(k)
	w.end()
}

// row adds what rows have besides.
func (w *NDJSON) row(c *table.Conn) {
	w.queue(`,"recv_q":`, c.RecvQ)
	w.queue(`,"send_q":`, c.SendQ)
	w.inode(c.Inode)
}

func (w *NDJSON) tcpState(c *table.Change) {
	w.beginChange("tcp_state", c)
	w.step(c, w.states)
	k := w.holding(&c.Conn.Head, c.Conn.HasUID)
	w.ownerBy(k, w.owner)
	w.pathsOf(k)
	w.end()
}

func (w *NDJSON) states(c *table.Change) {
	w.state(`,"old_state":`, c.Old)
	w.state(`,"new_state":`, c.New)
}

func (w *NDJSON) tcpClose(c *table.Change) {
	w.beginChange("tcp_close", c)
	k := w.holding(&c.Conn.Head, c.Conn.HasUID)
	w.ownerBy(k, w.owner)
	w.life(c)
	closed := c.Close
	if closed == nil {
		closed = &table.Closed{}
	}
	w.ending(closed, &c.Conn.History)
	if closed.HasStats {
		w.counters(closed)
	}
	w.pathsOf(k)
	w.end()
}

// beginChange starts the line of a change, up to what both kinds have.
func (w *NDJSON) beginChange(event string, c *table.Change) {
	w.begin(event, w.wall.At(c.Time))
	if w.fromKernel(c) {
		w.buf = appendUint(append(w.buf, `,"mono_ns":`...), c.Time)
	}
	w.connBy(c.Conn, c.Kind == table.ChangeClose, w.identity)
	w.source()
	if c.Inferred {
		w.flag(`,"inferred":`, true)
	}
}

// fromKernel reports whether an event of the kernel stands behind a change.
func (w *NDJSON) fromKernel(c *table.Change) bool { return !c.Inferred && !w.opts.Poll }

func (w *NDJSON) source() {
	if w.opts.Poll {
		w.word(`,"source":`, "poll")
	}
}

// identity adds what identifies a connection.
func (w *NDJSON) identity(id *identity) {
	b := appendHex64(append(w.buf, `,"conn_id":"`...), id.id)
	if id.cookie != 0 {
		b = appendUint(append(b, `","cookie":"`...), id.cookie)
	}
	b = append(b, `","transport":"tcp"`...)
	w.buf = b
	w.addresses(id.local, id.remote, id.device)
	w.name(`,"direction":`, directions[:], uint8(id.direction))
	if id.netns != 0 {
		w.buf = appendUint(append(w.buf, `,"netns":`...), uint64(id.netns))
	}
}

func (w *line) connID(id *identity) {
	w.hex(`,"conn_id":`, id.id)
	if id.cookie != 0 {
		w.id(`,"cookie":`, id.cookie)
	}
}

// owner adds the process and the user that a connection belongs to.
func (w *NDJSON) owner(h *holder) {
	if h.hasUID {
		w.user(h.uid)
	}
	w.process(h)
}

// process adds the process that a connection belongs to. One outside of the pid
// namespace that is shown has no number there.
func (w *NDJSON) process(h *holder) {
	p := h.owner.Process
	if p != nil {
		if p.PID != 0 {
			w.uint(`,"pid":`, uint64(p.PID))
			if h.owner.TID != 0 {
				w.uint(`,"tid":`, uint64(h.owner.TID))
			}
		}
		w.str(`,"comm":`, p.Comm, nameMax)
		w.str(`,"program":`, processName(p), textMax)
		w.thread(&h.owner.Thread)
		w.name(`,"owner_src":`, ownerSources[:], uint8(h.owner.Source))
	}
	if h.cgroup != 0 {
		w.id(`,"cgroup_id":`, h.cgroup)
	}
}

func (w *line) thread(name *[16]byte) {
	w.str(`,"thread":`, string(untilNUL(name)), nameMax)
}

// untilNUL returns a name that ends with a NUL, if it is not full.
func untilNUL(name *[16]byte) []byte {
	if n := bytes.IndexByte(name[:], 0); n >= 0 {
		return name[:n]
	}
	return name[:]
}

// paths adds the strings that may be long. They come last in a line, so that
// they take what the other fields leave.
func (w *NDJSON) paths(h *holder) {
	w.workload(h.workload)
	p := h.owner.Process
	if p == nil {
		return
	}
	w.str(`,"exe":`, p.Exe, pathMax)
	if w.opts.Cmdline {
		w.cmdline(p.Cmdline)
	}
}

// life adds when a connection began and how long it and its handshake took.
func (w *NDJSON) life(c *table.Change) {
	conn := c.Conn
	b := w.since.append(append(w.buf, `,"start":"`...), w.wall.At(conn.Start))
	b = append(b, '"')
	if !conn.StartKnown {
		b = append(b, `,"start_known":false`...)
	}
	b = appendUint(append(b, `,"duration_ns":`...), since(conn.Start, c.Time))
	if conn.StartKnown && conn.Established != 0 {
		b = appendUint(append(b, `,"established_ns":`...), since(conn.Start, conn.Established))
	}
	w.buf = b
}

// since returns the time from start to end, or 0 if end comes first: the clocks of
// two CPUs may differ by a little.
func since(start, end uint64) uint64 {
	if end < start {
		return 0
	}
	return end - start
}

// ended adds how a connection ended and the states that it went through.
func (w *NDJSON) ended(e *ending) {
	w.word(`,"outcome":`, outcomes[e.outcome].word)
	w.errno(e.errno)
	w.name(`,"closed_by":`, sides[:], uint8(e.closedBy))
	w.history(&e.history)
}

// history adds the states that a connection went through.
func (w *NDJSON) history(h *table.History) {
	if len(h.States()) == 0 {
		return
	}
	b := append(w.keyed(`,"history":`), '"')
	w.buf = append(appendHistory(b, h), '"')
}

func appendHistory(dst []byte, h *table.History) []byte {
	for i, s := range h.States() {
		if i > 0 {
			dst = append(dst, '>')
		}
		dst = append(dst, s.String()...)
	}
	return dst
}

// counters adds the kernel's statistics of the connection.
func (w *NDJSON) counters(c *table.Closed) {
	b := appendUint(append(w.buf, `,"bytes_sent":`...), c.BytesSent)
	b = appendUint(append(b, `,"bytes_received":`...), c.BytesReceived)
	b = appendUint(append(b, `,"bytes_retrans":`...), c.BytesRetrans)
	b = appendUint(append(b, `,"segs_out":`...), uint64(c.SegsOut))
	b = appendUint(append(b, `,"segs_in":`...), uint64(c.SegsIn))
	b = appendUint(append(b, `,"retrans":`...), uint64(c.Retrans))
	if c.RTT != 0 { // it was measured
		b = appendUint(append(b, `,"rtt_us":`...), uint64(c.RTT))
	}
	if c.MinRTT != math.MaxUint32 {
		b = appendUint(append(b, `,"rtt_min_us":`...), uint64(c.MinRTT))
	}
	w.buf = b
}
