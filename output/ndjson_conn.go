package output

import (
	"bytes"
	"math"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
)

// The words for what the tracer numbers. What is not known has none.
var (
	directions   = [...]string{tracer.Outgoing: "outgoing", tracer.Incoming: "incoming"}
	sides        = [...]string{tracer.Local: "local", tracer.Remote: "remote"}
	ownerSources = [...]string{
		tracer.OwnerSocket:   "socket",
		tracer.OwnerFiles:    "files",
		tracer.OwnerListener: "listener",
		tracer.OwnerContext:  "context",
	}
	outcomes = [...]string{
		tracer.OutcomeUnknown:   "unknown",
		tracer.Finished:         "closed",
		tracer.ResetLocal:       "reset_local",
		tracer.ResetRemote:      "reset_remote",
		tracer.Refused:          "refused",
		tracer.TimeoutConnect:   "timeout_connect",
		tracer.Unreachable:      "unreachable",
		tracer.AbortedConnect:   "aborted_connect",
		tracer.HandshakeDropped: "handshake_dropped",
		tracer.Timeout:          "timeout",
		tracer.Destroyed:        "destroyed",
	}
)

// Change appends a "tcp_state" or a "tcp_close" record.
func (w *NDJSON) Change(c *tracer.Change) {
	switch c.Kind {
	case tracer.ChangeState:
		w.tcpState(c)
	case tracer.ChangeClose:
		w.tcpClose(c)
	}
}

// Conn appends the "socket" record of a connection of the stream's table, as it
// was at the time at.
func (w *NDJSON) Conn(at time.Time, c *tracer.Conn) {
	w.beginAt("socket", at)
	w.conn(c)
	w.source()
	w.state(`,"state":`, c.State)
	w.owner(c)
	w.uint(`,"recv_q":`, uint64(c.RecvQ))
	w.uint(`,"send_q":`, uint64(c.SendQ))
	if c.Inode != 0 {
		w.uint(`,"inode":`, c.Inode)
	}
	w.paths(c.Owner.Process)
	w.end()
}

func (w *NDJSON) tcpState(c *tracer.Change) {
	w.beginChange("tcp_state", c)
	w.state(`,"old_state":`, c.Old)
	w.state(`,"new_state":`, c.New)
	w.holder(c.Conn)
	w.end()
}

func (w *NDJSON) tcpClose(c *tracer.Change) {
	w.beginChange("tcp_close", c)
	w.owner(c.Conn)
	w.life(c)
	closed := c.Close
	if closed == nil {
		closed = &tracer.Closed{}
	}
	w.ending(closed)
	w.history(&c.Conn.History)
	if closed.HasStats {
		w.counters(closed)
	}
	w.paths(c.Conn.Owner.Process)
	w.end()
}

// beginChange starts the line of a change, up to what both kinds have.
func (w *NDJSON) beginChange(event string, c *tracer.Change) {
	w.begin(event, w.wall(c.Time))
	if !c.Inferred && !w.opts.Poll { // otherwise no event of the kernel stands behind it
		w.uint(`,"mono_ns":`, c.Time)
	}
	w.conn(c.Conn)
	w.source()
	if c.Inferred {
		w.flag(`,"inferred":`, true)
	}
}

func (w *NDJSON) source() {
	if w.opts.Poll {
		w.word(`,"source":`, "poll")
	}
}

// written is what the last record of a connection held and its next one will
// hold too, as bytes: to make them anew takes three times as long.
type written struct {
	id            uint64
	local, remote netip.AddrPort
	direction     tracer.Direction
	netns         uint32
	conn          []byte // what conn added; empty: nothing is kept

	owner    tracer.Owner
	uid      uint32
	hasInode bool
	cgroup   uint64
	holder   []byte // what holder added; empty: nothing is kept
}

// writtenKept is how many connections that is kept of: a connection under way
// has a few records within microseconds. It takes half a megabyte.
const writtenKept = 1024

// writtenOf gives the place for a connection.
func (w *NDJSON) writtenOf(c *tracer.Conn) *written {
	if w.written == nil {
		w.written = make([]written, writtenKept)
	}
	return &w.written[c.ID%writtenKept]
}

// conn adds what identifies a connection.
func (w *NDJSON) conn(c *tracer.Conn) {
	k := w.writtenOf(c)
	if len(k.conn) > 0 && k.id == c.ID && k.local == c.Local && k.remote == c.Remote &&
		k.direction == c.Direction && k.netns == c.Netns {
		w.buf = append(w.buf, k.conn...)
		return
	}
	start, cut := len(w.buf), w.cut
	w.cut = false
	w.identity(c)
	k.id, k.local, k.remote, k.direction, k.netns = c.ID, c.Local, c.Remote, c.Direction, c.Netns
	k.conn, k.holder = k.conn[:0], k.holder[:0]
	if !w.cut {
		k.conn = append(k.conn, w.buf[start:]...)
	}
	w.cut = w.cut || cut
}

// holder adds whose a connection is. To be called after conn.
func (w *NDJSON) holder(c *tracer.Conn) {
	k := w.writtenOf(c)
	if 0 < len(k.holder) && len(k.holder) <= w.room() && k.owner == c.Owner &&
		k.uid == c.UID && k.hasInode == (c.Inode != 0) && k.cgroup == c.CgroupID {
		w.buf = append(w.buf, k.holder...)
		return
	}
	start, cut := len(w.buf), w.cut
	w.cut = false
	w.owner(c)
	w.paths(c.Owner.Process)
	k.owner, k.uid, k.hasInode, k.cgroup = c.Owner, c.UID, c.Inode != 0, c.CgroupID
	k.holder = k.holder[:0]
	if !w.cut { // else the next one may have more room
		k.holder = append(k.holder, w.buf[start:]...)
	}
	w.cut = w.cut || cut
}

// identity makes what identifies a connection.
func (w *NDJSON) identity(c *tracer.Conn) {
	w.key(`,"conn_id":`)
	w.buf = append(w.buf, '"')
	w.buf = appendHex64(w.buf, c.ID)
	w.buf = append(w.buf, '"')
	w.word(`,"transport":`, "tcp")
	w.addresses(c.Local, c.Remote)
	w.name(`,"direction":`, directions[:], uint8(c.Direction))
	if c.Netns != 0 {
		w.uint(`,"netns":`, uint64(c.Netns))
	}
}

func (w *NDJSON) addresses(local, remote netip.AddrPort) {
	w.family(local.Addr())
	w.endpoint(`,"local_addr":`, `,"local_port":`, local)
	w.endpoint(`,"remote_addr":`, `,"remote_port":`, remote)
}

// family adds the family of an address. A v4-mapped one is of an IPv6 socket.
func (w *NDJSON) family(a netip.Addr) {
	if a.Is4() {
		w.word(`,"family":`, "ipv4")
	} else {
		w.word(`,"family":`, "ipv6")
	}
}

func (w *NDJSON) endpoint(addrKey, portKey string, a netip.AddrPort) {
	w.addr(addrKey, a.Addr())
	w.port(portKey, a.Port())
}

// addr adds an address as RFC 5952 spells it. A zone is the name of an
// interface, which may hold any byte but a slash, a colon and white space
// (dev_valid_name in net/core/dev.c, 6.12).
func (w *NDJSON) addr(key string, a netip.Addr) {
	w.key(key)
	w.buf = append(w.buf, '"')
	if zone := a.Zone(); zone == "" {
		w.buf = a.AppendTo(w.buf)
	} else {
		w.buf = a.WithZone("").AppendTo(w.buf)
		w.buf = append(w.buf, '%')
		w.escaped(zone, nameMax)
	}
	w.buf = append(w.buf, '"')
}

// port adds a port. Port 0 says that there is none, or that it is not known.
func (w *NDJSON) port(key string, port uint16) {
	if port != 0 {
		w.uint(key, uint64(port))
	}
}

// state adds a TCP state; a number that is none is not told.
func (w *NDJSON) state(key string, s snapshot.State) {
	if s >= snapshot.Established && s <= snapshot.Closing {
		w.word(key, s.String())
	}
}

// owner adds the process and the user that a connection belongs to.
func (w *NDJSON) owner(c *tracer.Conn) {
	p := c.Owner.Process
	// The kernel gives the user 0 to a socket without a file: unknown, not root.
	if c.UID != 0 || c.Inode != 0 || p != nil {
		w.user(c.UID)
	}
	if p != nil {
		w.uint(`,"pid":`, uint64(p.PID))
		if c.Owner.TID != 0 {
			w.uint(`,"tid":`, uint64(c.Owner.TID))
		}
		w.str(`,"comm":`, p.Comm, nameMax)
		w.thread(&c.Owner.Thread)
		w.name(`,"owner_src":`, ownerSources[:], uint8(c.Owner.Source))
	}
	if c.CgroupID != 0 {
		w.id(`,"cgroup_id":`, c.CgroupID)
	}
}

func (w *NDJSON) user(uid uint32) {
	w.uint(`,"uid":`, uint64(uid))
	if w.opts.UserName != nil {
		w.str(`,"user":`, w.opts.UserName(uid), textMax)
	}
}

func (w *NDJSON) thread(name *[16]byte) {
	n := bytes.IndexByte(name[:], 0)
	if n < 0 {
		n = len(name)
	}
	w.str(`,"thread":`, string(name[:n]), nameMax)
}

// paths adds the strings that may be long. They come last in a line, so that
// they take what the other fields leave.
func (w *NDJSON) paths(p *tracer.Process) {
	if p == nil {
		return
	}
	w.str(`,"exe":`, p.Exe, pathMax)
	if w.opts.Cmdline {
		w.cmdline(p.Cmdline)
	}
}

// cmdline adds a command line whose arguments are separated by NUL, with spaces
// between them.
func (w *NDJSON) cmdline(args string) {
	args = strings.TrimRight(args, "\x00")
	if args == "" {
		return
	}
	w.key(`,"cmdline":`)
	w.buf = append(w.buf, '"')
	for more := true; more; {
		var arg string
		arg, args, more = strings.Cut(args, "\x00")
		if w.escaped(arg, w.room()-1) || more && w.escaped(" ", w.room()-1) {
			break
		}
	}
	w.buf = append(w.buf, '"')
}

// life adds when a connection began and how long it and its handshake took.
func (w *NDJSON) life(c *tracer.Change) {
	conn := c.Conn
	w.time(`,"start":`, w.wall(conn.Start))
	if !conn.StartKnown {
		w.flag(`,"start_known":`, false)
	}
	w.uint(`,"duration_ns":`, since(conn.Start, c.Time))
	if conn.StartKnown && conn.Established != 0 {
		w.uint(`,"established_ns":`, since(conn.Start, conn.Established))
	}
}

// since gives the time from start to end, or 0 if end comes first: the clocks of
// two CPUs may differ by a little.
func since(start, end uint64) uint64 {
	if end < start {
		return 0
	}
	return end - start
}

// ending adds how a connection ended.
func (w *NDJSON) ending(c *tracer.Closed) {
	outcome := c.Outcome
	if int(outcome) >= len(outcomes) {
		outcome = tracer.OutcomeUnknown
	}
	w.word(`,"outcome":`, outcomes[outcome])
	if c.Errno != 0 {
		if name := unix.ErrnoName(c.Errno); name != "" {
			w.word(`,"errno":`, name)
		} else { // the kernel has numbers of its own (include/linux/errno.h)
			w.id(`,"errno":`, uint64(c.Errno))
		}
	}
	w.name(`,"closed_by":`, sides[:], uint8(c.ClosedBy))
}

// history adds the states that a connection went through.
func (w *NDJSON) history(h *tracer.History) {
	states := h.States()
	if len(states) == 0 {
		return
	}
	w.key(`,"history":`)
	w.buf = append(w.buf, '"')
	for i, s := range states {
		if i > 0 {
			w.buf = append(w.buf, '>')
		}
		w.buf = append(w.buf, s.String()...)
	}
	w.buf = append(w.buf, '"')
}

// counters adds the kernel's statistics of the connection. A round-trip time
// that was not measured is left out.
func (w *NDJSON) counters(c *tracer.Closed) {
	w.uint(`,"bytes_sent":`, c.BytesSent)
	w.uint(`,"bytes_received":`, c.BytesReceived)
	w.uint(`,"segs_out":`, uint64(c.SegsOut))
	w.uint(`,"segs_in":`, uint64(c.SegsIn))
	w.uint(`,"retrans":`, uint64(c.Retrans))
	if c.RTT != 0 {
		w.uint(`,"rtt_us":`, uint64(c.RTT))
	}
	if c.MinRTT != math.MaxUint32 {
		w.uint(`,"rtt_min_us":`, uint64(c.MinRTT))
	}
}
