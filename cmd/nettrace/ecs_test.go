package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/nettrace/nettrace/internal/load"
)

// Two outputs of one run, one for each schema, tell the same of all kinds of
// connections, record by record.
func TestStreamECS(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/nettrace.ecs.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	netns := newNetns(t)
	path := filepath.Join(t.TempDir(), "ecs")
	tr := trace(t, netns, "", "--output", "-", "--output", path+",schema=ecs")
	long := 300 * time.Millisecond
	if inMachine {
		long = 2 * time.Second
	}
	runLoad(t, load.Churn(1, long), netns)
	tr.quiet()
	native := tr.stop()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	if lines = lines[:len(lines)-1]; len(lines) != len(native) || len(lines) < 100 {
		t.Fatalf("%d records, %d of the native schema", len(lines), len(native))
	}
	for i, line := range lines {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		record, _ := value.(map[string]any)
		checkECS(t, record, &native[i])
		if id := fmt.Sprintf("%v-%d", record["nettrace.run_id"], i+1); record["event.id"] != id || fmt.Sprint(record["event.sequence"]) != fmt.Sprint(i+1) {
			t.Errorf("number %v and id %v in line %d", record["event.sequence"], record["event.id"], i+1)
		}
	}
}

// checkECS compares a record with that of the native schema in its place.
func checkECS(t *testing.T, record map[string]any, native *record) {
	t.Helper()
	local, remote, direction := "source", "destination", "egress"
	switch native.Direction {
	case "incoming":
		local, remote, direction = remote, local, "ingress"
	case "":
		direction = "<nil>"
	}
	want := map[string]string{"event.action": native.Event, "network.direction": direction}
	for key, value := range map[string]string{
		"nettrace.conn_id": native.ConnID, "nettrace.new_state": native.NewState, "event.reason": native.Outcome + native.Reason,
		local + ".ip": strings.TrimPrefix(native.LocalAddr, "::ffff:"), remote + ".ip": strings.TrimPrefix(native.RemoteAddr, "::ffff:"),
	} {
		if want[key] = value; value == "" || native.RemotePort == 0 && key == remote+".ip" {
			want[key] = "<nil>"
		}
	}
	for key, value := range want {
		if got := fmt.Sprint(record[key]); got != value {
			t.Errorf("%s is %s, want %s: %v", key, got, value, record)
		}
	}
}
