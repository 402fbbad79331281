package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// endings are a connection that is there, one that ends as it should, one that is
// refused, and a connect that fails before its first transition.
func endings() *script {
	s := story()
	refused, unroutable := conn(4, "10.0.0.9:3000", snapshot.Close), conn(5, "10.0.0.9:4000", snapshot.Close)
	s.changes = append(s.changes,
		&table.Change{Time: 4, Conn: refused, Old: snapshot.Close, New: snapshot.SynSent},
		&table.Change{Time: 5, Conn: refused, Old: snapshot.SynSent, New: snapshot.Close},
		&table.Change{Time: 5, Conn: refused, Kind: table.ChangeClose, Close: &table.Closed{Outcome: table.Refused}},
		&table.Change{Time: 6, Conn: unroutable, Kind: table.ChangeClose, Close: &table.Closed{Outcome: table.Unreachable}},
		&table.Change{Time: 7, Conn: s.rows[1], Kind: table.ChangeOwner},
	)
	return s
}

// TestEvents checks which records each choice has, and that the records of the run
// itself, and its totals, are there in each.
func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events stream.Events
		bare   bool // without the table
		want   map[string]int
		out    float64
		notice string
	}{
		{"all", stream.EventsAll, false, map[string]int{"socket": 3, "tcp_state": 5, "tcp_close": 3}, 11, "5 changes reported"},
		{"all, no snapshot", stream.EventsAll, true, map[string]int{"socket": 1, "tcp_state": 5, "tcp_close": 3}, 9, "5 changes reported"},
		{"close", stream.EventsClose, false, map[string]int{"tcp_close": 3}, 3, "3 closes reported (6 others were not asked for)"},
		{"failed", stream.EventsFailed, false, map[string]int{"tcp_close": 2}, 2, "2 closes reported (7 others were not asked for)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for event, n := range map[string]int{"start": 1, "snapshot_end": 1, "lost": 1, "resync": 1, "stop": 1} {
				tt.want[event] = n
			}
			var lines bytes.Buffer
			opts := stream.Options{Listening: output.ServersAndEstablished, Events: tt.events, NoSnapshot: tt.bare}
			count := run(t, endings(), opts, stream.NewNDJSON(&lines, stream.Native, output.NDJSONOptions{}, wall))
			byEvent := records(t, &lines)
			got := make(map[string]int)
			for event, list := range byEvent {
				got[event] = len(list)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			stop, end := byEvent["stop"][0], byEvent["snapshot_end"][0]
			if stop["events_out"] != tt.out || stop["open"] != 1.0 || stop["opened"] != 1.0 || stop["closed"] != 2.0 {
				t.Errorf("stop %v", stop)
			}
			rows := float64(tt.want["socket"])
			if rows > 0 { // one is of an owner found late
				rows--
			}
			if end["rows"] != rows {
				t.Errorf("snapshot_end has %v rows, want %v", end["rows"], rows)
			}
			if last := count.notices[len(count.notices)-1]; !strings.HasPrefix(last, tt.notice+",") {
				t.Errorf("notice %q, want %q", last, tt.notice)
			}
		})
	}
}

// TestFailedOutcomes checks that each word of the outcomes is decided on purpose.
func TestFailedOutcomes(t *testing.T) {
	failed := map[table.Outcome]bool{
		table.OutcomeUnknown: false, table.Finished: false, table.ResetLocal: false, table.ResetRemote: false,
		table.Timeout: false, table.Destroyed: false,
		table.Refused: true, table.TimeoutConnect: true, table.Unreachable: true, table.AbortedConnect: true,
		table.HandshakeDropped: true, table.NoLocalPort: true, table.Rejected: true,
	}
	for o := range table.Outcomes {
		want, known := failed[o]
		if got := o.Failed(); got != want || !known {
			t.Errorf("outcome %d: failed is %v, want %v (decided: %v)", o, got, want, known)
		}
	}
}

// TestTextOfCloses checks that closes alone are lines of text, without a table before
// them.
func TestTextOfCloses(t *testing.T) {
	var text bytes.Buffer
	run(t, endings(), stream.Options{Listening: output.ServersAndEstablished, Events: stream.EventsFailed},
		stream.NewText(&text, stream.TextOptions{Listening: output.ServersAndEstablished, Closes: true}, wall))
	lines := strings.Split(text.String(), "\n")
	if !strings.HasPrefix(lines[0], "# ") || !strings.HasPrefix(lines[1], "TIME ") || !strings.Contains(lines[1], "OUTCOME") {
		t.Errorf("it begins with %q", lines[:2])
	}
	got := text.String()
	if strings.Contains(got, "closed") || strings.Count(got, "refused") != 1 || strings.Count(got, "unreachable") != 1 {
		t.Errorf("text:\n%s", got)
	}
}

// TestTextFields checks that the columns of the text are those that are chosen, and
// that the table at the start stays.
func TestTextFields(t *testing.T) {
	var text bytes.Buffer
	run(t, endings(), stream.Options{Listening: output.ServersAndEstablished}, stream.NewText(&text, stream.TextOptions{
		Listening: output.ServersAndEstablished, Fields: func([]string) []string { return []string{"remote_port", "outcome"} },
	}, wall))
	table, changes, _ := strings.Cut(text.String(), "\nTIME ")
	if strings.Count(table, "tcp  ") != 2 || !strings.HasSuffix(strings.SplitN(changes, "\n", 2)[0], "PORT  OUTCOME") {
		t.Errorf("text:\n%s", text.String())
	}
	for _, want := range []string{" 2000  closed\n", " 3000  refused\n", " 4000  unreachable\n", " 2000  -\n"} {
		if strings.Count(changes, want) != 1 {
			t.Errorf("not one %q:\n%s", want, changes)
		}
	}
}

// TestCloseLimit checks that closes are counted where they come alone.
func TestCloseLimit(t *testing.T) {
	count := new(counter)
	err := stream.New(endings(), stream.Options{
		Listening: output.ServersAndEstablished, Events: stream.EventsClose, Count: 2,
	}).Run(t.Context(), count)
	if err != nil || count.closes != 2 || count.changes != 0 || count.reason != "count" {
		t.Errorf("%v, it counted %+v", err, count)
	}
}

// TestSample checks that all records of a connection are told or none, about as many
// as the rate says, and that the totals say how many were left out.
func TestSample(t *testing.T) {
	const n, connections = 10, 20000
	rnd := rand.New(rand.NewPCG(1, 2))
	s := new(script)
	for range connections {
		c := conn(rnd.Uint64(), "10.0.0.9:1000", snapshot.Established)
		if rnd.IntN(2) == 0 {
			s.rows = append(s.rows, c)
		}
		s.changes = append(s.changes,
			&table.Change{Time: 1, Conn: c, Old: snapshot.SynSent, New: snapshot.Established},
			&table.Change{Time: 2, Conn: c, Old: snapshot.Established, New: snapshot.Close},
			&table.Change{Time: 2, Conn: c, Kind: table.ChangeClose, Close: &table.Closed{Outcome: table.Finished}},
		)
	}
	var lines bytes.Buffer
	run(t, s, stream.Options{Listening: output.ServersAndEstablished, Sample: n},
		stream.NewNDJSON(&lines, stream.Native, output.NDJSONOptions{SampleRate: n, Fields: []string{"conn_id"}}, wall))
	byEvent := records(t, &lines)
	told := make(map[string]int)
	rows := make(map[string]bool)
	for _, r := range byEvent["socket"] {
		rows[fmt.Sprint(r["conn_id"])] = true
	}
	for _, event := range []string{"tcp_state", "tcp_close"} {
		for _, r := range byEvent[event] {
			told[fmt.Sprint(r["conn_id"])]++
			if r["sample_rate"] != float64(n) {
				t.Fatalf("no rate in %v", r)
			}
		}
	}
	for id, times := range told {
		if times != 3 {
			t.Errorf("%s is told %d times", id, times)
		}
	}
	for id := range rows {
		if told[id] == 0 {
			t.Errorf("%s is in the table alone", id)
		}
	}
	if len(told) < connections/n*8/10 || len(told) > connections/n*12/10 {
		t.Errorf("%d connections of %d are told", len(told), connections)
	}
	stop := byEvent["stop"][0]
	if left, _ := stop["sampled_out"].(float64); int(left) != 3*(connections-len(told)) || stop["filtered"] != 0.0 {
		t.Errorf("%v changes left out, want %d: %v", stop["sampled_out"], 3*(connections-len(told)), stop)
	}
}

// steadyEnd is a source that measures what a transition and a close allocate on their
// way.
type steadyEnd struct{ steady }

func (s *steadyEnd) Run(ctx context.Context, h tracer.Handler) error {
	changes := endings().changes
	changes = changes[len(changes)-4 : len(changes)-2]
	s.allocated = testing.AllocsPerRun(1000, func() {
		if err := errors.Join(h.Change(changes[0]), h.Change(changes[1]), h.Idle()); err != nil {
			panic(err)
		}
	})
	return ctx.Err()
}

// allocating runs a change and a close through a chain and says what each allocates.
func allocating(t *testing.T, opts stream.Options, outputs ...stream.Handler) float64 {
	t.Helper()
	source := new(steadyEnd)
	if err := stream.New(source, opts).Run(t.Context(), outputs...); err != nil {
		t.Fatal(err)
	}
	return source.allocated
}

// TestSelectionAllocatesNothing follows changes through all stages of selection.
func TestSelectionAllocatesNothing(t *testing.T) {
	for _, events := range []stream.Events{stream.EventsAll, stream.EventsClose, stream.EventsFailed} {
		opts := stream.Options{Events: events, Sample: 1}
		n := allocating(t, opts,
			stream.NewNDJSON(io.Discard, stream.Native, output.NDJSONOptions{Fields: []string{"conn_id", "outcome"}, SampleRate: 2}, wall),
			stream.NewText(io.Discard, stream.TextOptions{Closes: events.Closes()}, wall))
		if n != 0 {
			t.Errorf("events %d: %v allocations", events, n)
		}
	}
}
