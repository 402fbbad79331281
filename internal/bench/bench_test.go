package main

import (
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseArgs(t *testing.T) {
	o, err := parseArgs([]string{"-quick", "-rounds", "3", "-million"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.rounds != 3 || o.million != 20_000 || o.sections[len(o.sections)-1] != "million" {
		t.Errorf("options %+v", o)
	}
	for _, args := range [][]string{{"-rounds", "-1"}, {"-sections", "stream,nothing"}, {"stream"}} {
		if _, err := parseArgs(args, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 9}, 3},
	} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.in, got, c.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

// TestMedianRatio has a round in which the machine is twice as fast: the ratio must
// not change.
func TestMedianRatio(t *testing.T) {
	identity := func(x float64) float64 { return x }
	if got := medianRatio([]float64{90, 45, 91}, []float64{100, 50, 100}, identity); got != 0.9 {
		t.Errorf("ratio %v, want 0.9", got)
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[float64]string{
		0: "0.00", 0.0123: "0.012", 0.5: "0.50", 9.994: "9.99", 9.996: "10.0", 99.96: "100",
		1234567.8: "1,234,568", -0.25: "-0.25", -1000: "-1,000", -123: "-123", math.Inf(1): "?",
	} {
		if got := number(in); got != want {
			t.Errorf("number(%v) is %q, want %q", in, got, want)
		}
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := report{w: &out}
	r.table("Title", []string{"", "nettrace", "budget", ""}, [][]string{
		append([]string{"CPU", "0.70 µs"}, r.budget(0.7, 0.6, "0.6 µs")...),
		append([]string{"lost", "0"}, r.budget(0, 0, "0")...),
		{"rate"},
	})
	r.summary()
	want := `### Title

|      | nettrace |   budget |            |
| ---- | -------: | -------: | ---------: |
| CPU  |  0.70 µs | ≤ 0.6 µs | **missed** |
| lost |        0 |      ≤ 0 |        met |
| rate |          |          |            |

1 of 2 budgets met.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +written:\n%s", diff)
	}
}

func TestParseLine(t *testing.T) {
	for _, c := range []struct {
		line, old, state string
		ours             bool
	}{
		{"SKADDR           PID     COMM       LADDR           LPORT RADDR           RPORT OLDSTATE    -> NEWSTATE    MS", "OLDSTATE", "NEWSTATE", false},
		{"ffff888239521bc0 28044   a b -> c   127.0.0.1       46150 127.109.198.193 7000  FIN_WAIT1   -> FIN_WAIT2   0.076", "FIN_WAIT1", "FIN_WAIT2", true},
		{"ffff888239521bc0 0       swapper/0  127.109.198.193 7000  127.0.0.1       46150 LISTEN      -> SYN_RECV    0.000", "LISTEN", "SYN_RECV", true},
		{"ffff888239521bc0 28044   tests      127.0.0.1       46150 127.64.0.1      7000  CLOSE       -> SYN_SENT    0.000", "CLOSE", "SYN_SENT", false},
		{"ffff888239521bc0 28044   tests      ::1             46150 ::1             7000  CLOSE       -> SYN_SENT    0.000", "CLOSE", "SYN_SENT", false},
		{"-> x", "", "", false},
		{"", "", "", false},
	} {
		old, state, ours := parseLine([]byte(c.line))
		if string(old) != c.old || string(state) != c.state || ours != c.ours {
			t.Errorf("%q: %q -> %q, ours %v", c.line, old, state, ours)
		}
	}
}

func TestCountLines(t *testing.T) {
	const line = "ffff 1 curl 127.0.0.1 46150 127.109.198.193 7000 CLOSE -> SYN_SENT 0.000\n"
	out := line + line + strings.Replace(line, "127.109.198.193", "10.0.0.1", 1)
	got, err := countLines(strings.NewReader(out), []byte("lost 12 events on CPU #0\nLost 3 events on CPU #1!\n"))
	want := totals{transitions: map[string]int{"CLOSE>SYN_SENT": 2}, others: 1, lost: 15}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(totals{})); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

func TestCountRecords(t *testing.T) {
	const records = `{"v":1,"event":"start"}
{"v":1,"event":"tcp_state","old_state":"CLOSE","new_state":"SYN_SENT"}
{"v":1,"event":"tcp_state","old_state":"SYN_SENT","new_state":"CLOSE","inferred":true}
{"v":1,"event":"tcp_close","history":"SYN_SENT>CLOSE"}
{"v":1,"event":"stop","lost_ringbuf":4,"lost_queue":2,"lost_output":1,"open":9}
`
	got, err := countRecords(strings.NewReader(records))
	want := totals{
		transitions: map[string]int{"CLOSE>SYN_SENT": 1, "SYN_SENT>CLOSE": 1},
		closes:      1, inferred: 1, lost: 7, open: 9,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(totals{})); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if _, err := countRecords(strings.NewReader(`{"event":"start"}`)); err == nil {
		t.Error("no error without a stop record")
	}
}

func TestMissing(t *testing.T) {
	got := totals{transitions: map[string]int{"a>b": 5, "b>c": 12, "x>y": 100}}
	if n := got.missing([]string{"a>b", "b>c", "c>d"}, 10); n != 15 {
		t.Errorf("%d missing, want 5 of a>b and 10 of c>d", n)
	}
	want := map[string]int{"b>c": 2, "x>y": 100}
	if diff := cmp.Diff(want, got.besides([]string{"a>b", "b>c"}, 10)); diff != "" {
		t.Errorf("besides, -want +got:\n%s", diff)
	}
	if n := got.total(); n != 117 {
		t.Errorf("%d in all", n)
	}
}

func TestBPFSince(t *testing.T) {
	before := map[uint32]bpfRun{1: {"state", 100, 10, 4}, 2: {"rows", 50, 1, 0}}
	after := map[uint32]bpfRun{1: {"state", 400, 20, 7}, 2: {"rows", 50, 1, 0}, 3: {"born", 900, 3, 0}}
	want := []bpfRun{{"born", 900, 3, 0}, {"state", 300, 10, 3}}
	if diff := cmp.Diff(want, bpfSince(before, after), cmp.AllowUnexported(bpfRun{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseProgramID(t *testing.T) {
	for fdinfo, want := range map[string]uint32{
		"pos:\t0\nlink_type:\titer\nlink_id:\t3674\nprog_tag:\t7aa717daad8edead\nprog_id:\t5565\n": 5565,
		"pos:\t0\nflags:\t02\n": 0,
		"prog_id:\t0\n":         0,
		"prog_id:\tx\n":         0,
	} {
		if id, ok := parseProgramID([]byte(fdinfo)); ok != (want > 0) || ok && id != want {
			t.Errorf("%q: %d, %v", fdinfo, id, ok)
		}
	}
}

func TestParseMemory(t *testing.T) {
	got := parseMemory([]byte("Name:\tnettrace\nVmHWM:\t   50264 kB\nVmRSS:\t   40000 kB\nRssAnon:\t   10960 kB\n"))
	want := memory{peak: 50264 << 10, now: 40000 << 10, anonymous: 10960 << 10}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestCPUTime checks that the test's own CPU time grows while it runs.
func TestCPUTime(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for {
		after, err := cpuTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after > before+time.Millisecond {
			break
		}
	}
	if _, err := memoryOf(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := cpuTime(1<<22 + 1); err == nil { // above PID_MAX_LIMIT
		t.Error("a process that cannot be has CPU time")
	}
}

func TestContenderWants(t *testing.T) {
	runs := func(n int, each time.Duration) *contender {
		c := &contender{}
		for range n {
			c.samples = append(c.samples, sample{wall: each})
		}
		return c
	}
	for _, c := range []struct {
		n    int
		each time.Duration
		want bool
	}{
		{2, time.Minute, true},
		{3, time.Minute, false},
		{4, time.Second, true},
		{5, time.Second, false},
		{24, time.Millisecond, true},
		{25, time.Millisecond, false},
	} {
		if got := runs(c.n, c.each).wants(5); got != c.want {
			t.Errorf("after %d runs of %v: wants one more: %v", c.n, c.each, got)
		}
	}
}

// TestWeigh counts the records after those of the start, and their bytes.
func TestWeigh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	lines := strings.Repeat(`{"event":"tcp_close"}`+"\n", 999) + `{"event.action":"lost"}` + "\n"
	if err := os.WriteFile(path, []byte("{}\n"+lines), 0o600); err != nil {
		t.Fatal(err)
	}
	var v volume
	if err := v.weigh(path, 3); err != nil {
		t.Fatal(err)
	}
	if v.records != 1000 || v.bytes != len(lines) || v.zipped < 20 || v.zipped > len(lines)/10 || v.losses != 1 {
		t.Errorf("%+v of %d bytes", v, len(lines))
	}
}

func TestLeverName(t *testing.T) {
	for want, args := range map[string][]string{
		"all":                    nil,
		"--sample 1/10":          {"--sample", "1/10"},
		"--filter 'port 1' -p":   {"--filter", "port 1", "-p"},
		"--schema ecs --explain": {"--schema", "ecs", "--explain"},
	} {
		if got := leverName(args); got != want {
			t.Errorf("%q is named %q, want %q", args, got, want)
		}
	}
}
