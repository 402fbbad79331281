package container

import (
	"bytes"
	"encoding/json"
	"testing"
	"unsafe"
)

func ptr(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// compareJSON checks that the first Name of a well-formed object is found, and nothing
// more of it: encoding/json is the judge.
func compareJSON(t *testing.T, state string) {
	t.Helper()
	got := member([]byte(state), "Name")
	items([]byte(state), func([]byte) {})
	d := json.NewDecoder(bytes.NewReader([]byte(state)))
	if !json.Valid([]byte(state)) {
		return
	}
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		if got != nil {
			t.Errorf("no object, and a member %q: %q", got, state)
		}
		return
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		if key == "Name" && bytes.Contains([]byte(state), []byte(`"Name"`)) {
			if depthOf(value) < jsonDepth && !bytes.Equal(bytes.TrimSpace(value), got) {
				t.Errorf("%q, want %q: %q", got, value, state)
			}
			return
		}
		if depthOf(value) >= jsonDepth {
			return
		}
	}
}

// depthOf is at least the nesting of a value.
func depthOf(value []byte) int {
	return bytes.Count(value, []byte("[")) + bytes.Count(value, []byte("{"))
}
