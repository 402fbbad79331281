package output

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// column is one that ColumnText can show.
type column struct {
	name  string // as records and --fields have it
	title string
	width int // in cells
	// narrow is the width on a terminal that has not room for the wide form; 0: the
	// same.
	narrow int
	// cut says that on a terminal its text is cut to the width: the names that
	// processes have.
	cut bool
	// append appends the value, or nothing where it is not known.
	append func(l *columnLine, dst []byte) []byte
}

// columnLine is what the columns of a line are made from.
type columnLine struct {
	style *StreamStyle
	gap   string         // between a number and its unit
	short bool           // states have short words
	when  uint64         // CLOCK_MONOTONIC, ns
	wall  Clock          // for times that lie behind
	start timeText       // likewise
	old   snapshot.State // old and new are 0 where a close stands alone
	new   snapshot.State
	known bool // an event reported it, and not a comparison
	conn  *table.Conn
	close *table.Closed // nil: not ended
	// socket is the change of a socket that is none of TCP; conn has then what such a
	// socket has in common with a connection. nil: it is one.
	socket *table.SocketChange
}

// set begins a line.
func (l *columnLine) set(when uint64, conn *table.Conn, known bool) {
	l.when, l.conn, l.known = when, conn, known
	l.close, l.old, l.new, l.socket = nil, 0, 0, nil
}

// columns are all columns but the time, which always comes first.
var columns = slices.Concat(connColumns, socketColumns)

var connColumns = []column{
	{name: "mono_ns", title: "MONO NS", width: 19, append: func(l *columnLine, dst []byte) []byte {
		if !l.known {
			return dst
		}
		return strconv.AppendUint(dst, l.when, 10)
	}},
	{name: "conn_id", title: "CONN ID", width: 16, append: func(l *columnLine, dst []byte) []byte { return appendHex64(dst, l.conn.ID) }},
	{name: "cookie", title: "COOKIE", width: numberColumn, append: func(l *columnLine, dst []byte) []byte { return appendNonzero(dst, l.conn.Cookie) }},
	{name: "transport", title: "PROTO", width: wideProto, append: func(l *columnLine, dst []byte) []byte {
		return append(dst, protocolLabel(l.conn.Protocol, l.conn.Local.Addr().Is6())...)
	}},
	{name: "family", title: "FAMILY", width: 6, append: func(l *columnLine, dst []byte) []byte {
		if !l.conn.Local.IsValid() {
			return dst
		}
		return append(dst, familyName(l.conn.Local.Addr())...)
	}},
	{name: "local", title: "LOCAL ADDRESS", width: wideEndpoint, narrow: compactEndpoint, append: (*columnLine).appendLocal},
	{name: "remote", title: "FOREIGN ADDRESS", width: wideEndpoint, narrow: compactEndpoint, append: (*columnLine).appendRemote},
	{name: "local_addr", title: "LOCAL", width: addrColumn, append: func(l *columnLine, dst []byte) []byte {
		return l.appendAddr(dst, l.conn.Local.Addr())
	}},
	{name: "local_port", title: "PORT", width: portColumn, append: func(l *columnLine, dst []byte) []byte { return l.appendPort(dst, l.conn.Local) }},
	{name: "remote_addr", title: "FOREIGN", width: addrColumn, append: func(l *columnLine, dst []byte) []byte {
		return l.appendAddr(dst, l.conn.Remote.Addr())
	}},
	{name: "remote_port", title: "PORT", width: portColumn, append: func(l *columnLine, dst []byte) []byte { return l.appendPort(dst, l.conn.Remote) }},
	{name: "iface", title: "IFACE", width: numberColumn, append: func(l *columnLine, dst []byte) []byte {
		if l.conn.Device == 0 || l.style.Devices == nil {
			return dst
		}
		return l.style.appendZone(dst, &l.conn.Head)
	}},
	{name: "direction", title: "DIRECTION", width: 9, append: func(l *columnLine, dst []byte) []byte {
		return append(dst, wordOf(directions[:], uint8(l.conn.Direction))...)
	}},
	{name: "netns", title: "NETNS", width: numberColumn, append: func(l *columnLine, dst []byte) []byte { return appendNonzero(dst, uint64(l.conn.Netns)) }},
	{name: "inferred", title: "INFERRED", width: 8, append: func(l *columnLine, dst []byte) []byte {
		if l.known {
			return dst
		}
		return append(dst, "inferred"...)
	}},
	{name: "old_state", title: "FROM", width: stateColumn, append: func(l *columnLine, dst []byte) []byte { return l.appendState(dst, l.old, stateBefore) }},
	{name: "new_state", title: "TO", width: stateColumn, append: func(l *columnLine, dst []byte) []byte { return l.appendState(dst, l.new, stateAfter) }},
	{name: "transition", title: "STATE", width: wideState, narrow: compactState, append: (*columnLine).appendTransition},
	{name: "uid", title: "UID", width: numberColumn, append: func(l *columnLine, dst []byte) []byte {
		if !l.conn.HasUID {
			return dst
		}
		return strconv.AppendUint(dst, uint64(l.conn.UID), 10)
	}},
	{name: "user", title: "USER", width: numberColumn, append: func(l *columnLine, dst []byte) []byte {
		return appendUserOf(dst, &l.style.Names, l.conn.UID, l.conn.HasUID)
	}},
	{name: "pid", title: "PID", width: 7, append: func(l *columnLine, dst []byte) []byte { return appendNonzero(dst, uint64(l.process().PID)) }},
	{name: "tid", title: "TID", width: 7, append: func(l *columnLine, dst []byte) []byte { return appendNonzero(dst, uint64(l.conn.Owner.TID)) }},
	{name: "comm", title: "COMM", width: commColumn, cut: true, append: func(l *columnLine, dst []byte) []byte { return appendVisible(dst, l.process().Comm, l.style.ASCII) }},
	{name: "program", title: "PROGRAM", width: commColumn, cut: true, append: func(l *columnLine, dst []byte) []byte {
		return appendVisible(dst, processName(l.process()), l.style.ASCII)
	}},
	{name: "thread", title: "THREAD", width: commColumn, cut: true, append: func(l *columnLine, dst []byte) []byte {
		return appendVisible(dst, string(untilNUL(&l.conn.Owner.Thread)), l.style.ASCII)
	}},
	{name: "owner_src", title: "BY", width: 8, append: func(l *columnLine, dst []byte) []byte {
		return append(dst, wordOf(ownerSources[:], uint8(l.conn.Owner.Source))...)
	}},
	{name: "cgroup_id", title: "CGROUP", width: numberColumn, append: func(l *columnLine, dst []byte) []byte { return appendNonzero(dst, l.conn.CgroupID) }},
	{name: "container_id", title: "CONTAINER ID", width: shortID, append: ofWorkload(func(w *snapshot.Workload) string { return w.ContainerID[:min(len(w.ContainerID), shortID)] })},
	{name: "container_name", title: "CONTAINER", width: nameColumn, cut: true, append: ofWorkload(func(w *snapshot.Workload) string { return w.ContainerName })},
	{name: "k8s_namespace", title: "NAMESPACE", width: nameColumn, cut: true, append: ofWorkload(func(w *snapshot.Workload) string { return w.Namespace })},
	{name: "k8s_pod", title: "POD", width: 2 * nameColumn, cut: true, append: ofWorkload(func(w *snapshot.Workload) string { return w.Pod })},
	{name: "k8s_container", title: "IN POD", width: nameColumn, cut: true, append: ofWorkload(func(w *snapshot.Workload) string { return w.PodContainer })},
	{name: "k8s_pod_uid", title: "POD UID", width: 36, append: ofWorkload(func(w *snapshot.Workload) string { return w.PodUID })},
	{name: "unit", title: "UNIT", width: 24, cut: true, append: ofWorkload(func(w *snapshot.Workload) string { return w.Unit })},
	{name: "slice", title: "SLICE", width: nameColumn, cut: true, append: ofWorkload(func(w *snapshot.Workload) string { return w.Slice })},
	{name: "inode", title: "INODE", width: numberColumn, append: func(l *columnLine, dst []byte) []byte { return appendNonzero(dst, l.conn.Inode) }},
	{name: "outcome", title: "OUTCOME", width: outcomeColumn, append: (*columnLine).appendOutcome},
	{name: "errno", title: "ERRNO", width: 13, append: func(l *columnLine, dst []byte) []byte {
		e := l.errno()
		if e == 0 {
			return dst
		}
		if name := unix.ErrnoName(e); name != "" {
			return append(dst, name...)
		}
		return strconv.AppendUint(dst, uint64(e), 10)
	}},
	{name: "closed_by", title: "ENDED BY", width: 8, append: func(l *columnLine, dst []byte) []byte {
		if l.close == nil {
			return dst
		}
		return append(dst, wordOf(sides[:], uint8(l.close.ClosedBy))...)
	}},
	{name: "start", title: "START", width: 27, append: func(l *columnLine, dst []byte) []byte { return l.start.append(dst, l.wall.At(l.conn.Start)) }},
	{name: "established_ns", title: "CONNECT", width: durationColumn, append: (*columnLine).appendConnect},
	{name: "duration_ns", title: "LIFE", width: durationColumn, append: (*columnLine).appendLife},
	{name: "bytes_sent", title: "SENT", width: sizeColumn, append: func(l *columnLine, dst []byte) []byte {
		return l.appendSize(dst, func(c *table.Closed) uint64 { return c.BytesSent })
	}},
	{name: "bytes_received", title: "RECEIVED", width: sizeColumn, append: func(l *columnLine, dst []byte) []byte {
		return l.appendSize(dst, func(c *table.Closed) uint64 { return c.BytesReceived })
	}},
	{name: "bytes_retrans", title: "AGAIN", width: sizeColumn, append: func(l *columnLine, dst []byte) []byte {
		return l.appendSize(dst, func(c *table.Closed) uint64 { return c.BytesRetrans })
	}},
	{name: "segs_out", title: "OUT", width: 7, append: func(l *columnLine, dst []byte) []byte {
		return l.appendCount(dst, func(c *table.Closed) uint32 { return c.SegsOut })
	}},
	{name: "segs_in", title: "IN", width: 7, append: func(l *columnLine, dst []byte) []byte {
		return l.appendCount(dst, func(c *table.Closed) uint32 { return c.SegsIn })
	}},
	{name: "retrans", title: "RETR", width: 4, append: func(l *columnLine, dst []byte) []byte {
		return l.appendCount(dst, func(c *table.Closed) uint32 { return c.Retrans })
	}},
	{name: "rtt_us", title: "RTT", width: durationColumn, append: func(l *columnLine, dst []byte) []byte {
		if l.close == nil || !l.close.HasStats || l.close.RTT == 0 {
			return dst
		}
		return appendMillis(dst, 1000*uint64(l.close.RTT), l.gap)
	}},
	{name: "rtt_min_us", title: "RTT MIN", width: durationColumn, append: func(l *columnLine, dst []byte) []byte {
		if l.close == nil || !l.close.HasStats || l.close.MinRTT == math.MaxUint32 {
			return dst
		}
		return appendMillis(dst, 1000*uint64(l.close.MinRTT), l.gap)
	}},
	{name: "owner", title: "PID/PROGRAM", width: ownerWidth, narrow: compactOwnerMax, cut: true, append: func(l *columnLine, dst []byte) []byte {
		return appendOwner(dst, &l.conn.Owner, l.style.ASCII)
	}},
	{name: "history", title: "HISTORY", width: 55, append: func(l *columnLine, dst []byte) []byte {
		if l.socket != nil {
			return appendSocketHistory(dst, &l.socket.Socket.History)
		}
		return appendHistory(dst, &l.conn.History)
	}},
	{name: "exe", title: "EXE", width: 24, cut: true, append: func(l *columnLine, dst []byte) []byte { return appendVisible(dst, l.process().Exe, l.style.ASCII) }},
	{name: "cmdline", title: "COMMAND", width: 24, cut: true, append: func(l *columnLine, dst []byte) []byte { return appendCmdline(dst, l.process().Cmdline, l.style.ASCII) }},
}

// Widths of the columns that only ColumnText has.
const (
	addrColumn     = len("255.255.255.255")
	portColumn     = 5
	stateColumn    = len("ESTABLISHED")
	commColumn     = 15
	outcomeColumn  = len("handshake dropped")
	durationColumn = 8
	sizeColumn     = 8
	nameColumn     = 16
	shortID        = 12 // digits of a container's id, as docker ps has them
)

var nobody snapshot.Process

// process returns the owner of the connection, or one of which nothing is known.
func (l *columnLine) process() *snapshot.Process {
	if p := l.conn.Owner.Process; p != nil {
		return p
	}
	return &nobody
}

var nowhere snapshot.Workload

// workload returns what the owner runs in, or one of which nothing is known.
func (l *columnLine) workload() *snapshot.Workload {
	if w := l.conn.Workload; w != nil {
		return w
	}
	return &nowhere
}

// ofWorkload appends a name of it.
func ofWorkload(name func(*snapshot.Workload) string) func(*columnLine, []byte) []byte {
	return func(l *columnLine, dst []byte) []byte { return appendVisible(dst, name(l.workload()), l.style.ASCII) }
}

// appendLocal appends the local end.
func (l *columnLine) appendLocal(dst []byte) []byte {
	if l.socket != nil {
		return l.style.appendLocal(dst, l.socket.Socket)
	}
	return l.style.appendEndpoint(dst, l.conn.Local, &l.conn.Head)
}

// appendRemote appends the other end.
func (l *columnLine) appendRemote(dst []byte) []byte {
	if l.socket != nil {
		return l.style.appendRemote(dst, l.socket.Socket)
	}
	return l.style.appendEndpoint(dst, l.conn.Remote, &l.conn.Head)
}

// appendAddr appends an address; a Unix socket has none.
func (l *columnLine) appendAddr(dst []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return dst
	}
	return l.style.appendHost(dst, a, &l.conn.Head)
}

func (l *columnLine) appendPort(dst []byte, end netip.AddrPort) []byte {
	if !end.IsValid() {
		return dst
	}
	return l.style.Names.AppendPort(dst, l.conn.Protocol, end.Port())
}

// appendState appends a state; that of a socket that is none of TCP has a word of its
// own.
func (l *columnLine) appendState(dst []byte, s snapshot.State, word func(*table.SocketChange) string) []byte {
	switch {
	case l.socket != nil:
		return append(dst, word(l.socket)...)
	case s == 0:
		return dst
	}
	return append(dst, s.String()...)
}

// appendOutcome appends how a connection ended, or why another socket is gone.
func (l *columnLine) appendOutcome(dst []byte) []byte {
	switch {
	case l.socket != nil:
		return append(dst, reasonText(l.socket)...)
	case l.close == nil:
		return dst
	}
	return append(dst, outcomes[outcomeOf(l.close)].text...)
}

// errno returns the error that ended a connection, or that came with a change.
func (l *columnLine) errno() syscall.Errno {
	switch {
	case l.socket != nil:
		return l.socket.Errno
	case l.close == nil:
		return 0
	}
	return l.close.Errno
}

// ended reports whether it is the end of the socket.
func (l *columnLine) ended() bool {
	return l.close != nil || l.socket != nil && l.socket.Kind == table.SocketClose
}

// appendTransition appends both states, or the only one where a close stands alone. Of a
// socket that is none of TCP it is what happened.
func (l *columnLine) appendTransition(dst []byte) []byte {
	if l.socket != nil {
		return appendChangeWord(dst, l.socket, l.short)
	}
	name, arrow := snapshot.State.String, " -> "
	if l.short {
		name, arrow = shortState, ">"
	}
	if l.new == 0 {
		return append(dst, name(l.conn.State)...)
	}
	if l.old != 0 {
		dst = append(append(dst, name(l.old)...), arrow...)
	}
	return append(dst, name(l.new)...)
}

// appendConnect appends the time from the first record to ESTABLISHED.
func (l *columnLine) appendConnect(dst []byte) []byte {
	c := l.conn
	if !c.StartKnown || c.Established == 0 {
		return dst
	}
	return appendMillis(dst, since(c.Start, c.Established), l.gap)
}

// appendLife appends how long an ended connection was there. One that was there
// before nettrace has lived longer.
func (l *columnLine) appendLife(dst []byte) []byte {
	if !l.ended() {
		return dst
	}
	if !l.conn.StartKnown {
		dst = append(dst, '>')
	}
	return appendMillis(dst, since(l.conn.Start, l.when), l.gap)
}

func (l *columnLine) appendSize(dst []byte, of func(*table.Closed) uint64) []byte {
	if l.close == nil || !l.close.HasStats {
		return dst
	}
	return appendBytes(dst, of(l.close), l.gap)
}

func (l *columnLine) appendCount(dst []byte, of func(*table.Closed) uint32) []byte {
	if l.close == nil || !l.close.HasStats {
		return dst
	}
	return strconv.AppendUint(dst, uint64(of(l.close)), 10)
}

// wordOf returns the word that stands for a number, or "" if it has none.
func wordOf(words []string, number uint8) string {
	if int(number) >= len(words) {
		return ""
	}
	return words[number]
}

func appendNonzero(dst []byte, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return strconv.AppendUint(dst, v, 10)
}
