package stream_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/internal/summary"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

func specOf(t *testing.T, list string) *summary.Spec {
	t.Helper()
	spec, err := summary.Parse(&summary.Options{List: list, In: field.Stream})
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// TestSummaryRecords checks that tables stand in place of rows and changes, among the
// records that a run writes of itself.
func TestSummaryRecords(t *testing.T) {
	var lines bytes.Buffer
	records := stream.NewNDJSON(&lines, stream.Native, output.NDJSONOptions{}, wall)
	run(t, endings(), stream.Options{Listening: output.ServersAndEstablished},
		stream.NewSummaryRecords(records, stream.SummaryOptions{Spec: specOf(t, "outcome")}, nil))
	byEvent := recordsOf(t, &lines, "start", "snapshot_end", "lost", "resync", "agg", "stop")
	want := map[any]float64{"closed": 1, "refused": 1, "unreachable": 1, nil: 3} // nil: the total
	if len(byEvent["agg"]) != len(want) {
		t.Errorf("%d records: %v", len(byEvent["agg"]), byEvent["agg"])
	}
	for _, r := range byEvent["agg"] {
		if r["count"] != want[r["outcome"]] || (r["total"] == true) != (r["outcome"] == nil) {
			t.Errorf("record %v", r)
		}
	}
	if out := byEvent["stop"][0]["events_out"]; out != 4.0 {
		t.Errorf("%v records went out", out)
	}
}

// recordsOf returns the records of an output and checks that these kinds are there, and
// no others.
func recordsOf(t *testing.T, out *bytes.Buffer, kinds ...string) map[string][]map[string]any {
	t.Helper()
	byEvent := records(t, out)
	for _, kind := range kinds {
		if len(byEvent[kind]) == 0 {
			t.Fatalf("no %s record", kind)
		}
	}
	if len(byEvent) != len(kinds) {
		t.Errorf("records: %v, want %v", byEvent, kinds)
	}
	return byEvent
}

// idling is a source that is idle again and again until the run ends.
type idling struct{ script }

func (s *idling) Run(ctx context.Context, h tracer.Handler) error {
	if err := h.Snapshot(func(func(*table.Conn) bool) {}, 0); err != nil {
		return err
	}
	for _, c := range s.changes {
		if err := h.Change(c); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		if err := h.Idle(); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// TestSummaryWindows checks that windows follow each other without a gap, that empty
// ones are told, and that a number of them ends the run.
func TestSummaryWindows(t *testing.T) {
	var lines bytes.Buffer
	records := stream.NewNDJSON(&lines, stream.Native, output.NDJSONOptions{}, wall)
	const every = 20 * time.Millisecond
	source := &idling{*endings()}
	count := new(counter)
	err := stream.New(source, stream.Options{Listening: output.ServersAndEstablished}).Run(t.Context(), count,
		stream.NewSummaryRecords(records, stream.SummaryOptions{Spec: specOf(t, "count"), Every: every, Count: 3}, nil))
	if err != nil || count.reason != "count" {
		t.Fatalf("%v, ended by %s", err, count.reason)
	}
	var totals []map[string]any
	for _, r := range recordsOf(t, &lines, "start", "snapshot_end", "agg", "stop")["agg"] {
		if r["total"] == true {
			totals = append(totals, r)
		}
	}
	if len(totals) != 3 || totals[0]["count"] != 3.0 || totals[1]["count"] != 0.0 || totals[2]["count"] != 0.0 {
		t.Fatalf("totals %v", totals)
	}
	for i, r := range totals {
		if r["window_ns"] != float64(every) {
			t.Errorf("window %d takes %v", i, r["window_ns"])
		}
		if i > 0 && timeOf(t, r).Sub(timeOf(t, totals[i-1])) != every {
			t.Errorf("window %d begins at %v, the one before at %v", i, r["window_start"], totals[i-1]["window_start"])
		}
	}
}

func timeOf(t *testing.T, r map[string]any) time.Time {
	t.Helper()
	text, _ := r["window_start"].(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestSummaryText(t *testing.T) {
	var text bytes.Buffer
	run(t, endings(), stream.Options{Listening: output.ServersAndEstablished},
		stream.NewSummaryText(&text, stream.SummaryOptions{Spec: specOf(t, "remote_port")}, nil))
	lines := strings.Split(text.String(), "\n")
	if !strings.HasPrefix(lines[0], "# ") || lines[1] != "OPENED ENDED FAILED OPEN REMOTE_PORT" {
		t.Errorf("it begins with %q", lines[:2])
	}
	for _, want := range []string{
		"     0     0      0    1 1000", // there before, and open
		"     1     1      0    0 2000",
		"     1     1      1    0 3000",
		"     1     1      1    0 4000",
		"     3     3      2    1 total",
	} {
		if strings.Count(text.String(), want+"\n") != 1 {
			t.Errorf("no line %q:\n%s", want, text.String())
		}
	}
}
