package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/nettrace/nettrace/tracer/table"
)

// reporter is what testing.T and rapid.T have in common.
type reporter interface {
	Helper()
	Fatal(...any)
	Errorf(string, ...any)
}

const schemaFile = "../docs/nettrace.schema.json"

// recordSchema is a JSON Schema of the project, and the keys that it describes for
// each kind of record.
type recordSchema struct {
	*jsonschema.Schema
	first    string // the key that comes first in a line
	event    string // the key whose value is the kind of the record
	keys     map[string]map[string]bool
	measures *regexp.Regexp // keys of measures, which the schema describes by patterns
}

// schemaNode is what describedKeys reads of a schema.
type schemaNode struct {
	Ref        string                `json:"$ref"`
	Defs       map[string]schemaNode `json:"$defs"`
	AllOf      []schemaNode          `json:"allOf"`
	If         *schemaNode           `json:"if"`
	Then       *schemaNode           `json:"then"`
	Properties map[string]schemaNode `json:"properties"`
	Const      any                   `json:"const"`
}

var loadSchema = sync.OnceValues(func() (*recordSchema, error) {
	return readSchema(schemaFile, &recordSchema{first: "timestamp", event: "event", measures: measureKey})
})

// readSchema reads a schema into s.
func readSchema(file string, s *recordSchema) (*recordSchema, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(file, doc); err != nil {
		return nil, err
	}
	if s.Schema, err = compiler.Compile(file); err != nil {
		return nil, err
	}
	var root schemaNode
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	s.keys = map[string]map[string]bool{}
	for _, branch := range root.AllOf {
		event := fmt.Sprint(branch.If.Properties[s.event].Const)
		keys := describedKeys(root.Defs, *branch.Then)
		maps.Copy(keys, describedKeys(root.Defs, root.Defs["envelope"]))
		s.keys[event] = keys
	}
	return s, nil
}

// describedKeys returns the properties that a schema describes, following its
// references.
func describedKeys(defs map[string]schemaNode, schema schemaNode) map[string]bool {
	keys := map[string]bool{}
	if name, ok := strings.CutPrefix(schema.Ref, "#/$defs/"); ok {
		maps.Copy(keys, describedKeys(defs, defs[name]))
	}
	for _, part := range schema.AllOf {
		maps.Copy(keys, describedKeys(defs, part))
	}
	for key := range schema.Properties {
		keys[key] = true
	}
	return keys
}

// checkLines checks that text is valid NDJSON by the native schema, and returns its
// records.
func checkLines(t reporter, text []byte) []map[string]any {
	t.Helper()
	schema, err := loadSchema()
	if err != nil {
		t.Fatal(err)
	}
	return schema.check(t, text)
}

// check checks that text is valid NDJSON by the schema, and returns its records. The
// schema allows readers to meet unknown keys. This test does not, so that the schema
// describes every key that is printed.
func (schema *recordSchema) check(t reporter, text []byte) []map[string]any {
	t.Helper()
	if len(text) > 0 && text[len(text)-1] != '\n' {
		t.Errorf("the last line does not end: %q", text)
	}
	var records []map[string]any
	for line := range bytes.Lines(text) {
		if len(line) > lineMax {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
		if !utf8.Valid(line) {
			t.Errorf("not UTF-8: %q", line)
		}
		if i := bytes.IndexFunc(line[:len(line)-1], func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
			t.Errorf("a control byte in %q", line)
		}
		if !bytes.HasPrefix(line, []byte(`{"`+schema.first+`":"`)) {
			t.Errorf("%s is not first: %s", schema.first, line)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Errorf("%v: %s", err, line)
			continue
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		record := map[string]any{}
		if err := json.Unmarshal(line, &record); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		checkKeys(t, schema, record, line)
		records = append(records, record)
	}
	return records
}

// measureKey are the keys of measures, which the schema describes by patterns.
var measureKey = regexp.MustCompile(`^[a-z_]+_(sum|avg|min|max|p[0-9]+(_[0-9]+)?)(_ns|_milli)?$`)

func checkKeys(t reporter, schema *recordSchema, record map[string]any, line []byte) {
	event := record[schema.event]
	known, ok := schema.keys[fmt.Sprint(event)]
	if !ok {
		t.Errorf("the schema does not describe %q: %s", event, line)
		return
	}
	for key := range record {
		if !known[key] && !(event == "agg" && schema.measures.MatchString(key)) {
			t.Errorf("the schema does not describe %q: %s", key, line)
		}
		if n := bytes.Count(line, []byte(`,"`+key+`":`)); n > 1 {
			t.Errorf("%q stands %d times: %s", key, n, line)
		}
	}
}

// The schema must refuse wrong lines.
func TestSchemaCatchesMistakes(t *testing.T) {
	schema, err := loadSchema()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := newWriter(&out, NDJSONOptions{})
	w.Change(&table.Change{
		Kind: table.ChangeClose, Time: noonMono, Conn: outgoing(),
		Close: &table.Closed{Outcome: table.Finished, Errno: 104, HasStats: true, RTT: 1},
	})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, from, to string }{
		{"nothing", "", ""},
		{"a new key", `"v":1`, `"v":1,"later":[null]`},
		{"a new kind of record", `"event":"tcp_close"`, `"event":"later"`},

		{"no timestamp", `"timestamp":"2026-11-24T12:00:00.000000Z",`, ``},
		{"nanoseconds", `12:00:00.000000Z`, `12:00:00.000000000Z`},
		{"another zone", `000000Z`, `000000+00:00`},
		{"another version", `"v":1`, `"v":2`},
		{"no host", `,"host":"web1"`, ``},
		{"seq is a string", `"seq":1`, `"seq":"1"`},
		{"a short run_id", `"run_id":"0123`, `"run_id":"123`},
		{"upper case", `c0ffee`, `C0FFEE`},
		{"no conn_id", `"conn_id":"0000000000c0ffee",`, ``},
		{"another transport", `"transport":"tcp"`, `"transport":"udp"`},
		{"a null", `"pid":2033`, `"pid":null`},
		{"a dash", `"comm":"curl"`, `"comm":"-","pid":"-"`},
		{"an empty name", `"comm":"curl"`, `"comm":""`},
		{"an unknown port", `"local_port":51464`, `"local_port":0`},
		{"a port beyond", `"local_port":51464`, `"local_port":65536`},
		{"no address", `"local_addr":"10.0.0.5",`, ``},
		{"an address with its port", `10.0.0.5`, `10.0.0.5:80`},
		{"a name for an address", `10.0.0.5`, `localhost`},
		{"a number for a 64-bit id", `"9007199254740993"`, `9007199254740993`},
		{"a word for a number", `"rtt_us":1`, `"rtt_us":"1"`},
		{"a fraction", `"rtt_us":1`, `"rtt_us":1.5`},
		{"a negative number", `"bytes_sent":0`, `"bytes_sent":-1`},
		{"some of the counters", `"segs_out":0,`, ``},
		{"inferred, but false", `"v":1`, `"v":1,"inferred":false`},
		{"start_known, but true", `"v":1`, `"v":1,"start_known":true`},
		{"an unknown outcome", `"outcome":"closed"`, `"outcome":"ended"`},
		{"bytes that nobody counted", `"bytes_retrans":0,`, ``},
		{"no outcome", `"outcome":"closed",`, ``},
		{"an error that is not named", `ECONNRESET`, `connection reset by peer`},
		{"an unknown state", `>TIME_WAIT`, `>TIME-WAIT`},
		{"a history of nothing", `SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT`, ``},
	} {
		line := bytes.Replace(out.Bytes(), []byte(tt.from), []byte(tt.to), 1)
		valid := tt.name == "nothing" || strings.HasPrefix(tt.name, "a new ")
		if !valid && bytes.Equal(line, out.Bytes()) {
			t.Errorf("%s: %s does not stand in %s", tt.name, tt.from, line)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if err := schema.Validate(value); (err == nil) != valid {
			t.Errorf("%s: error %v: %s", tt.name, err, line)
		}
	}
}
