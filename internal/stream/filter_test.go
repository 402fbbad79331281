package stream_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// noNames has no names: the expressions here have none.
type noNames struct{ filter.Names }

// bound makes the filter of a run.
func bound(t *testing.T, text string) stream.Options {
	t.Helper()
	f, err := filter.Parse(text, filter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return stream.Options{Listening: output.ServersAndEstablished, Bind: func(in field.Where) (stream.Matcher, string, error) {
		p, err := f.Bind(noNames{}, filter.Run{In: in})
		if err != nil {
			return nil, "", err
		}
		canonical := p.Canonical()
		return p, canonical, nil
	}}
}

// lives are two connections: one is refused after a second, one is established, sends
// much, and is closed by its own side; its timewait socket ends later.
func lives() *script {
	const second = 1e9
	refused, long := conn(3, "10.0.0.9:2000", snapshot.SynSent), conn(4, "10.0.0.8:443", snapshot.SynSent)
	for _, c := range []*table.Conn{refused, long} {
		c.Start, c.StartKnown = second, true
		c.Local = netip.AddrPortFrom(c.Local.Addr(), 40000)
	}
	no := &table.Closed{Outcome: table.Refused}
	yes := &table.Closed{Outcome: table.Finished, HasStats: true, BytesSent: 1 << 20}
	est := *long
	est.Established = 2 * second
	return &script{
		rows: []*table.Conn{conn(1, "0.0.0.0:0", snapshot.Listen), conn(2, "10.0.0.9:1000", snapshot.Established)},
		changes: []*table.Change{
			{Time: second, Conn: refused, Old: snapshot.Close, New: snapshot.SynSent},
			{Time: 2 * second, Conn: refused, Old: snapshot.SynSent, New: snapshot.Close, Close: no},
			{Time: 2 * second, Conn: refused, Kind: table.ChangeClose, Close: no},
			{Time: second, Conn: long, Old: snapshot.Close, New: snapshot.SynSent},
			{Time: 2 * second, Conn: &est, Old: snapshot.SynSent, New: snapshot.Established},
			{Time: 3 * second, Conn: &est, Old: snapshot.Established, New: snapshot.FinWait1},
			{Time: 4 * second, Conn: &est, Old: snapshot.FinWait1, New: snapshot.FinWait2},
			{Time: 5 * second, Conn: &est, Old: snapshot.FinWait2, New: snapshot.TimeWait, Close: yes},
			{Time: 5 * second, Conn: &est, Kind: table.ChangeClose, Close: yes},
			{Time: 65 * second, Conn: &est, Old: snapshot.TimeWait, New: snapshot.Close},
		},
	}
}

// TestExpressions checks which rows and records a filter tells: each is decided with the
// connection as it is then, and the last transition and the close as one.
func TestExpressions(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", []string{
			"LISTEN", "ESTABLISHED", "3 SYN_SENT", "3 CLOSE", "3 close", "4 SYN_SENT", "4 ESTABLISHED", "4 FIN_WAIT1", "4 FIN_WAIT2", "4 TIME_WAIT", "4 close", "4 CLOSE",
		}},
		{"outcome = refused", []string{"3 CLOSE", "3 close"}},
		{"failed", []string{"3 CLOSE", "3 close"}},
		{"duration > 2s", []string{"4 TIME_WAIT", "4 close"}},
		{"bytes > 1M", []string{"4 TIME_WAIT", "4 close"}},
		{"latency >= 1s", []string{"4 ESTABLISHED", "4 FIN_WAIT1", "4 FIN_WAIT2", "4 TIME_WAIT", "4 close", "4 CLOSE"}},
		{"state established", []string{"ESTABLISHED", "4 ESTABLISHED"}},
		{"old_state established", []string{"4 FIN_WAIT1"}},
		{"( state established or old_state established )", []string{"ESTABLISHED", "4 ESTABLISHED", "4 FIN_WAIT1"}},
		// The close goes with its transition, whose state is TIME_WAIT.
		{"state time-wait", []string{"4 TIME_WAIT", "4 close"}},
		{"state closed", []string{"3 CLOSE", "3 close", "4 CLOSE"}},
		{"exclude time-wait", []string{
			"LISTEN", "ESTABLISHED", "3 SYN_SENT", "3 CLOSE", "3 close", "4 SYN_SENT", "4 ESTABLISHED", "4 FIN_WAIT1", "4 FIN_WAIT2", "4 CLOSE",
		}},
		{"dport = :443", []string{"4 SYN_SENT", "4 ESTABLISHED", "4 FIN_WAIT1", "4 FIN_WAIT2", "4 TIME_WAIT", "4 close", "4 CLOSE"}},
		{"dport = :443 old_state fin-wait-2", []string{"4 TIME_WAIT", "4 close"}},
		{"recv_q = 0 and sport = :443", []string{"LISTEN", "ESTABLISHED"}},
	} {
		out := new(bytes.Buffer)
		opts := bound(t, tt.text)
		s := lives()
		count := runFiltered(t, s, opts, stream.NewNDJSON(out, stream.Native, output.NDJSONOptions{}, wall))
		got := toldOf(t, out)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q tells (-want +got):\n%s", tt.text, diff)
		}
		rest := len(s.changes) - count.changes - count.closes
		if filtered := count.filtered; filtered != rest {
			t.Errorf("%q: stats say that %d were filtered, want %d", tt.text, filtered, rest)
		}
		if count.changes+count.closes+count.rows != len(tt.want) {
			t.Errorf("%q: %d changes, %d closes, %d rows", tt.text, count.changes, count.closes, count.rows)
		}
	}
}

// runFiltered runs a source with a filter and returns what came out, and the number of
// filtered changes of the stop record.
func runFiltered(t *testing.T, source stream.Source, opts stream.Options, h stream.Handler) *filteredCounter {
	t.Helper()
	count := &filteredCounter{}
	ctx, cancel := context.WithTimeout(context.Background(), shortly)
	defer cancel()
	s, err := stream.NewFiltered(source, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx, h, count); err != nil {
		t.Error(err)
	}
	return count
}

type filteredCounter struct {
	counter
	filtered int
}

func (c *filteredCounter) Stop(sum *output.Totals, reason string) error {
	c.filtered = int(sum.Filtered)
	return c.counter.Stop(sum, reason)
}

// toldOf lists the rows and changes of an output, and checks that the records of the
// run itself are there.
func toldOf(t *testing.T, out *bytes.Buffer) []string {
	t.Helper()
	var told []string
	lines := bytes.Clone(out.Bytes())
	byEvent := records(t, bytes.NewReader(lines))
	for _, event := range []string{"start", "snapshot_end", "resync", "stop"} {
		if len(byEvent[event]) != 1 {
			t.Errorf("%d %s records", len(byEvent[event]), event)
		}
	}
	if rows, _ := byEvent["snapshot_end"][0]["rows"].(float64); int(rows) != len(byEvent["socket"]) {
		t.Errorf("snapshot_end says %v rows, there are %d", rows, len(byEvent["socket"]))
	}
	for line := range bytes.Lines(lines) {
		one := records(t, bytes.NewReader(line))
		word := func(event, key string) string {
			text, _ := one[event][0][key].(string)
			return text
		}
		switch {
		case one["socket"] != nil:
			told = append(told, word("socket", "state"))
		case one["tcp_state"] != nil:
			told = append(told, word("tcp_state", "conn_id")[15:]+" "+word("tcp_state", "new_state"))
		case one["tcp_close"] != nil:
			told = append(told, word("tcp_close", "conn_id")[15:]+" close")
		}
	}
	return told
}

// TestFilterStart checks that the start record has the canonical form, that --count
// counts what is told, and that a filter which cannot be bound starts nothing.
func TestFilterStart(t *testing.T) {
	out := new(bytes.Buffer)
	opts := bound(t, "dport=443 and(state=ESTAB or state=FIN_WAIT1,FIN_WAIT2)")
	opts.Count = 2
	runFiltered(t, lives(), opts, stream.NewNDJSON(out, stream.Native, output.NDJSONOptions{}, wall))
	byEvent := records(t, out)
	if got := byEvent["start"][0]["filter"]; got != "dport = :443 and ( state = established or state in { fin-wait-1, fin-wait-2 } )" {
		t.Errorf("the start record has the filter %v", got)
	}
	if got := byEvent["stop"][0]["reason"]; got != "count" || len(byEvent["tcp_state"]) != 2 {
		t.Errorf("it ended for %v after %d transitions", got, len(byEvent["tcp_state"]))
	}
	var why *filter.Error
	if _, err := stream.NewFiltered(lives(), bound(t, "fwmark 1")); !errors.As(err, &why) {
		t.Errorf("a filter on what no event has: %v", err)
	}
}

// TestFilterPairs checks for random filters that the transition which ends a connection
// and its close are told both or neither, and that what is told and what is filtered add
// up.
func TestFilterPairs(t *testing.T) {
	conditions := []string{
		"state time-wait", "state closed", "old_state fin-wait-2", "old_state syn-sent", "outcome = refused", "outcome != closed", "duration > 2s", "duration < 1500ms",
		"has outcome", "bytes > 1k", "latency > 500ms", "has latency", "dport = :443", "sport >= 40000", "inferred = false", "has old_state", "failed",
	}
	rapid.Check(t, func(t *rapid.T) {
		condition := func(name string) string {
			return rapid.SampledFrom([]string{"", "not "}).Draw(t, "not "+name) + rapid.SampledFrom(conditions).Draw(t, name)
		}
		text := condition("a")
		for range rapid.IntRange(0, 3).Draw(t, "more") {
			text = "( " + text + " ) " + rapid.SampledFrom([]string{"and", "or"}).Draw(t, "op") + " " + condition("b")
		}
		f, err := filter.Parse(text, filter.Options{})
		if err != nil {
			t.Fatal(err)
		}
		told := &pairs{ended: map[uint64]bool{}}
		stage, err := stream.FilterStage(stream.Options{Listening: output.ServersAndEstablished, Bind: func(in field.Where) (stream.Matcher, string, error) {
			p, err := f.Bind(noNames{}, filter.Run{In: in})
			return p, text, err
		}}, told)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range lives().changes {
			if err := stage.Change(c); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
		for id := range told.ended {
			t.Fatalf("%s: connection %d has ended, and no close", text, id)
		}
	})
}

// pairs is an output that fails at a close without the transition before it.
type pairs struct {
	stream.Nop
	ended map[uint64]bool
}

func (p *pairs) Change(c *table.Change) error {
	switch {
	case c.Kind == table.ChangeClose && !p.ended[c.Conn.ID]:
		return errors.New("a close without the transition before it")
	case c.Kind == table.ChangeClose:
		delete(p.ended, c.Conn.ID)
	case c.Close != nil:
		p.ended[c.Conn.ID] = true
	}
	return nil
}

// TestFilterAllocs checks that the stage allocates nothing.
func TestFilterAllocs(t *testing.T) {
	s := lives()
	first, err := stream.FilterStage(bound(t, "dport = :443 and duration > 1s or comm nginx"), stream.Nop{})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, c := range s.changes {
			_ = first.Change(c)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
