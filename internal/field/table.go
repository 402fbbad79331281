package field

import (
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

const (
	always = View | Stream | Poll
	traced = View | Stream // polling knows no owners
	ended  = Stream | End | Conns
)

// fields is the table.
var fields = []Field{
	{Key: "conn_id", Word: "conn_id", Type: ID, In: Stream | Poll, number: idOf},
	{Key: "transport", Word: "transport", Aliases: []string{"proto", "protocol"}, Type: Enum, In: always, InBPF: true, Words: transports, number: transportOf},
	{Key: "family", Word: "family", Type: Enum, In: always, InBPF: true, Words: families, number: familyOf},
	{Key: "local_addr", Word: "src", Aliases: []string{"laddr"}, Type: Addr, In: always, InBPF: true, addr: (*Subject).local},
	{Key: "local_port", Word: "sport", Aliases: []string{"lport"}, Type: Port, In: always, InBPF: true, number: portOf((*Subject).localPort)},
	{Key: "remote_addr", Word: "dst", Aliases: []string{"raddr"}, Type: Addr, In: always, InBPF: true, addr: (*Subject).remote},
	{Key: "remote_port", Word: "dport", Aliases: []string{"rport"}, Type: Port, In: always, InBPF: true, number: portOf((*Subject).remotePort)},
	{Key: "direction", Word: "direction", Type: Enum, In: Stream | Conns, Words: directions, number: ofConn(func(c *table.Conn) (uint64, bool) { return uint64(c.Direction), c.Direction != 0 })},
	{Key: "state", Word: "state", Aliases: []string{"new_state"}, Type: State, In: always, number: stateOf},
	{Key: "old_state", Word: "old_state", Type: State, In: Stream | Poll, number: func(s *Subject) (uint64, Known) { return uint64(s.Old), known(s.Old != 0) }},
	{Key: "inferred", Word: "inferred", Type: Enum, In: Stream, Words: truths, number: inferredOf},
	{Key: "netns", Word: "netns", Type: Netns, In: Stream, InBPF: true, number: ofHead(func(h *snapshot.Head) (uint64, bool) { return uint64(h.Netns), h.Netns != 0 })},
	{Word: "dev", Aliases: []string{"device"}, Type: Device, In: traced, InBPF: true, Need: Attributed, number: deviceOf},
	{Key: "iface", Word: "iface", Type: Device, In: traced, Need: Attributed, number: deviceOf},
	{Word: "fwmark", Aliases: []string{"mark"}, Type: Mark, In: View, Need: Attributed | Marks, number: markOf},
	{Key: "cgroup_id", Word: "cgroup", Type: Cgroup, In: View, Need: Attributed, number: cgroupOf},
	{Word: "autobound", Type: Enum, In: View, Need: Attributed | Autobound, Words: truths, number: autoboundOf},

	{Key: "change", Word: "change", Type: Enum, In: Stream | Poll | Others, Words: changes, number: ofChange(changeOf)},
	{Key: "reason", Word: "reason", Type: Enum, In: Stream | Poll | End | Others, Words: reasons, number: ofChange(reasonOf)},
	{Key: "type", Word: "type", Type: Enum, In: Stream | Poll | Others, Words: socketTypes, number: typeOf},
	{Key: "path", Word: "path", Type: String, In: Stream | Poll | Others, text: pathOf},
	{Key: "peer_inode", Word: "peer_inode", Type: ID, In: Stream | Poll | Others, number: ofUnix(func(u *table.UnixEnd) uint64 { return u.PeerInode })},
	{Key: "peer_pid", Word: "peer_pid", Type: Number, In: Stream | Poll | Others, number: ofUnix(func(u *table.UnixEnd) uint64 { return uint64(u.PeerPID) })},

	{Key: "pid", Word: "pid", Type: Number, In: traced, Need: Owners, ofProcess: pidOf},
	{Key: "tid", Word: "tid", Type: Number, In: Stream, number: tidOf},
	{Key: "comm", Word: "comm", Aliases: []string{"proc.comm"}, Type: String, In: traced, Need: Owners | Details, ofProcess: commOf},
	{Key: "program", Word: "program", Aliases: []string{"proc", "process"}, Type: String, In: traced, Need: Owners | Details, ofProcess: programOf},
	{Key: "exe", Word: "exe", Type: String, In: traced, Need: Owners | Details, ofProcess: exeOf},
	{Key: "cmdline", Word: "cmdline", Type: String, In: traced, Need: Owners, ofProcess: cmdlineOf},
	{Key: "uid", Word: "uid", Type: Number, In: always, number: uidOf},
	{Key: "user", Word: "user", Type: User, In: always, number: uidOf},
	{Key: "owner_src", Word: "owner", Type: Enum, In: traced, Need: Owners, Words: ownerSources, number: ownerSourceOf},
	{Key: "container_id", Word: "container", Type: String, In: traced, Need: Owners | Contained, text: ofWorkload(func(w *snapshot.Workload) string { return w.ContainerID })},
	{Key: "container_name", Word: "container_name", Type: String, In: traced, Need: Owners | Contained, text: ofWorkload(func(w *snapshot.Workload) string { return w.ContainerName })},
	{Key: "k8s_namespace", Word: "k8s_namespace", Aliases: []string{"namespace"}, Type: String, In: traced, Need: Owners | Contained, text: ofWorkload(func(w *snapshot.Workload) string { return w.Namespace })},
	{Key: "k8s_pod", Word: "k8s_pod", Aliases: []string{"pod"}, Type: String, In: traced, Need: Owners | Contained, text: ofWorkload(func(w *snapshot.Workload) string { return w.Pod })},
	{Key: "k8s_container", Word: "k8s_container", Type: String, In: traced, Need: Owners | Contained, text: ofWorkload(func(w *snapshot.Workload) string { return w.PodContainer })},
	{Key: "k8s_pod_uid", Word: "k8s_pod_uid", Type: String, In: traced, Need: Owners | Contained, text: ofWorkload(func(w *snapshot.Workload) string { return w.PodUID })},
	{Key: "unit", Word: "unit", Type: String, In: traced, Need: Owners | Contained, text: ofWorkload(func(w *snapshot.Workload) string { return w.Unit })},
	{Key: "slice", Word: "slice", Type: String, In: traced, Need: Owners | Contained, text: ofWorkload(func(w *snapshot.Workload) string { return w.Slice })},
	{Key: "inode", Word: "inode", Type: ID, In: always, number: ofHead(func(h *snapshot.Head) (uint64, bool) { return h.Inode, h.Inode != 0 })},
	{Key: "recv_q", Word: "recv_q", Type: Size, In: always, number: queueOf(func(h *snapshot.Head) uint64 { return h.RecvQ })},
	{Key: "send_q", Word: "send_q", Type: Size, In: always, number: queueOf(func(h *snapshot.Head) uint64 { return h.SendQ })},

	{Key: "established_ns", Word: "latency", Type: Duration, In: Stream | Conns, number: latencyOf},
	{Key: "duration_ns", Word: "duration", Type: Duration, In: Stream | End, number: durationOf},
	{Key: "outcome", Word: "outcome", Type: Enum, In: ended, Words: outcomes, number: ofEnd(func(c *table.Closed) (uint64, bool) { return uint64(c.Outcome), true })},
	{Key: "errno", Word: "errno", Type: Errno, In: Stream | End, number: errnoOf},
	{Key: "closed_by", Word: "closed_by", Type: Enum, In: ended, Words: sides, number: ofEnd(func(c *table.Closed) (uint64, bool) { return uint64(c.ClosedBy), c.ClosedBy != 0 })},
	{Word: "bytes", Type: Size, In: ended, number: ofEnd(func(c *table.Closed) (uint64, bool) { return c.BytesSent + c.BytesReceived, c.HasStats })},
	{Key: "bytes_sent", Word: "sent", Type: Size, In: ended, number: ofEnd(func(c *table.Closed) (uint64, bool) { return c.BytesSent, c.HasStats })},
	{Key: "bytes_received", Word: "received", Type: Size, In: ended, number: ofEnd(func(c *table.Closed) (uint64, bool) { return c.BytesReceived, c.HasStats })},
	{Key: "bytes_retrans", Word: "bytes_retrans", Type: Size, In: ended, number: ofEnd(func(c *table.Closed) (uint64, bool) { return c.BytesRetrans, c.HasStats })},
	{Word: "segs", Type: Number, In: ended, number: ofEnd(func(c *table.Closed) (uint64, bool) { return uint64(c.SegsOut) + uint64(c.SegsIn), c.HasStats })},
	{Key: "segs_out", Word: "segs_out", Type: Number, In: ended, number: ofEnd(func(c *table.Closed) (uint64, bool) { return uint64(c.SegsOut), c.HasStats })},
	{Key: "segs_in", Word: "segs_in", Type: Number, In: ended, number: ofEnd(func(c *table.Closed) (uint64, bool) { return uint64(c.SegsIn), c.HasStats })},
	{Key: "retrans", Word: "retrans", Type: Number, In: ended, number: ofEnd(func(c *table.Closed) (uint64, bool) { return uint64(c.Retrans), c.HasStats })},
	{Key: "rtt_us", Word: "rtt", Type: Duration, In: ended, number: ofEnd(func(c *table.Closed) (uint64, bool) { return uint64(c.RTT) * microsecond, c.HasStats && c.RTT != 0 })},
	{Key: "rtt_min_us", Word: "rtt_min", Type: Duration, In: ended, number: ofEnd(func(c *table.Closed) (uint64, bool) {
		return uint64(c.MinRTT) * microsecond, c.HasStats && c.MinRTT != ^uint32(0)
	})},
}

const microsecond = 1000 // ns

// The words of enumerations, by number. What has no word is absent.
var (
	families     = []string{"", "ipv4", "ipv6"}
	directions   = []string{table.Outgoing: "outgoing", table.Incoming: "incoming"}
	truths       = []string{"false", "true"}
	sides        = []string{table.Local: "local", table.Remote: "remote"}
	ownerSources = []string{
		snapshot.OwnerSocket: "socket", snapshot.OwnerFiles: "files",
		snapshot.OwnerListener: "listener", snapshot.OwnerContext: "context",
	}
	outcomes = []string{
		table.OutcomeUnknown:   "unknown",
		table.Finished:         "closed",
		table.ResetLocal:       "reset_local",
		table.ResetRemote:      "reset_remote",
		table.Refused:          "refused",
		table.TimeoutConnect:   "timeout_connect",
		table.Unreachable:      "unreachable",
		table.AbortedConnect:   "aborted_connect",
		table.HandshakeDropped: "handshake_dropped",
		table.Timeout:          "timeout",
		table.Destroyed:        "destroyed",
		table.NoLocalPort:      "no_local_port",
		table.Rejected:         "rejected",
	}
)

// WordOf returns the word of an Enum's number; empty: it has none.
func (f *Field) WordOf(number uint64) string {
	if number < uint64(len(f.Words)) {
		return f.Words[number]
	}
	return ""
}
