package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// someOutputs are a file that works, one that is full, and a socket without a reader.
func someOutputs() []sink.Stats {
	file := sink.Stats{Place: "/var/log/nettrace.ndjson"}
	file.Queue = sink.QueueStats{Limit: 64 << 20}
	file.Written = sink.WrittenStats{Records: 12, Bytes: 3456, Up: true, Last: time.UnixMilli(1700000000500)}
	full := sink.Stats{Place: "/mnt/full.ndjson"}
	full.Queue = sink.QueueStats{Bytes: 9 << 20, Limit: 64 << 20, Records: 9000, Oldest: 20 * time.Second}
	full.Written = sink.WrittenStats{Records: 5, Bytes: 1000, Errors: 7, ByErrno: []sink.ErrnoCount{{Errno: unix.ENOSPC, Count: 4}, {Errno: unix.ENFILE, Count: 2}, {Count: 1}}}
	full.Dropped[sink.AtOutput] = sink.Dropped{Records: 40, States: 30, Closes: 10}
	socket := sink.Stats{Place: "unix:/run/reader.sock"}
	socket.Queue.Limit = 1 << 20
	socket.Written = sink.WrittenStats{Errors: 3, ByErrno: []sink.ErrnoCount{{Errno: unix.ECONNREFUSED, Count: 3}}}
	socket.Dropped[sink.InQueue] = sink.Dropped{Records: 2, States: 2}
	return []sink.Stats{file, full, socket}
}

// told returns the exposition of all that the words can say.
func told(t *testing.T) string {
	t.Helper()
	m := begin(t, &script{
		rows:    []snapshot.State{snapshot.Listen, snapshot.Established, snapshot.Established, snapshot.CloseWait},
		changes: lives(), lost: 17, resyncs: 2,
		traced: tracer.TCP | tracer.UDP | tracer.Unix, sockets: socketLives(),
	})
	m.done = someOutputs
	m.began = time.UnixMilli(1700000000000)
	return string(m.exposition())
}

// TestExposition compares what a fixed run tells with a golden file, in which
// testdata/exposition.txt says each number beside what it follows from.
func TestExposition(t *testing.T) {
	got := strings.ReplaceAll(told(t), runtime.Version(), "GOVERSION")
	got = regexp.MustCompile(`commit="[0-9a-f]*"`).ReplaceAllString(got, `commit="COMMIT"`)
	const path = "testdata/exposition.txt"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSums checks the numbers of the same run, worked out by hand from lives.
func TestSums(t *testing.T) {
	all := told(t)
	for _, want := range []string{
		`nettrace_tcp_transitions_total{old_state="close",new_state="syn_sent"} 3`,
		`nettrace_tcp_transitions_total{old_state="listen",new_state="syn_recv"} 2`,
		`nettrace_tcp_transitions_total{old_state="established",new_state="close"} 2`,
		`nettrace_tcp_transitions_total{old_state="other",new_state="other"} 1`,
		`nettrace_tcp_opened_total{direction="outgoing"} 4`,
		`nettrace_socket_changes_total{transport="udp",change="connect"} 2`,
		`nettrace_socket_changes_total{transport="unix",change="seen"} 1`,
		`nettrace_socket_changes_total{transport="unix",change="listen"} 1`,
		`nettrace_tcp_opened_total{direction="incoming"} 2`,
		`nettrace_tcp_opened_total{direction="unknown"} 0`,
		`nettrace_tcp_closed_total{outcome="closed",direction="incoming"} 1`,
		`nettrace_tcp_closed_total{outcome="timeout",direction="incoming"} 0`,
		`nettrace_tcp_connections{state="established"} 2`,
		`nettrace_tcp_connections{state="listen"} 1`,
		`nettrace_tcp_connect_duration_seconds_bucket{le="0.0005"} 0`,
		`nettrace_tcp_connect_duration_seconds_bucket{le="0.001"} 2`, // a bound belongs to its bucket
		`nettrace_tcp_connect_duration_seconds_sum 0.002`,
		`nettrace_tcp_connect_duration_seconds_count 2`,
		`nettrace_tcp_connection_duration_seconds_count 7`,
		`nettrace_lost_events_total{stage="ringbuf"} 17`,
		`nettrace_lost_events_total{stage="queue"} 2`,
		`nettrace_lost_events_total{stage="output"} 40`,
		`nettrace_resyncs_total 2`,
		`nettrace_ringbuf_bytes 4096`,
		`nettrace_output_errors_total{output="2-file",errno="ENOSPC"} 4`,
		`nettrace_output_errors_total{output="2-file",errno="other"} 3`,
		`nettrace_output_last_write_timestamp_seconds{output="1-file"} 1700000000.5`,
		`nettrace_output_last_write_timestamp_seconds{output="3-unix"} 0`,
	} {
		if !strings.Contains(all, "\n"+want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if t.Failed() {
		t.Log(all)
	}
}

// TestPromtool has Prometheus' own checker judge names, types, units and help.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool, package prometheus: ", err)
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(told(t))
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool: %v: %s", err, out)
	}
}

// TestSeriesAreBounded checks that 10,000 peers make no more series than none, and that
// none of them is named.
func TestSeriesAreBounded(t *testing.T) {
	var changes []*table.Change
	for id := range uint64(10000) {
		outcome := table.Outcome(id % uint64(table.Outcomes))
		changes = append(changes, life(id, table.Direction(id/13%3), outcome, snapshot.State(id%16), snapshot.State(id/16%16), snapshot.Close)...)
	}
	m := begin(t, &script{changes: changes})
	m.done = func() []sink.Stats { return append(someOutputs(), sink.Stats{Place: "tcp:10.9.8.7:5170"}) }
	all := string(m.exposition())
	const most = 200
	series := 0
	for line := range strings.Lines(all) {
		if !strings.HasPrefix(line, "#") {
			series++
		}
	}
	if series > most {
		t.Errorf("%d series, at most %d may be", series, most)
	}
	if address := regexp.MustCompile(`10\.\d+\.\d+\.\d+|/var/|/mnt/|/run/`).FindString(all); address != "" {
		t.Errorf("%q is among the labels", address)
	}
}

// TestChangesAllocateNothing checks that what is called for each event does not.
func TestChangesAllocateNothing(t *testing.T) {
	m, changes := newMetrics(), lives()
	if n := testing.AllocsPerRun(100, func() {
		for _, c := range changes {
			if err := m.Change(c); err != nil {
				t.Error(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestBounds checks that a time is counted in the bucket that Prometheus means: the
// first whose bound is not below it.
func TestBounds(t *testing.T) {
	h := newHistogram([]uint64{10, 20})
	for _, ns := range []uint64{0, 9, 10, 11, 20, 21, 1 << 62} {
		h.observe(ns)
	}
	got := fmt.Sprint(h.buckets[0].Load(), h.buckets[1].Load(), h.buckets[2].Load())
	if got != "3 2 2" {
		t.Errorf("buckets %s", got)
	}
}

// TestSilence checks what is told where the stream does not answer, or has ended.
func TestSilence(t *testing.T) {
	s := &script{changes: lives(), rows: []snapshot.State{snapshot.Established}}
	m := begin(t, s)
	s.dead.Store(true)
	m.patience = 50 * time.Millisecond
	all := string(m.exposition())
	if !strings.Contains(all, "\nnettrace_stream_up 0\n") || !strings.Contains(all, `opened_total{direction="outgoing"} 4`) {
		t.Errorf("it says:\n%s", all)
	}
	if strings.Contains(all, "nettrace_tcp_connections") {
		t.Error("it tells of a table that it did not see")
	}
}
