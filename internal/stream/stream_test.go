package stream_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/clock"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// wall is the clock of all runs.
var wall = clock.NewWall()

// script is a source that reports what a test wrote down, and then waits for the
// end of the run.
type script struct {
	rows    []*table.Conn
	changes []*table.Change
	lost    []tracer.Lost
	stats   tracer.Stats
	resyncs int
}

func (s *script) Run(ctx context.Context, h tracer.Handler) error {
	if err := h.Snapshot(slices.Values(s.rows), time.Millisecond); err != nil {
		return err
	}
	for _, c := range s.changes {
		if err := h.Change(c); err != nil {
			return err
		}
	}
	for _, l := range s.lost {
		if err := h.Lost(l); err != nil {
			return err
		}
	}
	if err := errors.Join(h.Resync(table.Resync{Added: 1}), h.Idle()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (s *script) Stats() tracer.Stats { return s.stats }

func (s *script) Resync() { s.resyncs++ }

func (s *script) EachNamespace(func(proc string, inode uint32) error) error { return nil }

func conn(id uint64, remote string, state snapshot.State) *table.Conn {
	return &table.Conn{
		Head: snapshot.Head{
			Local: netip.MustParseAddrPort("10.0.0.5:443"), Remote: netip.MustParseAddrPort(remote), State: state,
		},
		ID: id,
	}
}

// story is a listener and two connections, one of which begins and ends.
func story() *script {
	kept, short := conn(2, "10.0.0.9:1000", snapshot.Established), conn(3, "10.0.0.9:2000", snapshot.Established)
	listener := conn(1, "0.0.0.0:0", snapshot.Listen)
	return &script{
		rows: []*table.Conn{listener, kept},
		changes: []*table.Change{
			{Time: 1, Conn: short, Old: snapshot.SynSent, New: snapshot.Established},
			{Time: 2, Conn: short, Old: snapshot.Established, New: snapshot.Close},
			{Time: 2, Conn: short, Kind: table.ChangeClose, Close: &table.Closed{Outcome: table.Finished}},
			{Time: 3, Conn: listener, Old: snapshot.Listen, New: snapshot.Close},
		},
		lost:  []tracer.Lost{{Stage: "ringbuf", Count: 7, States: 5, Closes: 1, Total: 7}},
		stats: tracer.Stats{Events: 4, Table: table.Stats{Open: 1, Before: 2, Opened: 1, Closed: 2, Failed: 0}},
	}
}

// counter is an output as another package would write it: it counts what it is
// given.
type counter struct {
	stream.Nop
	rows, changes, closes, idles int
	lost                         uint64
	notices                      []string
	reason                       string
}

func (c *counter) Snapshot(rows iter.Seq[*table.Conn], _ time.Duration) error {
	for range rows {
		c.rows++
	}
	return nil
}

func (c *counter) Change(ch *table.Change) error {
	if ch.Kind == table.ChangeClose {
		c.closes++
	} else {
		c.changes++
	}
	return nil
}

func (c *counter) Lost(l tracer.Lost) error {
	c.lost += l.Count
	return nil
}

func (c *counter) Notice(n stream.Notice) error {
	c.notices = append(c.notices, n.Text)
	return nil
}

func (c *counter) Idle() error {
	c.idles++
	return nil
}

func (c *counter) Stop(_ *output.Totals, reason string) error {
	c.reason = reason
	return nil
}

// shortly is how long a run lasts that has nothing more to report.
const shortly = 50 * time.Millisecond

// run runs a source for a moment beside a counter.
func run(t *testing.T, source stream.Source, opts stream.Options, outputs ...stream.Handler) *counter {
	t.Helper()
	count := new(counter)
	ctx, cancel := context.WithTimeout(context.Background(), shortly)
	defer cancel()
	if err := stream.New(source, opts).Run(ctx, append(outputs, count)...); err != nil {
		t.Error(err)
	}
	return count
}

// records returns the records of an output by their event.
func records(t *testing.T, out io.Reader) map[string][]map[string]any {
	t.Helper()
	byEvent := make(map[string][]map[string]any)
	for d := json.NewDecoder(out); d.More(); {
		var r map[string]any
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		event, _ := r["event"].(string)
		byEvent[event] = append(byEvent[event], r)
	}
	return byEvent
}

// TestOutputs adds a counting output to a run beside text, NDJSON, and both.
func TestOutputs(t *testing.T) {
	for _, name := range []string{"text", "NDJSON", "text and NDJSON"} {
		t.Run(name, func(t *testing.T) {
			var text, lines, diag bytes.Buffer
			var outputs []stream.Handler
			if strings.Contains(name, "text") {
				outputs = append(outputs, stream.NewText(&text, stream.TextOptions{Listening: output.ServersAndEstablished}, wall))
			}
			if strings.Contains(name, "NDJSON") {
				outputs = append(outputs, stream.NewNDJSON(&lines, stream.Native, output.NDJSONOptions{}, wall))
			}
			outputs = append(outputs, stream.NewNotices(&diag, false, false))

			count := run(t, story(), stream.Options{Listening: output.ServersAndEstablished}, outputs...)
			if count.rows != 2 || count.changes != 3 || count.closes != 1 || count.lost != 7 || count.idles != 1 || count.reason != "duration" {
				t.Errorf("it counted %+v", count)
			}
			want := []string{
				"7 events lost in the kernel's ring buffer, 5 transitions and 1 closes among them; reading the table again (a larger --ring-size helps)",
				"3 changes reported, 1 connections opened, 2 closed, 0 failed, 1 open, 7 events lost",
			}
			if diff := cmp.Diff(want, count.notices); diff != "" {
				t.Errorf("notices (-want +got):\n%s", diff)
			}
			if got := diag.String(); got != "nettrace: "+want[0]+"\nnettrace: "+want[1]+"\n" {
				t.Errorf("notices were written as %q", got)
			}
			if strings.Contains(name, "text") {
				checkText(t, text.String())
			}
			if strings.Contains(name, "NDJSON") {
				checkRecords(t, records(t, &lines))
			}
		})
	}
}

func checkText(t *testing.T, text string) {
	t.Helper()
	table, changes, _ := strings.Cut(text, "\nTIME ")
	if n := strings.Count(table, "tcp  "); n != 2 {
		t.Errorf("%d rows in the table:\n%s", n, text)
	}
	if n := strings.Count(changes, " -> "); n != 3 || !strings.Contains(changes, "ESTABLISHED -> CLOSE") {
		t.Errorf("%d changes in the text:\n%s", n, text)
	}
}

func checkRecords(t *testing.T, byEvent map[string][]map[string]any) {
	t.Helper()
	got := make(map[string]int)
	for event, list := range byEvent {
		got[event] = len(list)
	}
	want := map[string]int{
		"start": 1, "socket": 2, "snapshot_end": 1, "tcp_state": 3, "tcp_close": 1, "lost": 1, "resync": 1, "stop": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	stop := byEvent["stop"][0]
	for key, want := range map[string]float64{"events_in": 4, "events_out": 6, "open_before": 2, "opened": 1, "closed": 2, "open": 1, "lost_ringbuf": 7} {
		if stop[key] != want {
			t.Errorf("stop says %s %v, want %v", key, stop[key], want)
		}
	}
}

// TestNotices checks who gets which notice: what the run cannot report everyone,
// what the start record says too a person alone.
func TestNotices(t *testing.T) {
	for _, c := range []struct {
		recorded, watched bool
		want              string
	}{
		{false, false, "limit loss sum"},
		{false, true, "limit inexact loss sum"},
		{true, false, "limit"},
		{true, true, "limit"},
	} {
		var out bytes.Buffer
		n := stream.NewNotices(&out, c.recorded, c.watched)
		for _, notice := range []stream.Notice{
			{Kind: stream.Limitation, Text: "limit"},
			{Kind: stream.Inexact, Text: "inexact"},
			{Kind: stream.Loss, Text: "loss"},
			{Kind: stream.Summary, Text: "sum"},
		} {
			if err := n.Notice(notice); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(strings.Fields(strings.ReplaceAll(out.String(), "nettrace:", "")), " "); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestLeftOut checks that what cannot be streamed is said in one line.
func TestLeftOut(t *testing.T) {
	count := run(t, story(), stream.Options{LeftOut: []string{"UDP sockets", "Unix domain sockets"}})
	if want := "-c does not stream these yet, they are left out: UDP sockets, Unix domain sockets"; count.notices[0] != want {
		t.Errorf("notices: %q", count.notices)
	}
	if count = run(t, story(), stream.Options{}); strings.Contains(strings.Join(count.notices, ""), "left out") {
		t.Errorf("notices without reason: %q", count.notices)
	}
}

// TestFilter checks that only what the options ask for comes to the outputs, and
// that the rest is counted.
func TestFilter(t *testing.T) {
	for _, c := range []struct {
		listening              output.Listening
		rows, changes, dropped int
		summary                string
	}{
		{output.WithoutServers, 1, 2, 1, "2 changes reported (1 others were not asked for), 1 connections opened, 2 closed, 0 failed, 1 open, 7 events lost"},
		{output.OnlyServers, 1, 1, 3, "1 changes reported (3 others were not asked for), 7 events lost"},
		{output.ServersAndEstablished, 2, 3, 0, "3 changes reported, 1 connections opened, 2 closed, 0 failed, 1 open, 7 events lost"},
	} {
		var lines bytes.Buffer
		count := run(t, story(), stream.Options{Listening: c.listening}, stream.NewNDJSON(&lines, stream.Native, output.NDJSONOptions{}, wall))
		stop := records(t, &lines)["stop"][0]
		if count.rows != c.rows || count.changes != c.changes || stop["filtered"] != float64(c.dropped) {
			t.Errorf("%v: %d rows, %d changes, %v filtered, want %d, %d, %d",
				c.listening, count.rows, count.changes, stop["filtered"], c.rows, c.changes, c.dropped)
		}
		if got := count.notices[len(count.notices)-1]; got != c.summary {
			t.Errorf("%v: the summary is %q, want %q", c.listening, got, c.summary)
		}
	}
}

// TestCount checks that a run ends after the transitions asked for, and that the
// close that belongs to the last one is reported.
func TestCount(t *testing.T) {
	for count, closes := range map[int]int{1: 0, 2: 1} {
		got := run(t, story(), stream.Options{Count: count, Listening: output.ServersAndEstablished})
		if got.changes != count || got.closes != closes || got.reason != "count" {
			t.Errorf("count %d: %+v", count, got)
		}
	}
}

// failing is an output that cannot write changes.
type failing struct {
	stream.Nop
	stopped string
}

var errFull = errors.New("no space left")

func (f *failing) Change(*table.Change) error { return errFull }

func (f *failing) Stop(_ *output.Totals, reason string) error {
	f.stopped = reason
	return nil
}

// TestTextKeepsLinesTogether writes more than a buffer at once. Each close must be
// on the line of its transition, wherever the buffer is full.
func TestTextKeepsLinesTogether(t *testing.T) {
	const connections = 3000
	c := conn(1, "10.0.0.9:1000", snapshot.Close)
	source := new(script)
	for range connections {
		source.changes = append(source.changes,
			&table.Change{Time: 1, Conn: c, Old: snapshot.LastAck, New: snapshot.Close},
			&table.Change{Time: 1, Conn: c, Kind: table.ChangeClose, Close: &table.Closed{Outcome: table.Finished}})
	}
	var text bytes.Buffer
	run(t, source, stream.Options{}, stream.NewText(&text, stream.TextOptions{}, wall))
	together := 0
	for line := range strings.Lines(text.String()) {
		if strings.Contains(line, "LAST_ACK -> CLOSE") && strings.HasSuffix(line, " closed\n") {
			together++
		}
	}
	if together != connections {
		t.Errorf("%d of %d transitions have their close", together, connections)
	}
}

// TestFailure checks that an output's error ends the run, and that every output
// is stopped with the reason.
func TestFailure(t *testing.T) {
	fails, count := new(failing), new(counter)
	err := stream.New(story(), stream.Options{}).Run(t.Context(), fails, count)
	if !errors.Is(err, errFull) || fails.stopped != "error" || count.reason != "error" {
		t.Errorf("it ended with %v, %q and %q", err, fails.stopped, count.reason)
	}
}

// TestResync checks that asking for a comparison reaches the source.
func TestResync(t *testing.T) {
	source := story()
	stream.New(source, stream.Options{}).Resync()
	if source.resyncs != 1 {
		t.Errorf("%d comparisons asked for, want 1", source.resyncs)
	}
}

// TestPollingCounts checks that the totals of a run that polls are those of its
// table.
func TestPollingCounts(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0000000000000000 100 0 0 10 0
`
	if err := os.WriteFile(filepath.Join(root, "net/tcp"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	run(t, &tracer.Poller{Proc: root}, stream.Options{ProcRoot: root, Listening: output.ServersAndEstablished},
		stream.NewNDJSON(&lines, stream.Native, output.NDJSONOptions{}, wall))
	got := records(t, &lines)
	if stop := got["stop"][0]; len(got["socket"]) != 2 || stop["open"] != 1.0 || stop["open_before"] != 1.0 {
		t.Errorf("%d rows, and stop says %v are open, %v before", len(got["socket"]), stop["open"], stop["open_before"])
	}
}

// steady is a source that measures what a change allocates on its way.
type steady struct {
	script
	allocated float64
}

func (s *steady) Run(_ context.Context, h tracer.Handler) error {
	c := story().changes[0]
	s.allocated = testing.AllocsPerRun(1000, func() {
		if err := errors.Join(h.Change(c), h.Idle()); err != nil {
			panic(err)
		}
	})
	return nil
}

// TestChangeAllocatesNothing follows a change through the whole chain.
func TestChangeAllocatesNothing(t *testing.T) {
	source := new(steady)
	count := new(counter)
	err := stream.New(source, stream.Options{}).Run(t.Context(),
		stream.NewText(io.Discard, stream.TextOptions{}, wall), stream.NewNDJSON(io.Discard, stream.Native, output.NDJSONOptions{}, wall), count)
	if err != nil || source.allocated != 0 || count.changes == 0 {
		t.Errorf("%v allocations for each of %d changes, %v", source.allocated, count.changes, err)
	}
}
