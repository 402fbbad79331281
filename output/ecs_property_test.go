package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/tracer/table"
)

// Whatever the values are, each line is complete, not longer than the limit, valid by
// the schema, and has values that ECS and Elasticsearch take.
func TestECSKeepsTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		user := names(300).Draw(t, "user")
		runID := rapid.Uint64().Draw(t, "run id")
		var out bytes.Buffer
		w := NewECS(&out, NDJSONOptions{
			Host:  names(300).Draw(t, "host"),
			RunID: runID,
			Poll:  rapid.Bool().Draw(t, "poll"),

			SampleRate: rapid.Uint32().Draw(t, "sample rate"),
			Cmdline:    rapid.Bool().Draw(t, "cmdline"),
			Users:      userNames(func(uint32) string { return user }),
			Devices:    deviceNames{3: names(15).Draw(t, "interface")},
		}, fixedClock(rapid.Uint64().Draw(t, "mono"), times().Draw(t, "wall")))
		at := times().Draw(t, "at")
		totals := rapid.Make[Totals]().Draw(t, "totals")
		w.Start(at, starts().Draw(t, "start"))
		w.Conn(at, conns().Draw(t, "conn"))
		w.SnapshotEnd(at, rapid.Int().Draw(t, "rows"), time.Duration(rapid.Int64().Draw(t, "took")))
		w.Change(changes().Draw(t, "change"))
		w.Change(changes().Draw(t, "another change"))
		w.Lost(at, losses().Draw(t, "lost"))
		w.Resync(at, rapid.Make[table.Resync]().Draw(t, "resync"))
		w.Stats(at, &totals)
		w.Stop(at, &totals, rapid.SampledFrom([]string{"signal", "duration", "count", "epipe", "error"}).Draw(t, "why"))
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		records := checkECSLines(t, out.Bytes())
		if len(records) != 9 {
			t.Fatalf("%d lines, want 9: %q", len(records), out.Bytes())
		}
		for i, record := range records {
			if want := fmt.Sprintf("%016x-%d", runID, i+1); record["event.sequence"] != float64(i+1) || record["event.id"] != want {
				t.Errorf("number %v and id %v in line %d", record["event.sequence"], record["event.id"], i+1)
			}
		}
	})
}

// ECS and NDJSON tell the same of a change, in their words.
func TestECSTellsWhatNDJSONTells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := NDJSONOptions{Host: names(300).Draw(t, "host"), Cmdline: true, Poll: rapid.Bool().Draw(t, "poll")}
		opts.Users = userNames(func(uint32) string { return "alice" })
		var native, common bytes.Buffer
		n, e := NewNDJSON(&native, opts, offset(0)), NewECS(&common, opts, offset(0))
		c := changes().Draw(t, "change")
		n.Change(c)
		e.Change(c)
		if err := errors.Join(n.Flush(), e.Flush()); err != nil {
			t.Fatal(err)
		}
		record, got := decodeNumbers(t, native.Bytes())[0], decodeNumbers(t, common.Bytes())[0]
		want := inECS(record)
		for _, key := range []string{"event.kind", "event.category", "event.type"} { // the goldens have these
			delete(got, key)
		}
		if got["nettrace.truncated"] == true { // more than in the native line
			for _, key := range []string{
				"host.name", "process.executable", "process.command_line", "nettrace.program", "container.name", "orchestrator.namespace",
				"container.id", "orchestrator.resource.name", "orchestrator.resource.id", "nettrace.k8s_container", "nettrace.unit", "nettrace.slice",
			} {
				if text, has := got[key].(string); !has {
					delete(want, key)
				} else if strings.HasPrefix(fmt.Sprint(want[key]), text) {
					want[key] = text
				}
			}
			want["nettrace.truncated"] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s\nof %s", diff, native.Bytes())
		}
	})
}

// inECS puts a native record about a connection into the words of ECS, member by
// member.
func inECS(record map[string]any) map[string]any {
	out := map[string]any{"ecs.version": "9.4.0", "event.dataset": "nettrace.tcp"}
	local, remote := "source", "destination"
	if record["direction"] == "incoming" {
		local, remote = remote, local
	}
	renamed := map[string]string{
		"timestamp": "@timestamp", "event": "event.action", "seq": "event.sequence", "host": "host.name", "transport": "network.transport",
		"local_port": local + ".port", "remote_port": remote + ".port", "pid": "process.pid", "tid": "process.thread.id",
		"comm": "process.name", "thread": "process.thread.name", "exe": "process.executable", "cmdline": "process.command_line",
		"user": "user.name", "start": "event.start", "duration_ns": "event.duration", "outcome": "event.reason", "errno": "error.code",
		"bytes_sent": local + ".bytes", "bytes_received": remote + ".bytes", "segs_out": local + ".packets", "segs_in": remote + ".packets",
		"container_id": "container.id", "container_name": "container.name", "k8s_namespace": "orchestrator.namespace",
		"k8s_pod": "orchestrator.resource.name", "k8s_pod_uid": "orchestrator.resource.id",
	}
	for name, value := range record {
		if n, ok := value.(json.Number); ok {
			if _, err := n.Int64(); err != nil {
				continue
			}
		}
		switch name {
		case "v", "family":
		case "uid":
			out["user.id"] = fmt.Sprint(value)
		case "direction":
			out["network.direction"] = map[any]string{"outgoing": "egress", "incoming": "ingress"}[value]
		case "run_id":
			out["nettrace.run_id"] = value
			out["event.id"] = fmt.Sprint(value, "-", record["seq"])
		case "local_addr":
			addressInECS(out, local, value, record["local_port"])
		case "remote_addr":
			addressInECS(out, remote, value, record["remote_port"])
		default:
			key := renamed[name]
			if key == "" {
				key = "nettrace." + name
			}
			out[key] = value
		}
	}
	if _, pod := record["k8s_pod_uid"]; pod {
		out["orchestrator.type"], out["orchestrator.resource.type"] = "kubernetes", "pod"
	}
	out["network.type"] = "ipv6"
	for _, name := range []string{"local_addr", "remote_addr"} {
		if strings.Contains(fmt.Sprint(record[name]), ".") && netip.MustParseAddr(record[name].(string)).Unmap().Is4() {
			out["network.type"] = "ipv4"
		}
	}
	if outcome, ends := record["outcome"]; ends {
		out["event.end"] = record["timestamp"]
		out["event.outcome"] = "failure"
		if word := map[any]string{"closed": "success", "unknown": "unknown"}[outcome]; word != "" {
			out["event.outcome"] = word
		}
	}
	return out
}

func addressInECS(out map[string]any, side string, value, port any) {
	whole, _ := value.(string)
	addr := netip.MustParseAddr(whole)
	ip := addr.Unmap().WithZone("")
	if port == nil && ip.IsUnspecified() {
		return
	}
	out[side+".ip"] = ip.String()
	if ip.String() != whole {
		out[side+".address"] = whole
	}
}

// The cache must not show: a writer that has written a connection before writes the
// same line as one that has not.
func TestECSKeepsNothingStale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := NDJSONOptions{Host: names(300).Draw(t, "host"), Cmdline: true}
		if rapid.Bool().Draw(t, "picked") {
			opts.Fields = []string{"local_addr", "comm", "remote_port", "exe"}
		}
		var got, want bytes.Buffer
		w := NewECS(&got, opts, offset(0))
		c := conns().Draw(t, "conn")
		for range rapid.IntRange(2, 10).Draw(t, "changes") {
			other := conns().Draw(t, "other")
			switch rapid.IntRange(0, 6).Draw(t, "what changes") {
			case 5:
				c.Workload = other.Workload
			case 0:
				c.Local = other.Local
			case 1:
				c.Direction = other.Direction
			case 2:
				c.UID, c.HasUID = other.UID, other.HasUID
			case 3:
				c.Owner = other.Owner
			case 4: // another one, which has its place
				other.ID = c.ID + connsKept
				c = other
			}
			change := changes().Draw(t, "change")
			change.Conn = c
			fresh := NewECS(&want, opts, offset(0))
			fresh.seq = w.seq
			w.Change(change)
			fresh.Change(change)
			if err := errors.Join(w.Flush(), fresh.Flush()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Errorf("-fresh +kept:\n%s", diff)
		}
	})
}

// A line of chosen fields has of the whole line what the names stand for, in the order
// of the choice, whoever opened the connection.
func TestECSPick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOfDistinct(rapid.SampledFrom(RecordFields(ChangeRecords)), rapid.ID[string]).Draw(t, "fields")
		opts := NDJSONOptions{Host: "web1", Cmdline: true, Poll: rapid.Bool().Draw(t, "poll"), SampleRate: 10}
		var whole, picked bytes.Buffer
		full := NewECS(&whole, opts, offset(0))
		opts.Fields = slices.Clone(fields)
		part := NewECS(&picked, opts, offset(0))
		list := rapid.SliceOfN(changes(), 1, 3).Draw(t, "changes")
		for _, w := range []*ECS{full, part} {
			for _, c := range slices.Concat(list, list) { // the second time from the cache
				w.Change(c)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		wholes, parts := bytes.Split(whole.Bytes(), []byte("\n")), bytes.Split(picked.Bytes(), []byte("\n"))
		for i, line := range wholes[:len(wholes)-1] {
			direction := slices.Concat(list, list)[i].Conn.Direction
			record, got := decode(t, line), decode(t, parts[i])
			want := slices.Clone(ecsKept)
			for _, field := range fields {
				want = append(want, ecsMembers(field, direction)...)
			}
			if !slices.Contains(want, "nettrace.sample_rate") {
				want = append(want, "nettrace.sample_rate")
			}
			want = slices.DeleteFunc(want, func(key string) bool { _, has := record[key]; return !has })
			if _, cut := got["nettrace.truncated"]; cut {
				want = append(want, "nettrace.truncated")
			}
			if diff := cmp.Diff(want, keysOf(t, parts[i])); diff != "" {
				t.Errorf("keys (-want +got):\n%s\n%s\n%s", diff, line, parts[i])
			}
			for key, value := range got {
				if text, ok := value.(string); ok && record["nettrace.truncated"] == true { // it may have more room
					if whole, _ := record[key].(string); !strings.HasPrefix(text, whole) {
						t.Errorf("%s: %q does not begin with %q", key, text, whole)
					}
				} else if diff := cmp.Diff(record[key], value); diff != "" {
					t.Errorf("%s: %s", key, diff)
				}
			}
		}
	})
}

// Every native field of a connection stands for members of ECS that the schema
// describes, and every member for such a field: else --fields could not choose it.
func TestECSNamesAreTheSchemas(t *testing.T) {
	schema, err := loadECSSchema()
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for _, event := range []string{"socket", "tcp_state", "tcp_close", "socket_change", "socket_close"} {
		for key := range schema.keys[event] {
			described[key] = true
		}
	}
	chosen := map[string]bool{"nettrace.truncated": true}
	for _, key := range ecsKept {
		chosen[key] = true
	}
	for _, field := range RecordFields(ChangeRecords, SocketChangeRecords) {
		for _, key := range ECSMembers(field) {
			chosen[key] = true
		}
	}
	if diff := cmp.Diff(described, chosen); diff != "" {
		t.Errorf("-schema +names:\n%s", diff)
	}
}
