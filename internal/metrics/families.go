package metrics

import (
	"runtime"
	"slices"
	"strings"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// exposition returns all families.
func (m *Metrics) exposition() []byte {
	var t text
	m.build(&t)
	is := m.look()
	m.standing(&t, &is)
	m.changes(&t)
	m.counts.times(&t)
	outputs := m.outputs()
	m.losses(&t, outputs)
	writeOutputs(&t, outputs)
	return t.buf
}

// build says what runs, and since when.
func (m *Metrics) build(t *text) {
	const name = "nettrace_build_info"
	t.family(name, gauge, "What runs: always 1.")
	t.count(name, 1,
		label{"version", m.run.start.Version}, label{"commit", m.run.start.Commit}, label{"goversion", runtime.Version()})
	const start = "nettrace_start_time_seconds"
	t.family(start, gauge, "When the run began, in seconds since 1970.")
	t.number(start, float64(m.began.UnixMilli())/1000)
	m.hooks(t)
}

// hooks says which hooks are attached.
func (m *Metrics) hooks(t *text) {
	const name = "nettrace_hook_attached"
	t.family(name, gauge, "1 for the hook that a capability uses, 0 for those that it does not.")
	for _, h := range m.run.stream.Hooks() {
		t.count(name, number(h.Chosen), label{"capability", string(h.Capability)}, label{"hook", h.Name})
	}
}

// standing says how the run stands. What it did not tell is left out.
func (m *Metrics) standing(t *text, is *sight) {
	t.one("nettrace_stream_up", gauge, "1 while the stream answers.", number(is.alive))
	if !is.alive {
		return
	}
	const name = "nettrace_tcp_connections"
	t.family(name, gauge, "TCP sockets that are traced now, by state.")
	for s := snapshot.Established; int(s) < states; s++ {
		t.count(name, is.states[s], label{"state", stateName(s)})
	}
	if is.ring > 0 {
		t.one("nettrace_ringbuf_bytes", gauge, "Bytes in the kernel's ring buffer that are not read yet.", uint64(max(is.waiting, 0)))
		t.one("nettrace_ringbuf_limit_bytes", gauge, "Bytes that the kernel's ring buffer holds.", uint64(is.ring))
	}
}

// changes tells what the run has reported.
func (m *Metrics) changes(t *text) {
	m.counts.writeTransitions(t)
	const opened = "nettrace_tcp_opened_total"
	t.family(opened, counter, "TCP connections that began.")
	for d, name := range directionNames {
		t.count(opened, m.counts.opened[d].Load(), label{"direction", name})
	}
	m.counts.writeClosed(t)
	m.sockets(t)
}

// sockets tells of the other sockets that are traced.
func (m *Metrics) sockets(t *text) {
	traced := strings.Split(m.run.start.Transports, ",")
	traced = slices.DeleteFunc(traced, func(word string) bool { return word == snapshot.TCP.String() })
	if len(traced) == 0 {
		return
	}
	const name = "nettrace_socket_changes_total"
	t.family(name, counter, "Changes of UDP, raw and Unix sockets, by what happened.")
	for p := snapshot.UDP; p <= snapshot.Unix; p++ {
		if !slices.Contains(traced, p.String()) {
			continue
		}
		for kind := range table.SocketChangeKinds {
			if n := m.counts.sockets[p][kind].Load(); n > 0 || happens(kind, p) {
				t.count(name, n, label{"transport", p.String()}, label{"change", kind.String()})
			}
		}
	}
}

// happens reports whether a change is one that sockets of a protocol make. That one was
// found, or was found changed, is told once it was met.
func happens(kind table.SocketChangeKind, p snapshot.Protocol) bool {
	switch kind {
	case table.SocketSeen, table.SocketChanged:
		return false
	case table.SocketListen, table.SocketAccept, table.SocketLostPeer:
		return p == snapshot.Unix
	case table.SocketFamily:
		return p != snapshot.Unix
	}
	return true
}

// writeTransitions tells of each pair of states that TCP knows. Comparisons with the
// kernel's table may show others, which are told together.
func (c *counts) writeTransitions(t *text) {
	const name = "nettrace_tcp_transitions_total"
	t.family(name, counter, "State transitions of TCP sockets.")
	others := uint64(0)
	for from := range c.transitions {
		for to := range c.transitions[from] {
			others += c.transitions[from][to].Load()
		}
	}
	for _, p := range transitions {
		n := c.transitions[p.from][p.to].Load()
		others -= min(n, others)
		t.count(name, n, label{"old_state", stateName(p.from)}, label{"new_state", stateName(p.to)})
	}
	t.count(name, others, label{"old_state", other}, label{"new_state", other})
}

// writeClosed tells of the ends that there are, and of others once they were met.
func (c *counts) writeClosed(t *text) {
	const name = "nettrace_tcp_closed_total"
	t.family(name, counter, "TCP connections that ended, by how.")
	for outcome, of := range outcomes {
		for d, direction := range directionNames {
			n := c.closed[outcome][d].Load()
			if n > 0 || of.of[d] {
				t.count(name, n, label{"outcome", of.name}, label{"direction", direction})
			}
		}
	}
}

// times tells how long connecting and connections took.
func (c *counts) times(t *text) {
	t.histogram("nettrace_tcp_connect_duration_seconds", "Time from the SYN to ESTABLISHED of outgoing TCP connections.", &c.connect)
	t.histogram("nettrace_tcp_connection_duration_seconds", "Time from the begin to the end of TCP connections whose begin was seen.", &c.life)
}

// other stands for what has no label of its own.
const other = "other"

var directionNames = [directions]string{
	table.DirectionUnknown: "unknown", table.Outgoing: "outgoing", table.Incoming: "incoming",
}

// stateName spells a state as node_exporter does.
func stateName(s snapshot.State) string { return strings.ToLower(s.String()) }

func number(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}

// transition is a pair of states.
type transition struct{ from, to snapshot.State }

// transitions are those of the kernel, and first sights of sockets in the state where
// most are.
var transitions = []transition{
	{snapshot.Close, snapshot.SynSent},
	{snapshot.Close, snapshot.Listen},
	{snapshot.Close, snapshot.SynRecv},
	{snapshot.Close, snapshot.Established},
	{snapshot.Close, snapshot.TimeWait},
	{snapshot.Listen, snapshot.SynRecv},
	{snapshot.Listen, snapshot.Close},
	{snapshot.SynSent, snapshot.SynRecv},
	{snapshot.SynSent, snapshot.Established},
	{snapshot.SynSent, snapshot.Close},
	{snapshot.SynRecv, snapshot.Established},
	{snapshot.SynRecv, snapshot.FinWait1},
	{snapshot.SynRecv, snapshot.CloseWait},
	{snapshot.SynRecv, snapshot.Close},
	{snapshot.Established, snapshot.FinWait1},
	{snapshot.Established, snapshot.CloseWait},
	{snapshot.Established, snapshot.Close},
	{snapshot.FinWait1, snapshot.FinWait2},
	{snapshot.FinWait1, snapshot.Closing},
	{snapshot.FinWait1, snapshot.TimeWait},
	{snapshot.FinWait1, snapshot.Close},
	{snapshot.FinWait2, snapshot.TimeWait},
	{snapshot.FinWait2, snapshot.Close},
	{snapshot.Closing, snapshot.TimeWait},
	{snapshot.Closing, snapshot.Close},
	{snapshot.CloseWait, snapshot.LastAck},
	{snapshot.CloseWait, snapshot.Close},
	{snapshot.LastAck, snapshot.Close},
	{snapshot.TimeWait, snapshot.Close},
}

// sides are the directions that an end can have.
type sides [directions]bool

var (
	anyDirection = sides{true, true, true}
	ofConnect    = sides{table.Outgoing: true}
	ofRequest    = sides{table.DirectionUnknown: true, table.Incoming: true}
)

// outcomes are the words of the records.
var outcomes = [table.Outcomes]struct {
	name string
	of   sides
}{
	table.OutcomeUnknown:   {"unknown", anyDirection},
	table.Finished:         {"closed", anyDirection},
	table.ResetLocal:       {"reset_local", anyDirection},
	table.ResetRemote:      {"reset_remote", anyDirection},
	table.Refused:          {"refused", ofConnect},
	table.TimeoutConnect:   {"timeout_connect", ofConnect},
	table.Unreachable:      {"unreachable", anyDirection},
	table.AbortedConnect:   {"aborted_connect", ofConnect},
	table.HandshakeDropped: {"handshake_dropped", ofRequest},
	table.Timeout:          {"timeout", anyDirection},
	table.Destroyed:        {"destroyed", anyDirection},
	table.NoLocalPort:      {"no_local_port", ofConnect},
	table.Rejected:         {"rejected", anyDirection},
}
