package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// keysOf returns the keys of a line in their order.
func keysOf(t reporter, line []byte) []string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(line))
	var keys []string
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, fmt.Sprint(key))
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func decode(t reporter, line []byte) map[string]any {
	t.Helper()
	var record map[string]any
	if err := json.Unmarshal(line, &record); err != nil {
		t.Fatal(err, string(line))
	}
	return record
}

// The lists of fields are those of the schema.
func TestRecordFieldsAreTheSchemas(t *testing.T) {
	schema, err := loadSchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kind   RecordKind
		events []string
	}{
		{ChangeRecords, []string{"tcp_state", "tcp_close"}},
		{SocketChangeRecords, []string{"socket_change", "socket_close"}},
		{GroupRecords, []string{"group"}},
		{RouteRecords, []string{"route"}},
		{InterfaceRecords, []string{"interface"}},
		{StatisticRecords, []string{"statistic"}},
		{MasqueradeRecords, []string{"masquerade"}},
	} {
		want := map[string]bool{}
		for _, event := range tt.events {
			maps.Copy(want, schema.keys[event])
		}
		got := map[string]bool{}
		for _, name := range RecordFields(tt.kind) {
			got[name] = true
		}
		for _, name := range []string{"mono_ns", "state", "recv_q", "send_q", "inode"} { // of the stream's socket records
			delete(want, name)
			delete(got, name)
		}
		if tt.kind == SocketChangeRecords { // the schema has what identifies TCP connections too
			delete(want, "direction")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-schema +list):\n%s", tt.events, diff)
		}
	}
	// The socket records of views and stream together have all that the schema says.
	got := RecordFields(SocketRecords, ChangeRecords, SocketChangeRecords)
	for name := range schema.keys["socket"] {
		if !slices.Contains(got, name) {
			t.Errorf("%q is in the schema and in no list", name)
		}
	}
	for _, name := range RecordFields(SocketRecords) {
		if !schema.keys["socket"][name] {
			t.Errorf("%q is in the list and not in the schema", name)
		}
	}
}

// checkOrder checks that the keys of a line stand in the order of a list.
func checkOrder(t reporter, kind RecordKind, line []byte) {
	t.Helper()
	list, at := RecordFields(kind), 0
	for _, key := range keysOf(t, line) {
		i := slices.Index(list[at:], key)
		if i < 0 {
			t.Errorf("%q comes too late or is not in the list: %s", key, line)
			return
		}
		at += i + 1
	}
}

// A line of chosen fields has what the whole line has of them, in the order of the
// choice. The same writer is given several records, so that its cache is used.
func TestPick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := RecordFields(ChangeRecords)
		fields := rapid.SliceOfDistinct(rapid.SampledFrom(all), rapid.ID[string]).Draw(t, "fields")
		opts := NDJSONOptions{Host: names(300).Draw(t, "host"), Cmdline: true, Poll: rapid.Bool().Draw(t, "poll")}
		var whole, picked bytes.Buffer
		full := NewNDJSON(&whole, opts, offset(0))
		opts.Fields = append([]string{}, fields...)
		part := NewNDJSON(&picked, opts, offset(0))
		list := rapid.SliceOfN(changes(), 1, 3).Draw(t, "changes")
		at := time.Unix(5, 0)
		for _, w := range []*NDJSON{full, part} {
			for _, c := range slices.Concat(list, list) { // the second time from the cache
				w.Change(c)
				w.Conn(at, c.Conn)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		want := slices.Concat(keptFields, fields)
		wholes, parts := bytes.SplitAfter(whole.Bytes(), []byte("\n")), bytes.SplitAfter(picked.Bytes(), []byte("\n"))
		if len(wholes) != len(parts) {
			t.Fatalf("%d lines of %d", len(parts), len(wholes))
		}
		for i, line := range wholes[:len(wholes)-1] {
			checkOrder(t, ChangeRecords, line)
			record, got := decode(t, line), decode(t, parts[i])
			var keys []string
			for _, key := range want {
				if _, has := record[key]; has && key != truncatedField && !slices.Contains(keys, key) {
					keys = append(keys, key)
				}
			}
			if _, cut := got[truncatedField]; cut {
				keys = append(keys, truncatedField)
				if record[truncatedField] != true {
					t.Errorf("cut, but the whole line is not: %s", parts[i])
				}
			}
			if diff := cmp.Diff(keys, keysOf(t, parts[i])); diff != "" {
				t.Errorf("keys (-want +got):\n%s\n%s%s", diff, line, parts[i])
			}
			for key, value := range got {
				if text, ok := value.(string); ok && record[truncatedField] == true && key != truncatedField {
					if whole, _ := record[key].(string); !strings.HasPrefix(text, whole) { // it may have more room
						t.Errorf("%s: %q does not begin with %q", key, text, whole)
					}
					continue
				}
				if diff := cmp.Diff(record[key], value); diff != "" {
					t.Errorf("%s: %s", key, diff)
				}
			}
		}
	})
}

// Only a line in which a chosen string was cut says so.
func TestPickSaysWhatWasCut(t *testing.T) {
	c := outgoing()
	c.Owner.Process = &snapshot.Process{PID: 1, Comm: "x", Exe: strings.Repeat("/e", 2000), Cmdline: "short"}
	change := &table.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: c}
	for _, tt := range []struct {
		fields []string
		host   string
		cut    bool
	}{
		{[]string{"exe"}, "web1", true},
		{[]string{"comm", "cmdline"}, "web1", false},
		{[]string{"truncated"}, "web1", false},
		{[]string{}, strings.Repeat("h", 300), false},
		{[]string{"host"}, strings.Repeat("h", 300), true},
	} {
		var out bytes.Buffer
		w := NewNDJSON(&out, NDJSONOptions{Host: tt.host, Cmdline: true, Fields: tt.fields}, offset(0))
		w.Change(change)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, cut := decode(t, out.Bytes())[truncatedField]; cut != tt.cut {
			t.Errorf("%v: cut is %v: %s", tt.fields, cut, out.Bytes())
		}
	}
}

// Records of the run itself have all of their members, whatever is chosen.
func TestPickLeavesTheRunAlone(t *testing.T) {
	var out bytes.Buffer
	w := NewNDJSON(&out, NDJSONOptions{Host: "web1", Fields: []string{"pid"}}, offset(0))
	at := time.Unix(5, 0)
	w.Start(at, &Start{Version: "1", Kernel: "6.1", Arch: "x86_64", Mode: "bpf", Reason: "start", FileSeq: 1})
	w.SnapshotEnd(at, 0, 0)
	w.Resync(at, table.Resync{Added: 1})
	w.Stats(at, &Totals{})
	w.Stop(at, &Totals{}, "signal")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := len(checkLines(t, out.Bytes())); n != 5 {
		t.Errorf("%d records", n)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	w := NewNDJSON(io.Discard, NDJSONOptions{Host: "web1", Fields: []string{"remote_addr", "pid", "new_state"}}, offset(0))
	c := &table.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: outgoing()}
	if n := testing.AllocsPerRun(100, func() {
		w.Change(c)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each line", n)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, fields := range [][]string{nil, {"remote_addr", "pid", "new_state"}, RecordFields(ChangeRecords)} {
		b.Run(fmt.Sprint(len(fields)), func(b *testing.B) {
			w := NewNDJSON(io.Discard, NDJSONOptions{Host: "web1", Fields: fields}, offset(0))
			c := &table.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: outgoing()}
			for b.Loop() {
				w.Change(c)
				if w.Full() {
					if err := w.Flush(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
