package output

import (
	"math"
	"slices"
	"strings"

	"github.com/nettrace/nettrace/tracer/table"
)

// longMax is the largest number that Elasticsearch's type long holds. A document with
// a larger one is refused as a whole: such a member is left out.
const longMax = math.MaxInt64

// ecs is what the encoder needs for the lines of ECS.
type ecs struct {
	id []byte // the member event.id, up to the number of the line
}

func newECSEnvelope(run uint64) *ecs {
	e := &ecs{id: append([]byte(nil), `,"event.id":"`...)}
	e.id = append(appendHex64(e.id, run), '-')
	return e
}

// beginECS starts the line of an event that happened ns nanoseconds after the Unix
// epoch.
func (w *encoder) beginECS(event, class string, ns int64) {
	w.beginLine()
	w.buf = append(w.buf, `{"@timestamp":"`...)
	w.buf = w.clock.append(w.buf, ns)
	w.buf = append(w.buf, `","ecs.version":"`+ECSVersion+`","event.action":"`...)
	w.buf = append(w.buf, event...)
	w.buf = append(w.buf, '"')
	w.buf = append(w.buf, class...)
	w.buf = append(w.buf, `,"event.sequence":`...)
	w.appendSeq()
	w.buf = append(w.buf, w.ecs.id...)
	w.appendSeq()
	w.buf = append(w.buf, '"')
	w.endEnvelope()
}

// appendKey appends a key. One with a dot is that of ECS already. Others are those of
// the native schema, as `,"pid":`, and are renamed.
func (*ecs) appendKey(dst []byte, key string) []byte {
	if strings.IndexByte(key, '.') >= 0 {
		return append(dst, key...)
	}
	name := strings.TrimSuffix(strings.TrimPrefix(key, `,"`), `":`)
	dst = append(dst, `,"`...)
	dst = append(dst, ecsName(name)...)
	if len(ecsName(name)) == 0 {
		dst = append(dst, ecsOwn...)
		dst = append(dst, name...)
	}
	return append(dst, `":`...)
}

// ecsOwn is what stands before names that ECS has none for.
const ecsOwn = "nettrace."

// ecsName returns what ECS calls a member of the native schema whose value is the same
// there, or "" if it has no name for it.
func ecsName(native string) string {
	switch native {
	case "pid":
		return "process.pid"
	case "tid":
		return "process.thread.id"
	case "comm":
		return "process.name"
	case "thread":
		return "process.thread.name"
	case "exe":
		return "process.executable"
	case "cmdline":
		return "process.command_line"
	case "user":
		return "user.name"
	case "transport":
		return "network.transport"
	case "container_id":
		return "container.id"
	case "container_name":
		return "container.name"
	case "k8s_namespace":
		return "orchestrator.namespace"
	case "k8s_pod":
		return "orchestrator.resource.name"
	case "k8s_pod_uid":
		return "orchestrator.resource.id"
	case "start":
		return "event.start"
	case "duration_ns":
		return "event.duration"
	case "outcome", "reason":
		return "event.reason"
	case "errno":
		return "error.code"
	case "kernel":
		return "host.os.kernel"
	case "arch":
		return "host.architecture"
	case "boot_id":
		return "host.boot.id"
	}
	return ""
}

// ecsKept are in every line, whatever is chosen: what ECS and its readers need to place
// it, and what shows a loss.
var ecsKept = []string{
	"@timestamp", "ecs.version", "event.action", "event.kind", "event.category", "event.type", "event.dataset", "event.sequence",
}

// newECSPick returns a pick of the members that native names stand for in the records
// of connections with a direction, or nil for all of them.
func newECSPick(fields []string, d table.Direction) *pick {
	if fields == nil {
		return nil
	}
	var names []string
	for _, field := range fields {
		names = append(names, ecsMembers(field, d)...)
	}
	return pickOf(ecsKept, names, []string{ecsOwn + sampleField})
}

// ecsMembers returns the members that a native one stands for.
func ecsMembers(field string, d table.Direction) []string {
	local, remote := "source.", "destination."
	if d == table.Incoming {
		local, remote = remote, local
	}
	switch field {
	case "timestamp", "v", "event", "seq", truncatedField: // in every line, or where it is due
		return nil
	case "run_id":
		return []string{"event.id", ecsOwn + field}
	case "host":
		return []string{"host.name"}
	case "family":
		return []string{"network.type"}
	case "direction":
		return []string{"network.direction"}
	case "local_addr":
		return []string{local + "ip", local + "address"}
	case "remote_addr":
		return []string{remote + "ip", remote + "address"}
	case "local_port":
		return []string{local + "port"}
	case "remote_port":
		return []string{remote + "port"}
	case "bytes_sent":
		return []string{local + "bytes"}
	case "bytes_received":
		return []string{remote + "bytes"}
	case "segs_out":
		return []string{local + "packets"}
	case "segs_in":
		return []string{remote + "packets"}
	case "uid":
		return []string{"user.id"}
	case "start":
		return []string{"event.start", "event.end"}
	case "outcome":
		return []string{"event.outcome", "event.reason"}
	case "k8s_pod":
		return []string{ecsName(field), "orchestrator.type", "orchestrator.resource.type"}
	}
	if name := ecsName(field); name != "" {
		return []string{name}
	}
	return []string{ecsOwn + field}
}

// ECSMembers returns the members of ECS that stand for one of the native schema in the
// records of connections, whoever opened them; none: it is in every line, or where it
// is due.
func ECSMembers(field string) []string {
	names := ecsMembers(field, table.Outgoing)
	for _, name := range ecsMembers(field, table.Incoming) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
