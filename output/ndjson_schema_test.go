package output

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// reporter is what a test and a property have in common.
type reporter interface {
	Helper()
	Fatal(...any)
	Errorf(string, ...any)
}

const schemaFile = "../docs/nettrace.schema.json"

// recordSchema is the project's JSON Schema, and the keys that it describes for
// each kind of record.
type recordSchema struct {
	*jsonschema.Schema
	keys map[string]map[string]bool
}

var loadSchema = sync.OnceValues(func() (*recordSchema, error) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource(schemaFile, doc); err != nil {
		return nil, err
	}
	compiled, err := compiler.Compile(schemaFile)
	if err != nil {
		return nil, err
	}
	root := doc.(map[string]any)
	defs := root["$defs"].(map[string]any)
	s := &recordSchema{compiled, map[string]map[string]bool{}}
	for _, branch := range root["allOf"].([]any) {
		when := branch.(map[string]any)["if"].(map[string]any)["properties"].(map[string]any)
		event := when["event"].(map[string]any)["const"].(string)
		s.keys[event] = describedKeys(defs, branch.(map[string]any)["then"])
		maps.Copy(s.keys[event], describedKeys(defs, defs["envelope"]))
	}
	return s, nil
})

// describedKeys gives the properties that a schema describes, following its
// references.
func describedKeys(defs map[string]any, schema any) map[string]bool {
	keys := map[string]bool{}
	object := schema.(map[string]any)
	if ref, ok := object["$ref"].(string); ok {
		maps.Copy(keys, describedKeys(defs, defs[strings.TrimPrefix(ref, "#/$defs/")]))
	}
	if all, ok := object["allOf"].([]any); ok {
		for _, part := range all {
			maps.Copy(keys, describedKeys(defs, part))
		}
	}
	if properties, ok := object["properties"].(map[string]any); ok {
		for key := range properties {
			keys[key] = true
		}
	}
	return keys
}

// checkLines checks that text is lines of NDJSON as the project promises them,
// and gives their records. A reader takes a key that it does not know; this test
// does not, so that no key is printed that the schema does not describe.
func checkLines(t reporter, text []byte) []map[string]any {
	t.Helper()
	schema, err := loadSchema()
	if err != nil {
		t.Fatal(err)
	}
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
		if !bytes.HasPrefix(line, []byte(`{"timestamp":"`)) {
			t.Errorf("timestamp is not first: %s", line)
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

func checkKeys(t reporter, schema *recordSchema, record map[string]any, line []byte) {
	known, ok := schema.keys[record["event"].(string)]
	if !ok {
		t.Errorf("the schema does not describe %q: %s", record["event"], line)
	}
	for key := range record {
		if !known[key] {
			t.Errorf("the schema does not describe %q: %s", key, line)
		}
		if n := bytes.Count(line, []byte(`,"`+key+`":`)); n > 1 {
			t.Errorf("%q stands %d times: %s", key, n, line)
		}
	}
}
