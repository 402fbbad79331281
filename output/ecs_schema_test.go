package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/nettrace/nettrace/tracer/table"
)

const ecsSchemaFile = "../docs/nettrace.ecs.schema.json"

var loadECSSchema = sync.OnceValues(func() (*recordSchema, error) {
	return readSchema(ecsSchemaFile, &recordSchema{
		first: "@timestamp", event: "event.action",
		measures: regexp.MustCompile(`^nettrace\.[a-z_]+_(sum|avg|min|max|p[0-9]+(_[0-9]+)?)(_ns|_milli)?$`),
	})
})

// ecsTypes are the types that ECS gives its fields: generated/csv/fields.csv of
// github.com/elastic/ecs, v9.4.0. Of the fields in it event.category and event.type are
// normalized as arrays.
var ecsTypes = map[string]string{
	"@timestamp": "date", "ecs.version": "keyword",
	"event.action": "keyword", "event.kind": "keyword", "event.category": "keyword", "event.type": "keyword",
	"event.dataset": "keyword", "event.sequence": "long", "event.id": "keyword", "event.start": "date", "event.end": "date",
	"event.duration": "long", "event.outcome": "keyword", "event.reason": "keyword", "error.code": "keyword",
	"host.name": "keyword", "host.os.kernel": "keyword", "host.architecture": "keyword", "host.boot.id": "keyword",
	"network.transport": "keyword", "network.type": "keyword", "network.direction": "keyword",
	"source.ip": "ip", "source.address": "keyword", "source.port": "long", "source.bytes": "long", "source.packets": "long",
	"destination.ip": "ip", "destination.address": "keyword", "destination.port": "long", "destination.bytes": "long",
	"destination.packets": "long",
	"process.pid":         "long", "process.name": "keyword", "process.executable": "keyword", "process.command_line": "wildcard",
	"process.thread.id": "long", "process.thread.name": "keyword", "user.id": "keyword", "user.name": "keyword",
	"container.id": "keyword", "container.name": "keyword", "orchestrator.type": "keyword", "orchestrator.namespace": "keyword",
	"orchestrator.resource.type": "keyword", "orchestrator.resource.name": "keyword", "orchestrator.resource.id": "keyword",
}

// ecsAllowed are the values that ECS allows (schemas/event.yml and network.yml there),
// for event.type those that it expects with the category network.
var ecsAllowed = map[string][]string{
	"event.kind": {"alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"},
	"event.category": {
		"api", "authentication", "configuration", "database", "driver", "email", "file", "host", "iam", "intrusion_detection",
		"library", "malware", "network", "package", "process", "registry", "session", "threat", "vulnerability", "web",
	},
	"event.type":        {"access", "allowed", "connection", "denied", "end", "info", "protocol", "start"},
	"event.outcome":     {"failure", "success", "unknown"},
	"network.direction": {"ingress", "egress", "inbound", "outbound", "internal", "external", "unknown"},
}

// keywordMost is the most characters of a keyword that are found by it: longer ones are
// kept and not indexed (ignore_above of ECS's index templates).
const keywordMost = 1024

// checkECSLines checks that text is valid by the schema for ECS, and that ECS and
// Elasticsearch take each value. It returns the records.
func checkECSLines(t reporter, text []byte) []map[string]any {
	t.Helper()
	schema, err := loadECSSchema()
	if err != nil {
		t.Fatal(err)
	}
	records := schema.check(t, text)
	for _, record := range decodeNumbers(t, text) {
		for key, value := range record {
			checkECSMember(t, record, key, value)
		}
	}
	return records
}

// decodeNumbers returns the records of lines, with all digits of their numbers.
func decodeNumbers(t reporter, lines []byte) (records []map[string]any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(lines))
	d.UseNumber()
	for {
		var record map[string]any
		if err := d.Decode(&record); err == io.EOF {
			return records
		} else if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
}

func checkECSMember(t reporter, record map[string]any, key string, value any) {
	t.Helper()
	for parent := key; strings.Contains(parent, "."); { // Elasticsearch makes objects of dots
		parent = parent[:strings.LastIndexByte(parent, '.')]
		if _, is := record[parent]; is {
			t.Errorf("%s is a value and an object, with %s in it", parent, key)
		}
	}
	_, own := strings.CutPrefix(key, "nettrace.")
	if kind := ecsTypes[key]; own {
		checkOwnValue(t, key, value)
	} else if list, ok := value.([]any); ok {
		if key != "event.category" && key != "event.type" {
			t.Errorf("%s is an array: %v", key, value)
		}
		for _, item := range list {
			checkECSValue(t, key, kind, item)
		}
	} else {
		checkECSValue(t, key, kind, value)
	}
}

// checkOwnValue checks what Elasticsearch maps by itself: a number as a long.
func checkOwnValue(t reporter, key string, value any) {
	t.Helper()
	if n, ok := value.(json.Number); ok {
		if _, err := n.Int64(); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func checkECSValue(t reporter, key, kind string, value any) {
	t.Helper()
	text, _ := value.(string)
	switch kind {
	case "date":
		if at, err := time.Parse(time.RFC3339Nano, text); err != nil || at.Year() < 1 || at.Year() > 9999 {
			t.Errorf("%s %v: %v", key, value, err)
		}
	case "ip":
		if a, err := netip.ParseAddr(text); err != nil || a.Zone() != "" || a.Is4In6() {
			t.Errorf("%s %v: %v", key, value, err)
		}
	case "keyword", "wildcard":
		if text == "" && key != "host.name" || kind == "keyword" && utf8.RuneCountInString(text) > keywordMost {
			t.Errorf("%s %v is no keyword", key, value)
		}
		if allowed := ecsAllowed[key]; allowed != nil && !slices.Contains(allowed, text) {
			t.Errorf("%s is %s, which ECS does not allow", key, text)
		}
	case "long":
		n, _ := value.(json.Number)
		if _, err := n.Int64(); err != nil || strings.HasPrefix(n.String(), "-") {
			t.Errorf("%s %v: %v", key, value, err)
		}
	default:
		t.Errorf("ECS has no field %s", key)
	}
}

// odd are names that ecs@mappings, the dynamic templates of Elasticsearch for ECS, map
// to another type than keyword and long.
var odd = regexp.MustCompile(`([._]ip|\.message|message_id|command_line|stack_trace|\.(timestamp|start|end|created|ingested|installed|accessed|[cm]time|not_(after|before)|creation_date)|_timestamp|[._]score.*|\.usage|\.location|structured_data|exports|imports|\.io\.text|url\.(path|full|original))$`)

// What ECS has no name for is mapped by its value.
func TestECSOwnNamesAreNotOdd(t *testing.T) {
	schema, err := loadECSSchema()
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for _, keys := range schema.keys {
		for key := range keys {
			if !strings.HasPrefix(key, "nettrace.") {
				continue
			}
			if names++; odd.MatchString(key) {
				t.Errorf("%s would not be a keyword or a long", key)
			}
		}
	}
	if names < 50 {
		t.Errorf("%d names", names)
	}
}

// TestECSSchemaBoundsNumbers checks that the schema gives each number its range, within
// that of the type long.
func TestECSSchemaBoundsNumbers(t *testing.T) {
	checkSchemaNumbers(t, ecsSchemaFile, map[string]string{"/$defs/long": fmt.Sprint(int64(math.MaxInt64)), "/$defs/counter": fmt.Sprint(int64(math.MinInt64))})
}

// The schema must refuse wrong lines.
func TestECSSchemaCatchesMistakes(t *testing.T) {
	schema, err := loadECSSchema()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := newECSWriter(&out, NDJSONOptions{})
	w.Change(&table.Change{
		Kind: table.ChangeClose, Time: noonMono, Conn: outgoing(),
		Close: &table.Closed{Outcome: table.Finished, Errno: 104, HasStats: true, RTT: 1},
	})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, from, to string }{
		{"nothing", "", ""},
		{"a new key", `"ecs.version"`, `"nettrace.later":[null],"ecs.version"`},
		{"a new kind of record", `"event.action":"tcp_close"`, `"event.action":"later"`},
		{"a new version of ECS", ECSVersion, `10.0.0`},

		{"no timestamp", `"@timestamp":"2026-11-24T12:00:00.000000Z",`, ``},
		{"nanoseconds", `12:00:00.000000Z","ecs`, `12:00:00.000000000Z","ecs`},
		{"no version", `"ecs.version":"9.4.0",`, ``},
		{"another kind", `"event.kind":"event"`, `"event.kind":"state"`},
		{"a kind that ECS does not have", `"event.kind":"event"`, `"event.kind":"trace"`},
		{"a category that is no array", `["network"]`, `"network"`},
		{"another type", `"connection","end"`, `"connection","start"`},
		{"no type", `"event.type":["connection","end"],`, ``},
		{"another data set", `nettrace.tcp`, `nettrace.run`},
		{"seq is a string", `"event.sequence":1`, `"event.sequence":"1"`},
		{"seq beyond a long", `"event.sequence":1`, `"event.sequence":9223372036854775808`},
		{"an id of the run alone", `cdef-1"`, `cdef"`},
		{"no host", `,"host.name":"web1"`, ``},
		{"a short run_id", `run_id":"0123`, `run_id":"123`},
		{"no conn_id", `"nettrace.conn_id":"0000000000c0ffee",`, ``},
		{"another transport", `"network.transport":"tcp"`, `"network.transport":"TCP"`},
		{"a direction of a perimeter", `egress`, `outbound`},
		{"a zone", `"source.ip":"10.0.0.5"`, `"source.ip":"fe80::1%eth0"`},
		{"a mapped address", `"source.ip":"10.0.0.5"`, `"source.ip":"::ffff:10.0.0.5"`},
		{"a port without its address", `"source.ip":"10.0.0.5",`, ``},
		{"an unknown port", `"source.port":51464`, `"source.port":0`},
		{"a null", `"process.pid":2033`, `"process.pid":null`},
		{"a thread without its process", `"process.pid":2033,`, ``},
		{"a number for a user", `"user.id":"1000"`, `"user.id":1000`},
		{"an empty name", `"process.name":"curl"`, `"process.name":""`},
		{"a number for a 64-bit id", `"9007199254740993"`, `9007199254740993`},
		{"a fraction", `"nettrace.rtt_us":1`, `"nettrace.rtt_us":1.5`},
		{"a negative number", `"source.bytes":0`, `"source.bytes":-1`},
		{"some of the counters", `"source.packets":0,`, ``},
		{"an outcome that ECS does not have", `"event.outcome":"success"`, `"event.outcome":"closed"`},
		{"an unknown reason", `"event.reason":"closed"`, `"event.reason":"ended"`},
		{"an error that is not named", `ECONNRESET`, `connection reset by peer`},
		{"an unknown state", `>TIME_WAIT`, `>TIME-WAIT`},
	} {
		line := bytes.Replace(out.Bytes(), []byte(tt.from), []byte(tt.to), 1)
		valid := tt.name == "nothing" || strings.HasPrefix(tt.name, "a new ")
		if tt.name != "nothing" && bytes.Equal(line, out.Bytes()) {
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
