package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// runChurn makes connections at full speed, which end in three ways in turn.
func runChurn(t *testing.T, netns string, count int) {
	t.Helper()
	server := startLoad(t, load.Server(), netns)
	var clients []*load.Process
	for i := range 2 {
		clients = append(clients, startLoad(t, load.Client(i*count/2, count/2, -1), netns))
	}
	for _, c := range clients {
		if err := c.Go(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range clients {
		if err := c.Done(); err != nil {
			t.Fatal(err)
		}
	}
	waitClosed(t, netns)
	for _, p := range append(clients, server) {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// waitClosed waits until the server has closed what it accepted. Connections that wait
// for a FIN in vain are not waited for, see halfDead.
func waitClosed(t *testing.T, netns string) {
	t.Helper()
	var stdout string
	for range 1200 {
		var code int
		stdout, _, code = nettraceIn(t, netns, 0, "-tn", "--json", "--fields=state", "--filter", "not state in {listening, time-wait, fin-wait-2}")
		if code == 0 && stdout == "" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("connections are still open: %s", stdout)
}

// churned is one side of a connection of the load.
type churned struct {
	n        int
	outgoing bool
}

// outcomeOfChurn returns how a side of a connection of the load ends.
func outcomeOfChurn(c churned) string {
	switch load.EndingOf(c.n) {
	case load.FIN:
		return "closed"
	case load.RST:
		if c.outgoing {
			return "reset_local"
		}
		return "reset_remote"
	}
	return "refused"
}

// TestStreamClosesAlone makes connections at full speed. With --events=close there must
// be one record for each side of each connection, and nothing else but what the run
// says of itself.
func TestStreamClosesAlone(t *testing.T) {
	count := 30000
	if inMachine {
		count = 6000
	}
	netns := newNetns(t)
	tr := trace(t, netns, "", "--events=close")
	runChurn(t, netns, count)
	tr.quiet()
	records := tr.stop()
	told := make(map[churned]int)
	kinds := make(map[string]int)
	wrong, again := 0, sentAgain(records)
	for i := range records {
		r := &records[i]
		kinds[r.Event]++
		if r.Event != "tcp_close" {
			continue
		}
		n, outgoing, ok := (&life{last: *r}).numberOf()
		side := churned{n, outgoing}
		if !outgoing && r.Outcome == "handshake_dropped" && again[n] {
			continue
		}
		told[side]++
		if want := outcomeOfChurn(side); !ok || n >= count || r.Outcome != want {
			if wrong++; wrong < 10 {
				t.Logf("%+v ended as %s, want %s: %+v", side, r.Outcome, want, r)
			}
		}
	}
	for _, event := range []string{"start", "snapshot_end", "stop"} {
		if kinds[event] != 1 {
			t.Errorf("%d records %s", kinds[event], event)
		}
	}
	for event := range kinds {
		if !slices.Contains([]string{"start", "snapshot_end", "tcp_close", "stats", "resync", "stop"}, event) {
			t.Errorf("%d records %s", kinds[event], event)
		}
	}
	// A connection may stay in FIN_WAIT2, see halfDead.
	most, missing := max(1, count/10000), 0
	for n := range count {
		for _, side := range []churned{{n, true}, {n, false}} {
			want := 1
			if !side.outgoing && load.EndingOf(n) == load.Refused {
				want = 0
			}
			switch got := told[side]; {
			case got == 0 && want == 1:
				missing++
			case got != want:
				t.Errorf("%+v is told %d times, want %d", side, got, want)
			}
		}
	}
	if missing > most || wrong > most {
		t.Errorf("%d ends are not told and %d are wrong, at most %d may be", missing, wrong, most)
	}
	t.Logf("%v", kinds)
}

// sentAgain finds the connections whose client retransmitted a segment, see askedAgain.
func sentAgain(records []record) map[int]bool {
	again := make(map[int]bool)
	for i := range records {
		if r := &records[i]; r.Event == "tcp_close" && r.Retrans > 0 {
			if n, outgoing, ok := (&life{last: *r}).numberOf(); ok && outgoing {
				again[n] = true
			}
		}
	}
	return again
}

// TestStreamFailedAlone checks that --events=failed tells what failed and nothing else,
// and that all totals are there.
func TestStreamFailedAlone(t *testing.T) {
	netns := newNetns(t)
	tr := trace(t, netns, "", "--events", "failed")
	runChurn(t, netns, 300)
	tr.quiet()
	outcomes := make(map[string]int)
	for _, r := range tr.stop() {
		if r.Event == "tcp_close" {
			outcomes[r.Outcome]++
		}
		if r.Event == "tcp_state" || r.Event == "socket" {
			t.Errorf("told: %+v", r)
		}
	}
	delete(outcomes, "handshake_dropped") // see askedAgain
	if outcomes["refused"] != 100 || len(outcomes) != 1 {
		t.Errorf("outcomes %v", outcomes)
	}
}

// TestStreamTextOfCloses makes connections at full speed. In text there must be one line
// for each side of each, with its ending, and nothing else.
func TestStreamTextOfCloses(t *testing.T) {
	count := 30000
	if inMachine {
		count = 3000
	}
	netns := newNetns(t)
	stdout, stderr := textDuring(t, netns, "-cp", func() { runChurn(t, netns, count) }, "--events=close")
	head, lines, _ := strings.Cut(stdout, "\nTIME ")
	if strings.Contains(head, "Active Internet") {
		t.Errorf("there is a table: %s", head)
	}
	_, lines, _ = strings.Cut(lines, "\n")
	got := make(map[string]int)
	for line := range strings.Lines(lines) {
		got[wordOfClose(line)]++
	}
	third, most := count/3, max(1, count/10000) // see halfDead
	for word, want := range map[string]int{"closed": 2 * third, "reset": third, "reset by peer": third, "refused": third} {
		if got[word] > want || got[word] < want-most {
			t.Errorf("%d lines say %s, want %d", got[word], word, want)
		}
		delete(got, word)
	}
	for word, n := range got {
		if again := strings.Contains(word, " handshake dropped "); n > most && !again && !strings.HasPrefix(word, "# ") { // see askedAgain
			t.Errorf("%d lines like %q", n, word)
		}
	}
	if !strings.Contains(stderr, " closes reported") {
		t.Errorf("stderr: %s", stderr)
	}
}

// wordOfClose returns how the connection of a line ended, or the line if it is none of
// the endings of the load.
func wordOfClose(line string) string {
	for _, word := range []string{"closed", "reset by peer", "reset", "refused"} {
		if strings.Contains(line, " "+word+"  ") {
			return word
		}
	}
	return line
}

// TestStreamSample checks that what is told of a sample is told whole.
func TestStreamSample(t *testing.T) {
	netns := newNetns(t)
	tr := trace(t, netns, "", "--sample=1/3", "--fields", "conn_id,new_state,outcome,history")
	runChurn(t, netns, 600)
	tr.quiet()
	tr.stop()
	b, err := os.ReadFile(tr.path)
	if err != nil {
		t.Fatal(err)
	}
	walks, ends := make(map[string][]string), make(map[string]string)
	for line := range bytes.Lines(b) {
		var r map[string]any
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		id, _ := r["conn_id"].(string)
		if r["sample_rate"] != 3.0 {
			t.Fatalf("no rate in %s", line)
		}
		switch r["event"] {
		case "tcp_state":
			walks[id] = append(walks[id], r["new_state"].(string))
		case "tcp_close":
			ends[id] = r["history"].(string)
		}
	}
	for id, history := range ends {
		if walk := strings.Join(walks[id], ">"); !strings.HasPrefix(walk, history) {
			t.Errorf("%s: transitions %s, history %s", id, walk, history)
		}
	}
	if n := len(ends); n < 200 || n > 500 { // a third of a thousand
		t.Errorf("%d connections are told", n)
	}
}

// TestFields checks the members of records, in the views and in the stream.
func TestFields(t *testing.T) {
	netns := newNetns(t)
	holder := startLoad(t, load.Holder(0, 1), netns)
	if err := errors.Join(holder.Go(), holder.Done()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := holder.Stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, tt := range []struct {
		args string
		want string // keys after timestamp, event and seq
	}{
		{"-tan --json --fields state,pid,local", `"state":"ESTABLISHED","pid":`},
		{"-tan --json --fields=remote_port,state", `"remote_port":`},
		{"-ctn --json --fields=state,local --duration 10ms", `"state":"ESTABLISHED","local_addr":`},
		{"-i --json --fields=mtu_bytes,iface", `"mtu_bytes":65536,"iface":"lo"}`},
		{"-rn -6 --json --fields=-host,-run_id", `"v":1,"family":"ipv6"`},
	} {
		stdout, stderr, status := nettraceIn(t, netns, 0, strings.Fields(tt.args)...)
		found := false
		for line := range strings.Lines(stdout) {
			_, rest, ok := strings.Cut(line, `"seq":`)
			_, rest, _ = strings.Cut(rest, ",")
			found = found || ok && strings.HasPrefix(rest, tt.want)
			if want := strings.HasPrefix(tt.args, "-rn"); !want && strings.Contains(line, `"v":`) && !strings.Contains(line, `"kernel"`) &&
				!strings.Contains(line, `"rows"`) && !strings.Contains(line, `"events_in"`) {
				t.Errorf("%s: %s", tt.args, line)
			}
		}
		if !found || status != 0 {
			t.Errorf("%s: status %d, no record goes on with %s:\n%s%s", tt.args, status, tt.want, stdout, stderr)
		}
	}
}

// TestSelectionErrors checks that what makes no sense is refused before anything runs.
func TestSelectionErrors(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--events=close", "option '--events' needs -c and TCP, UDP, raw or Unix sockets"},
		{"-cr --events=failed", "option '--events' needs -c and TCP, UDP, raw or Unix sockets"},
		{"-cS --no-snapshot", "option '--no-snapshot' needs -c and TCP, UDP, raw or Unix sockets"},
		{"-tn --run-as 1", "option '--run-as' needs -c and TCP, UDP, raw or Unix sockets"},
		{"-cg --no-owner", "option '--no-owner' needs -c and TCP, UDP, raw or Unix sockets"},
		{"-t --sample 1/2", "option '--sample' needs -c and TCP, UDP, raw or Unix sockets"},
		{"-c --events=ends", "option '--events' takes all, close or failed, not 'ends'"},
		{"-cux --events=failed", "option '--events' with failed tells of TCP connections: add -t"},
		{"-cx --json --fields outcome", "option '--fields': no field 'outcome'"},
		{"-c --json --fields change", "option '--fields': no field 'change'"},
		{"-lc --events=close", "option '--events' with close or failed tells of connections, and -l shows none"},
		{"-c --sample 10", "option '--sample' takes 1/N, such as 1/100 for one connection in a hundred, not '10'"},
		{"-c --sample 1/0", "option '--sample' takes 1/N, such as 1/100 for one connection in a hundred, not '1/0'"},
		{"-c --sample 1/4294967296", "option '--sample' takes 1/N, such as 1/100 for one connection in a hundred, not '1/4294967296'"},
		{"-t --fields pid", "option '--fields' needs --json, or -c and TCP, UDP, raw or Unix sockets"},
		{"-c --json --fields outcom", "option '--fields': no field 'outcom', near: outcome"},
		{"-c --fields local,recv_q", "option '--fields': no field 'recv_q'"},
		{"-t --json --fields pid,+comm", "option '--fields': names with + or - change what is shown by default, others replace it: not both in one list"},
		{"-r --json --fields genmsk", "option '--fields': no field 'genmsk', near: genmask"},
	} {
		e, stdout, stderr := testEnv("nettrace")
		got := run(e, append([]string{"nettrace"}, strings.Fields(tt.args)...))
		if got != statusUsage || stdout.Len() != 0 || !strings.HasPrefix(stderr.String(), "nettrace: "+tt.want) {
			t.Errorf("%s: status %d, stdout %q, stderr %q, want %q", tt.args, got, stdout, stderr, tt.want)
		}
	}
	// As netstat, -c repeats the views.
	e, _, stderr := testEnv("netstat")
	if got := run(e, []string{"netstat", "-c", "--events=close"}); got != statusUsage || !strings.Contains(stderr.String(), "needs -c") {
		t.Errorf("status %d, stderr %q", got, stderr)
	}
}
