package ship

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write deploy/clickhouse/table.sql anew")

// property is a member of a record in the JSON Schema.
type property struct {
	Ref     string `json:"$ref"`
	Type    string
	Const   any
	Enum    []any
	Minimum *json.Number
	Maximum *json.Number
	Desc    string `json:"description"`
}

type definition struct {
	property
	Properties map[string]property
}

// schema is docs/nettrace.schema.json.
type schema struct {
	Defs map[string]definition `json:"$defs"`
}

// streamed are the definitions of the records of a stream, in the order of the columns.
var streamed = []string{
	"envelope", "connection", "tcp_state", "tcp_close", "socket", "socket_change", "socket_close",
	"start", "snapshot_end", "lost", "resync", "totals", "stop",
}

// otherSockets are members of sockets that no stream has.
var otherSockets = []string{
	"local_addrs", "remote_addrs", "dest_addr", "source_addr", "device", "user_call", "dest_call", "source_call",
	"lci", "neighbour", "vr", "vs", "context", "flag_bits", "refcnt", "pids", "programs",
}

func readSchema(t *testing.T) schema {
	t.Helper()
	var s schema
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(root, "docs/nettrace.schema.json"))), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// column is a member with its type in ClickHouse.
type column struct{ name, kind string }

// columns returns the members of the stream's records, each once.
func (s schema) columns(t *testing.T) []column {
	t.Helper()
	var columns []column
	for _, def := range streamed {
		if s.Defs[def].Properties == nil {
			t.Fatalf("the schema has no %s", def)
		}
		for _, name := range slices.Sorted(maps.Keys(s.Defs[def].Properties)) {
			known := slices.ContainsFunc(columns, func(c column) bool { return c.name == name })
			if !known && !slices.Contains(otherSockets, name) {
				columns = append(columns, column{name, s.kind(s.Defs[def].Properties[name])})
			}
		}
	}
	return columns
}

// kind returns the type of a column. What is absent is 0 or "" there.
func (s schema) kind(p property) string {
	if p.Ref != "" {
		def, ok := s.Defs[strings.TrimPrefix(p.Ref, "#/$defs/")]
		if !ok {
			return "String"
		}
		referred := def.property
		if referred.Type == "integer" && p.Maximum != nil {
			referred.Maximum = p.Maximum
		}
		return s.kind(referred)
	}
	switch {
	case p.Const == false:
		return "Nullable(UInt8)" // absent, it means true
	case p.Const == true:
		return "UInt8"
	case p.Const != nil && p.Type == "":
		if _, number := p.Const.(float64); number {
			return "UInt8"
		}
		return "String"
	case p.Type == "array":
		return "Array(String)"
	case p.Type == "integer":
		return integerKind(p)
	}
	return "String"
}

func integerKind(p property) string {
	least, most := number(p.Minimum), number(p.Maximum)
	switch {
	case least < 0 && most <= 1<<31:
		return "Int32"
	case least < 0:
		return "Int64"
	case most < 1<<16:
		return "UInt16"
	case most < 1<<32:
		return "UInt32"
	}
	return "UInt64"
}

func number(n *json.Number) float64 {
	if n == nil {
		return 1 << 53
	}
	f, _ := n.Float64()
	return f
}

const tablePath = "deploy/clickhouse/table.sql"

// table returns the statements that make the table.
func table(columns []column) string {
	var b strings.Builder
	b.WriteString(`-- The records of a stream in ClickHouse. Tested on 18.16; go test ./internal/ship
-- -run TestTable -update writes this file from docs/nettrace.schema.json.
--
-- A field that is absent is 0 or ''. run_id and seq name a record, so that a record that
-- came twice is dropped when parts are merged; FINAL, or count(DISTINCT run_id, seq), does
-- so at once. Newer servers have better types, which are not tested: DateTime64(6) for
-- the times, LowCardinality(String) for event, states, outcome, host and comm.
--
--   clickhouse-client --input_format_skip_unknown_fields=1 \
--     --query 'INSERT INTO nettrace.records FORMAT JSONEachRow' < nettrace.ndjson
CREATE DATABASE IF NOT EXISTS nettrace;

CREATE TABLE IF NOT EXISTS nettrace.records
(
    time DateTime MATERIALIZED parseDateTimeBestEffort(timestamp),
`)
	for i, c := range columns {
		comma := ","
		if i == len(columns)-1 {
			comma = ""
		}
		fmt.Fprintf(&b, "    `%s` %s%s\n", c.name, c.kind, comma)
	}
	b.WriteString(`)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(time)
ORDER BY (host, remote_addr, time, run_id, seq);
`)
	return b.String()
}

// TestTable checks that the table has a column for each member of the stream's records.
func TestTable(t *testing.T) {
	want := table(readSchema(t).columns(t))
	path := filepath.Join(root, tablePath)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, readFile(t, path)); diff != "" {
		t.Errorf("%s is not what the schema gives: go test ./internal/ship -run TestTable -update\n%s", tablePath, diff)
	}
}
