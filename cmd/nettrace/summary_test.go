package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/load"
)

// aggregates returns the groups, the rest and the total of the agg records of an output.
func aggregates(t *testing.T, out []byte) (groups []map[string]any, total map[string]any) {
	t.Helper()
	for line := range bytes.Lines(out) {
		var r map[string]any
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case r["event"] != "agg":
		case r["total"] == true:
			total = r
		default:
			groups = append(groups, r)
		}
	}
	return groups, total
}

// TestSummaryOfViews compares sums with the rows of which they are: for each key, the
// counts are those of the rows with that value, and all of them are all rows.
func TestSummaryOfViews(t *testing.T) {
	netns := newNetns(t)
	holder := startLoad(t, load.Holder(0, 20), netns)
	if err := errors.Join(holder.Go(), holder.Done()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := holder.Stop(); err != nil {
			t.Error(err)
		}
	}()
	rows, stderr, status := nettraceIn(t, netns, 0, "-anp", "--inet", "--json")
	if status != 0 {
		t.Fatal(stderr)
	}
	var records []map[string]any
	for line := range strings.Lines(rows) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	for _, key := range []string{"state", "program", "pid", "remote_addr", "local_port", "transport", "uid"} {
		want := make(map[string]float64)
		for _, r := range records {
			want[fmt.Sprint(r[key])]++
		}
		stdout, stderr, status := nettraceIn(t, netns, 0, "-an", "--inet", "--json", "--summary="+key)
		groups, total := aggregates(t, []byte(stdout))
		got := make(map[string]float64)
		for i, g := range groups {
			count, _ := g["count"].(float64)
			got[fmt.Sprint(g[key])] += count
			if g["rank"] != float64(i+1) {
				t.Errorf("%s: rank %v of group %d", key, g["rank"], i+1)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || status != 0 {
			t.Errorf("%s: status %d %s (-rows +summary):\n%s", key, status, stderr, diff)
		}
		if total["count"] != float64(len(records)) || len(records) < 40 {
			t.Errorf("%s: total %v of %d rows", key, total, len(records))
		}
	}
	text, _, _ := nettraceIn(t, netns, 0, "-tan", "--summary", "--sort=state")
	if want := "COUNT STATE\n   40 ESTABLISHED\n    1 LISTEN\n   41 total\n"; text != want {
		t.Errorf("text (-want +got):\n%s", cmp.Diff(want, text))
	}
	top, _, _ := nettraceIn(t, netns, 0, "-tan", "--summary=remote_addr/8,remote_port,count,max(recv_q)", "--top", "1")
	// The clients have 20 peers in one network; their own ports are few or many groups.
	if !regexp.MustCompile(`\n +20 .*\n +21 .* \d+ more\n +41 .* total\n$`).MatchString(top) {
		t.Errorf("top 1:\n%s", top)
	}
}

// TestStreamSummaryOfChurn sums up 30,000 connections, of which each third ends in
// another way: on each side there must be 10,000 of each.
func TestStreamSummaryOfChurn(t *testing.T) {
	count := 30000
	if inMachine {
		count = 6000
	}
	netns := newNetns(t)
	tr := trace(t, netns, "", "--summary=direction,outcome,count,p50(latency),sum(sent)")
	runChurn(t, netns, count)
	tr.quiet()
	tr.stop()
	out, err := os.ReadFile(tr.path)
	if err != nil {
		t.Fatal(err)
	}
	groups, total := aggregates(t, out)
	got := make(map[string]int)
	sum := 0.0
	for _, g := range groups {
		n, _ := g["count"].(float64)
		got[fmt.Sprint(g["direction"], " ", g["outcome"])] = int(n)
		sum += n
		failed := g["outcome"] == "refused" || g["outcome"] == "handshake_dropped" // of a SYN that came again
		if _, has := g["latency_p50_ns"]; has == failed {
			t.Errorf("latency in %v", g)
		}
	}
	third := count / 3
	want := map[string]int{
		"outgoing closed": third, "incoming closed": third,
		"outgoing reset_local": third, "incoming reset_remote": third, "outgoing refused": third,
	}
	most := max(1, count/10000) // may stay in FIN_WAIT2, see halfDead
	for what, n := range want {
		if got[what] > n || got[what] < n-most {
			t.Errorf("%s: %d, want %d", what, got[what], n)
		}
		delete(got, what)
	}
	for what, n := range got {
		if n > most {
			t.Errorf("%s: %d", what, n)
		}
	}
	if total["count"] != sum {
		t.Errorf("total %v, the groups have %v", total, sum)
	}
	t.Logf("total %v", total)
}

// TestStreamSummaryText checks a summary of connections as people see it.
func TestStreamSummaryText(t *testing.T) {
	netns := newNetns(t)
	stdout, stderr, status := nettraceIn(t, netns, 0, "-c", "--summary=remote_port", "--every=100ms", "--count=2")
	if status != 0 || strings.Count(stdout, "OPENED ENDED FAILED OPEN REMOTE_PORT\n") != 2 {
		t.Errorf("status %d:\n%s%s", status, stdout, stderr)
	}
}

// TestSummaryWherePolled checks that what polling does not know is an error, and that the
// rest is summed up.
func TestSummaryWherePolled(t *testing.T) {
	const nobody = 65534
	netns := newNetns(t)
	_, stderr, status := nettraceIn(t, netns, nobody, "-c", "--summary=program", "--duration=1s")
	if status != int(statusFailed) || !strings.Contains(stderr, "nettrace: --summary: 'program' is not known where the kernel's table is polled\n") {
		t.Errorf("status %d: %s", status, stderr)
	}
	stdout, stderr, status := nettraceIn(t, netns, nobody, "-c", "--summary=remote_port", "--every=100ms", "--count=1")
	if status != 0 || !strings.Contains(stdout, "OPENED ENDED FAILED OPEN REMOTE_PORT\n") {
		t.Errorf("status %d:\n%s%s", status, stdout, stderr)
	}
}

// TestSummaryErrors checks what is refused before anything is read.
func TestSummaryErrors(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-r --summary", "option '--summary' is for sockets"},
		{"-tan --summary=stat", "option '--summary': no field or measure 'stat', near: state"},
		{"-tan --summary=outcome", "option '--summary': 'outcome' is known in the stream alone: add -c"},
		{"-tan --summary program", "option '--summary' takes its list after a '=': --summary=program"},
		{"-tan --sort count", "option '--sort' needs --summary"},
		{"-tan --top 3", "option '--top' needs --summary"},
		{"-tan --summary --top 0", "option '--top' needs a value above zero"},
		{"-tan --summary-groups 5", "option '--summary-groups' needs --summary"},
		{"-tan --summary --every 1s", "option '--every' needs -c and TCP, UDP, raw or Unix sockets"},
		{"-c --every 1s", "option '--every' needs --summary"},
		{"-c --summary --count 3", "option '--count' is about the tables of a summary, and needs --every"},
		{"-c --summary --events=close", "options '--summary' and '--events' exclude each other: --filter chooses what is summed up"},
		{"-c --summary --fields pid", "options '--summary' and '--fields' exclude each other: the list of the summary has its columns"},
		{"-c --state established --summary=remote_addr", "option '--summary': a filter on states selects records, and connections are counted here: leave it out, or add state or outcome to the list"},
		{"-g --summary", "option '--summary' is for Internet and Unix sockets: leave out multicast groups"},
		{"-tan --summary --sort pid", "option '--sort': 'pid' is not in the summary, which has count, state"},
	} {
		e, stdout, stderr := testEnv("nettrace")
		got := run(e, append([]string{"nettrace"}, strings.Fields(tt.args)...))
		if got != statusUsage || stdout.Len() != 0 || !strings.HasPrefix(stderr.String(), "nettrace: "+tt.want+"\n") {
			t.Errorf("%s: status %d, stdout %q, stderr %q, want %q", tt.args, got, stdout, stderr, tt.want)
		}
	}
}
