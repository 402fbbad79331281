package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
)

// ask asks for a path on the Unix socket of --metrics. Before nettrace listens there is
// no answer.
func ask(path, target string) (status, body string, err error) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", "", err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: nettrace\r\n\r\n", target); err != nil {
		return "", "", err
	}
	all, err := io.ReadAll(c)
	head, body, _ := strings.Cut(string(all), "\r\n\r\n")
	status, _, _ = strings.Cut(strings.TrimPrefix(head, "HTTP/1.1 "), "\r\n")
	return status, body, err
}

// scrape returns the series of --metrics.
func scrape(t *testing.T, path string) map[string]float64 {
	t.Helper()
	status, body, err := ask(path, "/metrics")
	if err != nil || status != "200 OK" {
		t.Fatalf("scrape: %v %s %s", err, status, body)
	}
	series := make(map[string]float64)
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		series[line[:at]] = value
	}
	return series
}

// counters returns those of series that a run's records can be summed up to.
func counters(series map[string]float64) map[string]float64 {
	sums := make(map[string]float64)
	for name, value := range series {
		for _, family := range []string{"nettrace_tcp_transitions_total", "nettrace_tcp_closed_total", "nettrace_tcp_opened_total", "nettrace_tcp_connect_duration", "nettrace_tcp_connection_duration", "nettrace_resyncs_total", "nettrace_lost_events_total", "nettrace_socket_changes_total"} {
			if strings.HasPrefix(name, family) && value != 0 {
				sums[name] = value
			}
		}
	}
	return sums
}

// summed is what of a record the metrics follow from.
type summed struct {
	Event         string  `json:"event"`
	OldState      string  `json:"old_state"`
	NewState      string  `json:"new_state"`
	Direction     string  `json:"direction"`
	Outcome       string  `json:"outcome"`
	StartKnown    *bool   `json:"start_known"`
	DurationNS    float64 `json:"duration_ns"`
	EstablishedNS *int64  `json:"established_ns"`
	Transport     string  `json:"transport"`
	Change        string  `json:"change"`
}

// sumUp returns what metrics have to say of the records of a file.
func sumUp(t *testing.T, path string) map[string]float64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sums := make(map[string]float64)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r summed
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		r.addTo(sums)
	}
	// The kernel may leave a connection in FIN_WAIT2, see halfDead: it connected, and no
	// close says how long that took.
	if sums[connected] != sums[connectDuration+"_count"] {
		delete(sums, connectDuration+"_count")
	}
	delete(sums, connected)
	for _, name := range []string{"connect", "connection"} {
		name = "nettrace_tcp_" + name + "_duration_seconds"
		sums[name+`_bucket{le="+Inf"}`] = sums[name+"_count"]
		sums[name+"_sum"] = math.Round(sums[name+"_sum"]) / 1e9
	}
	return sums
}

// connectDuration is the family of what connected says the count of.
const (
	connectDuration = "nettrace_tcp_connect_duration_seconds"
	connected       = "outgoing connections that were established"
)

func (r *summed) addTo(sums map[string]float64) {
	direction := r.Direction
	if direction == "" {
		direction = "unknown"
	}
	switch r.Event {
	case "tcp_state":
		sums[fmt.Sprintf("nettrace_tcp_transitions_total{old_state=%q,new_state=%q}", strings.ToLower(r.OldState), strings.ToLower(r.NewState))]++
		if r.OldState == "CLOSE" && r.NewState != "LISTEN" || r.OldState == "LISTEN" && r.NewState != "CLOSE" {
			sums[fmt.Sprintf("nettrace_tcp_opened_total{direction=%q}", direction)]++
		}
		if r.NewState == "ESTABLISHED" && direction == "outgoing" {
			sums[connected]++
		}
	case "tcp_close":
		sums[fmt.Sprintf("nettrace_tcp_closed_total{outcome=%q,direction=%q}", r.Outcome, direction)]++
		if r.StartKnown == nil {
			observe(sums, "nettrace_tcp_connection_duration_seconds", r.DurationNS,
				0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 86400)
		}
		if r.EstablishedNS != nil && r.Direction == "outgoing" {
			observe(sums, connectDuration, float64(*r.EstablishedNS),
				0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.9, 1, 2.5, 2.9, 5, 6.9, 10)
		}
	case "socket_change":
		sums[fmt.Sprintf("nettrace_socket_changes_total{transport=%q,change=%q}", r.Transport, r.Change)]++
	case "socket_close":
		sums[fmt.Sprintf("nettrace_socket_changes_total{transport=%q,change=%q}", r.Transport, "close")]++
	case "resync":
		sums["nettrace_resyncs_total"]++
	}
}

// observe adds a time to a histogram. Its sum is in nanoseconds.
func observe(sums map[string]float64, name string, ns float64, bounds ...float64) {
	for _, bound := range bounds {
		if ns <= bound*1e9 {
			sums[fmt.Sprintf("%s_bucket{le=%q}", name, strconv.FormatFloat(bound, 'f', -1, 64))]++
		}
	}
	sums[name+"_sum"] += ns
	sums[name+"_count"]++
}

// TestMetricsAgree scrapes a run a thousand times while connections are made at full
// speed. Nothing is lost by it, and the metrics are the sums of the run's own records.
func TestMetricsAgree(t *testing.T) {
	netns := newNetns(t)
	socket := filepath.Join(t.TempDir(), "metrics.sock")
	tr := trace(t, netns, "", "--ring-size", "64M", "--metrics", "unix:"+socket)
	checkHealthy(t, socket)
	server := startLoad(t, load.Server(), netns)
	count, scrapes := 9000, 1000
	if inMachine {
		count, scrapes = 900, 30
	}
	client := startLoad(t, load.Client(0, count, -1), netns)
	if err := client.Go(); err != nil {
		t.Fatal(err)
	}
	for range scrapes {
		scrape(t, socket)
	}
	if err := client.Done(); err != nil {
		t.Fatal(err)
	}
	tr.resync()
	checkAgreement(t, tr, socket, count)
	checkGauge(t, netns, socket)
	checkPromtool(t, socket)
	for _, p := range []*load.Process{client, server} {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	tr.stop()
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestMetricsOfSockets compares what is told of UDP and Unix sockets with the records.
func TestMetricsOfSockets(t *testing.T) {
	netns, dir := newNetns(t), t.TempDir()
	path := filepath.Join(dir, "metrics.sock")
	tr := trace(t, netns, "", "-tux", "--metrics", "unix:"+path)
	checkHealthy(t, path)
	testnet.In(t, netns, func() {
		for i := range 5 {
			l, err := net.Listen("unix", filepath.Join(dir, strconv.Itoa(i)))
			if err != nil {
				t.Error(err)
				return
			}
			_ = l.Close() // nobody has written
			c, err := net.Dial("udp", "127.0.0.1:9")
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close() // nobody has written
		}
	})
	for range 20 {
		tr.quiet()
		before := counters(scrape(t, path))
		records := sumUp(t, tr.path)
		after := counters(scrape(t, path))
		maps.DeleteFunc(records, func(_ string, n float64) bool { return n == 0 })
		if !cmp.Equal(before, after) || after[`nettrace_socket_changes_total{transport="udp",change="close"}`] < 5 {
			continue
		}
		if diff := cmp.Diff(records, after); diff != "" {
			t.Errorf("(-records +metrics):\n%s", diff)
		}
		checkPromtool(t, path)
		return
	}
	t.Error("there was always something that changed")
}

// checkHealthy waits until /healthz says so. An emulator may stop nettrace for seconds.
func checkHealthy(t *testing.T, socket string) {
	t.Helper()
	var status, body string
	for range 20 {
		var err error
		if status, body, err = ask(socket, "/healthz"); err != nil {
			t.Fatal(err)
		}
		if status == "200 OK" && body == "ok\n" {
			return
		}
	}
	t.Errorf("/healthz: %s %q", status, body)
}

// checkAgreement compares the metrics with the records, at a moment at which neither
// changes.
func checkAgreement(t *testing.T, tr *tracing, socket string, count int) {
	t.Helper()
	for range 20 {
		tr.quiet()
		before := counters(scrape(t, socket))
		records := sumUp(t, tr.path)
		after := counters(scrape(t, socket))
		if !cmp.Equal(before, after) {
			continue // a timewait socket ended meanwhile
		}
		if _, all := records[connectDuration+"_count"]; !all {
			forget(records, after)
		}
		if diff := cmp.Diff(records, after, cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-8*(1+a) })); diff != "" {
			t.Errorf("the records and the metrics differ (-records +metrics):\n%s", diff)
		}
		if n := after[`nettrace_tcp_opened_total{direction="outgoing"}`]; n < float64(count) {
			t.Errorf("only %v connections were opened", n)
		}
		return
	}
	t.Error("there was always something that changed")
}

// forget takes the times of connects out of sums that cannot agree.
func forget(sums ...map[string]float64) {
	for _, s := range sums {
		maps.DeleteFunc(s, func(name string, _ float64) bool { return strings.HasPrefix(name, connectDuration) })
	}
}

// checkGauge compares the sockets by state with the kernel's table.
func checkGauge(t *testing.T, netns, socket string) {
	t.Helper()
	var diff string
	for range 20 {
		kernel := make(map[string]float64)
		for _, s := range testnet.TCPSockets(t, netns) {
			kernel[strings.ToLower(s.State.String())]++
		}
		told := make(map[string]float64)
		for name, n := range scrape(t, socket) {
			if rest, ok := strings.CutPrefix(name, `nettrace_tcp_connections{state="`); ok && n > 0 {
				told[strings.TrimSuffix(rest, `"}`)] = n
			}
		}
		if diff = cmp.Diff(kernel, told); diff == "" {
			return
		}
		time.Sleep(time.Second) // the table is looked at once a second
	}
	t.Errorf("sockets by state differ (-kernel +metrics):\n%s", diff)
}

// checkPromtool has promtool judge a real scrape, if it is there.
func checkPromtool(t *testing.T, socket string) {
	t.Helper()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("not judged by promtool, package prometheus: ", err)
		return
	}
	_, body, err := ask(socket, "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v: %s", err, out)
	}
}

// TestMetricsOfOutputs compares what is told of a file with the file, and what of a
// socket that nobody reads with what was said on stderr.
func TestMetricsOfOutputs(t *testing.T) {
	netns := newNetns(t)
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "metrics.sock"), filepath.Join(dir, "records.ndjson")
	tr := trace(t, netns, "", "--metrics", "unix:"+socket, "--output", "-", "--output", file+",events=close", "--output", "unix:"+dir+"/nobody.sock")
	server := startLoad(t, load.Server(), netns)
	runLoad(t, load.Client(0, 300, -1), netns)
	tr.quiet()
	series := scrape(t, socket)
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		`nettrace_output_records_total{output="2-file"}`:                       float64(strings.Count(string(written), "\n")),
		`nettrace_output_bytes_total{output="2-file"}`:                         float64(len(written)),
		`nettrace_output_bytes_total{output="1-stdout"}`:                       float64(tr.size()),
		`nettrace_output_up{output="1-stdout"}`:                                1,
		`nettrace_output_up{output="2-file"}`:                                  1,
		`nettrace_output_up{output="3-unix"}`:                                  0,
		`nettrace_output_records_total{output="3-unix"}`:                       0,
		`nettrace_output_errors_total{output="2-file",errno="ENOSPC"}`:         0,
		`nettrace_output_last_write_timestamp_seconds{output="3-unix"}`:        0,
		`nettrace_queue_bytes{output="2-file"}`:                                0,
		`nettrace_queue_limit_bytes{output="2-file"}`:                          64 << 20,
		`nettrace_lost_events_total{stage="queue"}`:                            0,
		`nettrace_tcp_closed_total{outcome="refused",direction="outgoing"}`:    100,
		`nettrace_tcp_transitions_total{old_state="close",new_state="listen"}`: 1,
	} {
		if got, ok := series[name]; !ok || got != want {
			t.Errorf("%s %v (there: %t), want %v", name, got, ok, want)
		}
	}
	if n := series[`nettrace_output_errors_total{output="3-unix",errno="ENOENT"}`]; n < 1 {
		t.Errorf("%v errors of the socket that is not there", n)
	}
	if n := series[`nettrace_queue_bytes{output="3-unix"}`]; n < 100000 {
		t.Errorf("%v bytes wait for it", n)
	}
	if last := series[`nettrace_output_last_write_timestamp_seconds{output="2-file"}`]; math.Abs(last-float64(time.Now().Unix())) > 600 {
		t.Errorf("the file took something last at %v", last)
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	if err := tr.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := tr.cmd.Wait(); err == nil { // the socket's records could not be handed over
		t.Error("it ended well")
	}
}

// TestMetricsRefused checks that a place that cannot be had ends the run before it
// begins, with a message that names it.
func TestMetricsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		args   []string
		status int
		stderr string
	}{
		{[]string{"-c", "--metrics", l.Addr().String()}, 1, "nettrace: --metrics " + l.Addr().String() + ": address already in use (another process listens there; name another port or path)\n"},
		{[]string{"-c", "--metrics", ":x"}, 3, "option '--metrics': 'x' is no port: it takes 1 to 65535\n"},
		{[]string{"-tan", "--metrics", ":9100"}, 3, "option '--metrics' needs -c and TCP, UDP, raw or Unix sockets\n"},
	} {
		cmd := nettraceCommand(t, tt.args...)
		var out, diag strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &diag
		_ = cmd.Run() // the status is checked
		if cmd.ProcessState.ExitCode() != tt.status || !strings.Contains(diag.String(), tt.stderr) || out.Len() > 0 {
			t.Errorf("%v: status %d, stderr %q, stdout %q", tt.args, cmd.ProcessState.ExitCode(), diag.String(), out.String())
		}
	}
}

// TestMetricsWithText checks that metrics need no records: they count beside text too,
// also without the privilege for BPF.
func TestMetricsWithText(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "metrics.sock")
	cmd := nettraceCommand(t, "-c", "--metrics", "unix:"+socket, "--hooks", "none")
	cmd.Stderr = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Signal(os.Interrupt) }()
	for range 600 {
		status, _, err := ask(socket, "/healthz")
		if err == nil && status == "200 OK" {
			series := scrape(t, socket)
			if series["nettrace_stream_up"] != 1 || series[`nettrace_hook_attached{capability="transitions",hook="tp_btf/inet_sock_set_state"}`] != 0 {
				t.Errorf("it tells %v", series)
			}
			if _, ok := series["nettrace_ringbuf_bytes"]; ok {
				t.Error("there is a ring buffer where it polls")
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("it is not healthy")
}
