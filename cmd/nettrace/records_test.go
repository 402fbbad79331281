package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// fixtureRoot writes a proc tree below a directory of the test.
func fixtureRoot(t *testing.T, files tree) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		if err := writeEntry(filepath.Join(root, strings.TrimRight(path, "@/")), path[len(path)-1], content); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// runText runs nettrace and returns its output.
func runText(t *testing.T, args ...string) string {
	t.Helper()
	e, stdout, stderr := testEnv("nettrace")
	if got := run(e, append([]string{"nettrace"}, args...)); got != statusOK {
		t.Fatalf("%q: status %d: %s", args, got, stderr)
	}
	return stdout.String()
}

// kernelTables is a tree with tables as kernels write them.
func kernelTables() tree {
	return merge(otherTables(), oddOwners, tree{
		"net/tcp": allStates("0100007F", "08080808"), "net/tcp6": allStates(ip6Long, ip6Doc),
		"net/udp": allStates("0100007F", "08080808"), "net/udp6": allStates(ip6Map, strings.Repeat("0", 32)),
		"net/unix":     unixHeader + "ffff0000: 00000002 00000000 00010000 0001 01 117 /run/x\nffff0000: 00000003 00000000 00000000 0001 03 118\n",
		"net/sctp/eps": oddSCTP, "net/sctp/assocs": oddAssocs,
	})
}

// TestRecords checks each view's records against the project's schema.
func TestRecords(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/nettrace.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	root := fixtureRoot(t, kernelTables())
	for event, line := range map[string]string{
		"socket": "-anp", "route": "-rn64CF", "group": "-gn", "statistic": "-s", "masquerade": "-M", "interface": "-ia",
	} {
		args := []string{"--json", line}
		if event != "interface" { // this view also asks the kernel
			args = append(args, "--proc", root)
		}
		out := runText(t, args...)
		n := 0
		for row := range strings.Lines(out) {
			n++
			record, err := jsonschema.UnmarshalJSON(strings.NewReader(row))
			if err != nil {
				t.Fatalf("%s: %v in %q", line, err, row)
			}
			if err := schema.Validate(record); err != nil {
				t.Errorf("%s: %v in %s", line, err, row)
			}
			if got := record.(map[string]any)["event"]; got != event {
				t.Errorf("%s: record of %v, want %s", line, got, event)
			}
		}
		if n == 0 {
			t.Errorf("%s: no records", line)
		}
	}
}

// TestRecordsSayTheSame checks that each socket's record agrees with its row in the
// text, with each choice of sockets.
func TestRecordsSayTheSame(t *testing.T) {
	root := fixtureRoot(t, kernelTables())
	for _, filter := range []string{"-nWet", "-anWet", "-lnWeu", "-anWeu", "-anWetu6", "-anWet4"} {
		var want, got []string
		for row := range strings.Lines(runText(t, "--proc", root, filter)) {
			if f := strings.Fields(row); len(f) >= 7 && f[0] != "Proto" && f[0] != "Active" {
				want = append(want, fmt.Sprint(f[0], " ", f[1], " ", f[2], " ", f[3], " ", f[4], " ", f[len(f)-1]))
			}
		}
		d := json.NewDecoder(bytes.NewBufferString(runText(t, "--json", "--proc", root, filter)))
		for d.More() {
			var r struct {
				Transport, Family string
				LocalAddr         string `json:"local_addr"`
				RemoteAddr        string `json:"remote_addr"`
				LPort             int    `json:"local_port"`
				RPort             int    `json:"remote_port"`
				RecvQ             uint64 `json:"recv_q"`
				SendQ             uint64 `json:"send_q"`
				Inode             uint64
			}
			if err := d.Decode(&r); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %d %d %s %s %d", label(r.Transport, r.Family), r.RecvQ, r.SendQ,
				endpointText(r.LocalAddr, r.LPort), endpointText(r.RemoteAddr, r.RPort), r.Inode))
		}
		if len(want) == 0 {
			t.Errorf("%s: no rows", filter)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-text +JSON):\n%s", filter, diff)
		}
	}
}

func label(transport, family string) string {
	if family == "ipv6" {
		return transport + "6"
	}
	return transport
}

// endpointText spells an endpoint of a record as the text does.
func endpointText(addr string, port int) string {
	addr = strings.TrimPrefix(addr, "::ffff:")
	if port == 0 {
		return addr + ":*"
	}
	return fmt.Sprintf("%s:%d", addr, port)
}
