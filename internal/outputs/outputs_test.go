package outputs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/clock"
	"github.com/nettrace/nettrace/internal/option"
	"github.com/nettrace/nettrace/internal/stdio"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// ofTCP are the records of a stream of TCP.
var ofTCP = []output.RecordKind{output.ChangeRecords}

func TestPlan(t *testing.T) {
	type want struct {
		places []string
		events stream.Events
		closes bool
		fields [][]string
		err    string
	}
	const none = ""
	for _, c := range []struct {
		name    string
		options Options
		events  stream.Events
		fields  string
		want    want
	}{
		{"nothing", Options{}, stream.EventsAll, none, want{places: []string{"stdout"}, fields: [][]string{nil}}},
		{"closes to stdout", Options{}, stream.EventsClose, "pid", want{places: []string{"stdout"}, events: stream.EventsClose, closes: true, fields: [][]string{nil}}},
		{
			"a file and stdout",
			Options{Places: []string{"/a,events=close,fields=pid+comm", "-"}},
			stream.EventsAll, none,
			want{places: []string{"/a", "stdout"}, closes: true, fields: [][]string{{"pid", "comm"}, nil}},
		},
		{
			"closes and failures",
			Options{Places: []string{"/a,events=failed", "tcp:localhost:99"}},
			stream.EventsClose, "local,seq",
			want{places: []string{"/a", "tcp:localhost:99"}, events: stream.EventsClose, closes: true, fields: [][]string{{"local_addr", "local_port", "seq"}, {"local_addr", "local_port", "seq"}}},
		},
		{"a wrong key", Options{Places: []string{"/a,evnts=close"}}, 0, none, want{err: "option '--output': no key 'evnts', near: events"}},
		{"a wrong field", Options{Places: []string{"/a,fields=pdi"}}, 0, none, want{err: "option '--output': key 'fields' (or --fields): no field 'pdi', near: pid"}},
		{
			"rotation of no file",
			Options{Places: []string{"-", "tcp:localhost:99"}, Rotate: sink.Rotation{Size: 1 << 20}},
			0, none,
			want{err: "options '--rotate-...' are about files: name one by --output FILE"},
		},
		{
			"files to keep, and none is renamed",
			Options{Places: []string{"/a"}, Rotate: sink.Rotation{Keep: 3}},
			0, none,
			want{err: "options '--rotate-keep' and '--rotate-compress' need --rotate-size or --rotate-age"},
		},
		{
			"files to keep of one output",
			Options{Places: []string{"/a,rotate-size=1M", "/b"}, Rotate: sink.Rotation{Keep: 3}},
			0, none,
			want{places: []string{"/a", "/b"}, fields: [][]string{nil, nil}},
		},
		{"one place twice", Options{Places: []string{"/a", "/a,events=close"}}, 0, none, want{err: "option '--output': /a stands twice"}},
	} {
		p, err := c.options.Plan(ofTCP, c.events, c.fields)
		got := want{}
		if err != nil {
			got.err = err.Error()
			var wrong *option.Error
			if !errors.As(err, &wrong) {
				t.Errorf("%s: the error is %T", c.name, err)
			}
		} else {
			got.events, got.closes = p.Events(), p.Closes()
			for i := range p.places {
				got.places = append(got.places, p.places[i].String())
				got.fields = append(got.fields, p.places[i].fields)
			}
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(want{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestPlanOfAView refuses what is about outputs where nothing is streamed.
func TestPlanOfAView(t *testing.T) {
	for _, o := range []Options{{Places: []string{"/a"}}, {Queue: 1 << 20}, {Block: true}, {Rotate: sink.Rotation{Size: 1}}, {Schema: "native"}} {
		if p, err := o.Plan(nil, stream.EventsAll, ""); p != nil || err == nil || !strings.Contains(err.Error(), "need -c") {
			t.Errorf("%+v: %v, %v", o, p, err)
		}
	}
	if p, err := new(Options).Plan(nil, stream.EventsAll, ""); p != nil || err != nil || p.Closes() {
		t.Errorf("%v, %v", p, err)
	}
}

func TestRows(t *testing.T) {
	for _, c := range []struct {
		option, value, err string
		want               Options
	}{
		{"queue-bytes", "8M", "", Options{Queue: 8 << 20}},
		{"queue-bytes", "64K", "option '--queue-bytes' needs a size from 1M to 2047M, such as 64M, not '64K'", Options{}},
		{"queue-bytes", "4G", "option '--queue-bytes' needs a size from 1M to 2047M, such as 64M, not '4G'", Options{}},
		{"queue-bytes", "", "option '--queue-bytes' needs a size from 1M to 2047M, such as 64M, not ''", Options{}},
		{"on-stall", "block", "", Options{Block: true}},
		{"on-stall", "drop", "", Options{}},
		{"on-stall", "wait", "option '--on-stall' takes drop or block, not 'wait'", Options{}},
		{"rotate-size", "1G", "", Options{Rotate: sink.Rotation{Size: 1 << 30}}},
		{"rotate-age", "1s", "option '--rotate-age' needs a time of 5s or more, such as 24h, or 0 for never, not '1s'", Options{}},
		{"rotate-keep", "0", "option '--rotate-keep' needs a number from 1 to 1000, not '0'", Options{}},
		{"rotate-compress", "zstd", "option '--rotate-compress' takes gzip or none, not 'zstd'", Options{}},
		{"schema", "native", "", Options{Schema: "native"}},
		{"schema", "otel", "option '--schema' takes native or ecs, not 'otel'", Options{}},
	} {
		var o Options
		rows := o.Rows("heading")
		i := slices.IndexFunc(rows, func(r option.Option) bool { return r.Name == c.option })
		set, ok := rows[i].Into.(func(string) error)
		if !ok {
			t.Fatalf("%s goes into %T", c.option, rows[i].Into)
		}
		text := ""
		if err := set(c.value); err != nil {
			text = err.Error()
		}
		if diff := cmp.Diff(c.want, o); diff != "" || text != c.err {
			t.Errorf("--%s=%s: error %q, want %q; options (-want +got):\n%s", c.option, c.value, text, c.err, diff)
		}
	}
}

// script is a source that tells some changes and waits for the end.
type script struct {
	changes int
	told    chan struct{}
}

func (s *script) Run(ctx context.Context, h tracer.Handler) error {
	conn := &table.Conn{Head: snapshot.Head{Local: netip.MustParseAddrPort("10.0.0.5:443"), Remote: netip.MustParseAddrPort("10.0.0.9:1000")}, ID: 7}
	if err := h.Snapshot(slices.Values([]*table.Conn{conn}), 0); err != nil {
		return err
	}
	for range s.changes {
		err := errors.Join(
			h.Change(&table.Change{Time: 1, Conn: conn, Old: snapshot.Established, New: snapshot.Close}),
			h.Change(&table.Change{Time: 1, Conn: conn, Kind: table.ChangeClose, Close: &table.Closed{Outcome: table.Finished}}),
			h.Idle())
		if err != nil {
			return err
		}
	}
	close(s.told)
	<-ctx.Done()
	return nil
}

func (*script) Stats() tracer.Stats                                       { return tracer.Stats{} }
func (*script) Resync()                                                   {}
func (*script) EachNamespace(func(proc string, inode uint32) error) error { return nil }

// runGroup runs a script to places until its changes are told, and meanwhile does
// something.
func runGroup(t *testing.T, o *Options, stdout io.Writer, changes int, meanwhile func(*Group)) (stderr string, err error) {
	t.Helper()
	plan, err := o.Plan(ofTCP, stream.EventsAll, "")
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	g, err := plan.Open(stdio.NewOut(stdout, false), &errs)
	if err != nil {
		t.Fatal(err)
	}
	source := &script{changes: changes, told: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-source.told
		meanwhile(g)
		cancel()
	}()
	s := stream.New(source, stream.Options{Listening: output.ServersAndEstablished, Events: plan.Events(), Queues: g.Totals})
	err = g.Run(ctx, s, &Form{JSON: true, Wall: clock.NewWall()})
	return errs.String(), err
}

// events reads the kinds of records and checks their numbers.
func events(t *testing.T, text string) (kinds []string) {
	t.Helper()
	seq := 0
	for line := range strings.Lines(text) {
		var r struct {
			Event, Reason string
			Seq           int
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if seq++; r.Seq != seq {
			t.Errorf("record %d has number %d: %s", seq, r.Seq, line)
		}
		if r.Event == "start" {
			r.Event += " " + r.Reason
		}
		kinds = append(kinds, r.Event)
	}
	return kinds
}

// TestChains gives each output its own events.
func TestChains(t *testing.T) {
	file := filepath.Join(t.TempDir(), "closes")
	var out bytes.Buffer
	stderr, err := runGroup(t, &Options{Places: []string{"-", file + ",events=close,fields=conn_id"}}, &out, 2, func(*Group) {})
	if err != nil || strings.Contains(stderr, file) {
		t.Errorf("%v; stderr: %s", err, stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"start start", "socket", "snapshot_end", "tcp_state", "tcp_close", "tcp_state", "tcp_close", "stop"}
	if diff := cmp.Diff(want, events(t, out.String())); diff != "" {
		t.Errorf("stdout (-want +got):\n%s", diff)
	}
	want = []string{"start start", "snapshot_end", "tcp_close", "tcp_close", "stop"}
	if diff := cmp.Diff(want, events(t, string(text))); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
	if lines := strings.Split(string(text), "\n"); strings.Contains(lines[2], "local_addr") || !strings.Contains(lines[2], "conn_id") {
		t.Errorf("fields: %s", lines[2])
	}
}

// TestReopenFile renames a file and has it opened anew.
func TestReopenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "records")
	_, err := runGroup(t, &Options{Places: []string{file}}, io.Discard, 1, func(g *Group) {
		waitFor(t, func() bool { return g.Totals().Bytes == 0 })
		if err := os.Rename(file, file+".old"); err != nil {
			t.Error(err)
		}
		g.Reopen()
		waitFor(t, func() bool { return g.Totals().Reopenings == 1 && g.Totals().Records == 6 })
	})
	if err != nil {
		t.Error(err)
	}
	before, err := os.ReadFile(file + ".old")
	after, err2 := os.ReadFile(file)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	want := []string{"start start", "socket", "snapshot_end", "tcp_state", "tcp_close", "start reopen", "stop"}
	if diff := cmp.Diff(want, events(t, string(before)+string(after))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for range 3000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it does not come")
}

// TestUndelivered ends a run whose peer never was: what waits is told, on stderr alone.
func TestUndelivered(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	stderr, err := runGroup(t, &Options{Places: []string{"unix:" + socket}}, io.Discard, 3, func(*Group) {})
	if !errors.Is(err, ErrTold) || !strings.Contains(stderr, "unix:"+socket+": 9 records could not be delivered before the end") {
		t.Errorf("%v; stderr: %s", err, stderr)
	}
}

// TestFatal ends a run whose stdout fails.
func TestFatal(t *testing.T) {
	_, err := runGroup(t, &Options{}, failing{}, 3, func(*Group) { time.Sleep(time.Minute) })
	if !errors.Is(err, unix.EPIPE) || errors.Is(err, ErrTold) {
		t.Errorf("it ends with %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, unix.EPIPE }

// TestOpenFails names the file before anything is traced, and waits for no peer.
func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	plan, err := (&Options{Places: []string{dir + "/a", "unix:" + dir + "/nobody", dir + "/none/b"}}).Plan(ofTCP, stream.EventsAll, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Open(stdio.NewOut(io.Discard, false), io.Discard); err == nil || !strings.Contains(err.Error(), dir+"/none") {
		t.Errorf("it opens: %v", err)
	}
}
