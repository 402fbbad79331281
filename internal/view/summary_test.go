package view

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/summary"
	"github.com/nettrace/nettrace/output"
)

// summaryOf makes a summary for a view.
func summaryOf(t *testing.T, list string) *summary.Spec {
	t.Helper()
	spec, err := summary.Parse(&summary.Options{List: list, In: field.View})
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// TestSummedRows sums up sockets of each kind: all rows count once, with and without a
// filter, as text and as records.
func TestSummedRows(t *testing.T) {
	root := filteredFiles(t)
	for _, tt := range []struct{ list, filter, want string }{
		{"transport", "", "COUNT TRANSPORT\n    3 tcp\n    2 sctp\n    2 unix\n    1 udp\n    8 total\n"},
		{"state", "tcp", "COUNT STATE\n    1 ESTABLISHED\n    1 TIME_WAIT\n    1 LISTEN\n    3 total\n"},
		{"local_addr/8,sum(recv_q)", "", "SUM(RECV_Q) LOCAL_ADDR/8\n        6 B 10.0.0.0/8\n        5 B 127.0.0.0/8\n        0 B 0.0.0.0/8\n        0 B -\n       11 B total\n"},
		{"uid,count", "", "COUNT UID\n    3 -\n    2 0\n    2 7\n    1 1000\n    8 total\n"},
		{"remote_port", "udp", "COUNT REMOTE_PORT\n    1 -\n"},
		{"count", "sport = :1", "COUNT\n"},
	} {
		o := Options{All: true, Summary: summaryOf(t, tt.list)}
		if tt.filter != "" {
			o.Filter = filterOf(t, tt.filter)
		}
		r := runView(t, viewOf(o, output.Names{}), root)
		if diff := cmp.Diff(tt.want, r.Stdout); diff != "" || r.Status != 0 || r.Stderr != "" {
			t.Errorf("%s of %q: status %d %s (-want +got):\n%s", tt.list, tt.filter, r.Status, r.Stderr, diff)
		}
		o.JSON = true
		r = runView(t, viewOf(o, output.Names{}), root)
		checkSums(t, tt.list, r.Stdout)
	}
}

// checkSums checks that the counts of the groups are the total.
func checkSums(t *testing.T, list, records string) {
	t.Helper()
	sum, total := 0, -1
	for line := range bytes.Lines([]byte(records)) {
		var r struct {
			Event string
			Count int
			Total bool
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Event != "agg" || total >= 0 {
			t.Errorf("%s: %s", list, line)
		}
		if r.Total {
			total = r.Count
		} else {
			sum += r.Count
		}
	}
	if sum != total {
		t.Errorf("%s: the groups have %d, the total is %d", list, sum, total)
	}
}
