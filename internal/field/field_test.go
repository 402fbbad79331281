package field_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/clock"
	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// notFields are keys of connections that are no fields: they have no order or equality
// that a person could ask for, or they are of a record and not of a socket.
var notFields = []string{
	"start", "start_known", "history", "thread", "source", "timer", "timer_ms", "retransmits", "probes", "pids", "programs", "context", "cmdline_args",
	"truncated", "timestamp", "v", "event", "seq", "run_id", "host", "mono_ns", "ip_protocol", "type", "refcnt", "flag_bits", "path", "abstract", "local_addrs", "remote_addrs",
}

// TestSchema checks that fields and the schema name the same things.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile("../../docs/nettrace.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range field.All() {
		if f.Key != "" && f.In != 0 && !bytes.Contains(text, []byte(`"`+f.Key+`"`)) {
			t.Errorf("the schema has no %q", f.Key)
		}
		if f.Key != "" && field.Lookup(f.Key) != f || field.Lookup(f.Word) != f {
			t.Errorf("%q and %q do not lead to their field", f.Key, f.Word)
		}
	}
	for _, key := range connectionKeys(t) {
		if field.Lookup(key) == nil && !slices.Contains(notFields, key) {
			t.Errorf("%q is a key of connections and no field", key)
		}
	}
}

// closeOf is the end of a connection of which everything is known.
func closeOf(c *table.Closed, d table.Direction, src snapshot.OwnerSource) *table.Change {
	conn := &table.Conn{
		Head: snapshot.Head{
			State: snapshot.Close, UID: 33, Netns: 7, CgroupID: 8,
			Local: netip.MustParseAddrPort("10.0.0.1:40001"), Remote: netip.MustParseAddrPort("10.0.0.2:80"),
			Owner: snapshot.Owner{
				Process: &snapshot.Process{PID: 5, Comm: "curl", Cmdline: "curl\x00-s\x00", Exe: "/usr/bin/curl"}, TID: 6, Source: src,
			},
		},
		ID: 9, Start: 1e9, Established: 2e9, StartKnown: true, HasUID: true, Direction: d,
	}
	return &table.Change{Kind: table.ChangeClose, Time: 5e9, Conn: conn, Close: c}
}

// encode returns the record of a change.
func encode(t *testing.T, c *table.Change) map[string]any {
	t.Helper()
	var out bytes.Buffer
	w := output.NewNDJSON(&out, output.NDJSONOptions{Cmdline: true}, clock.NewWall())
	w.Change(c)
	w.Conn(time.Now(), c.Conn)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r := map[string]any{}
	for d := json.NewDecoder(&out); d.More(); {
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func fullClose() *table.Change {
	return closeOf(&table.Closed{
		Outcome: table.Refused, ClosedBy: table.Local, Errno: 111, HasStats: true, BytesSent: 10, BytesReceived: 20, BytesRetrans: 30,
		SegsOut: 1, SegsIn: 2, Retrans: 3, RTT: 4, MinRTT: 5,
	}, table.Outgoing, snapshot.OwnerSocket)
}

func connectionKeys(t *testing.T) []string {
	var keys []string
	for key := range encode(t, fullClose()) {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// TestValues compares what is read of the end of a connection with the record of it.
func TestValues(t *testing.T) {
	var s field.Subject
	c := fullClose()
	s.SetChange(c)
	for key, want := range encode(t, c) {
		f := field.Lookup(key)
		if f == nil || f.Key != key {
			continue
		}
		v, ok := f.Value(&s)
		if key == "cgroup_id" || key == "recv_q" || key == "send_q" {
			// The record's cgroup is that of the process, and its queues those of a row.
			continue
		}
		if got := plain(f, v); !ok || got != want {
			t.Errorf("%s: %v, %v, the record has %v", key, got, ok, want)
		}
	}
}

// plain is a value as a record has it.
func plain(f *field.Field, v field.Value) any {
	switch f.Type {
	case field.Addr:
		return v.Addr.String()
	case field.String:
		if f.Key == "cmdline" {
			return "curl -s"
		}
		return v.Text
	case field.Enum:
		if f.Key == "inferred" {
			return v.Number == 1
		}
		return f.WordOf(v.Number)
	case field.State:
		return snapshot.State(v.Number).String()
	case field.Errno:
		return "ECONNREFUSED"
	}
	switch f.Key {
	case "conn_id":
		return "0000000000000009"
	case "rtt_us", "rtt_min_us":
		return float64(v.Number / 1000)
	}
	return float64(v.Number)
}

// TestWords checks that enumerations have the words of the records.
func TestWords(t *testing.T) {
	for n := range 13 {
		c := closeOf(&table.Closed{Outcome: table.Outcome(n), ClosedBy: table.Side(n % 3)}, table.Direction(n%3), snapshot.OwnerSource(n%5))
		var s field.Subject
		s.SetChange(c)
		r := encode(t, c)
		for _, key := range []string{"outcome", "closed_by", "direction", "owner_src", "family", "transport"} {
			f := field.Lookup(key)
			v, ok := f.Value(&s)
			if word, told := r[key]; told != ok || ok && f.WordOf(v.Number) != word {
				t.Errorf("%s: %q, %v, the record has %v", key, f.WordOf(v.Number), ok, word)
			}
		}
	}
}

func TestNear(t *testing.T) {
	for _, tt := range []struct {
		word string
		want []string
	}{
		{"prot", []string{"proto", "proc"}},
		{"durations", []string{"duration"}},
		{"remote_adr", []string{"remote_addr"}},
		{"xyzzy", nil},
		{"x", nil},
		{"", nil},
		{"\xff", nil},
	} {
		if got := field.Near(tt.word); !slices.Equal(got, tt.want) {
			t.Errorf("%q is near %q, want %q", tt.word, got, tt.want)
		}
	}
}

// TestUnixAutobound checks which names of Unix sockets the kernel has chosen.
func TestUnixAutobound(t *testing.T) {
	f := field.Lookup("autobound")
	for name, want := range map[string]bool{
		"": true, "@0001f": true, "@0001g": false, "@0001": false, "@00001f": false, "00001": false, "/run/x": false, "@": false,
	} {
		s := field.Subject{Head: &snapshot.Head{}, Transport: field.Unix, Name: name}
		if v, ok := f.Value(&s); !ok || (v.Number == 1) != want {
			t.Errorf("%q: %v, %v", name, v.Number, ok)
		}
	}
}
