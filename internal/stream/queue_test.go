package stream_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// stuck is a reader that takes nothing before its gate opens.
type stuck struct {
	gate chan struct{}
	bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.gate
	return s.Buffer.Write(b)
}

// TestStallIsBounded has runs tell of themselves, and sum up, for long while nobody reads:
// what waits has a bound, and what is left out is told.
func TestStallIsBounded(t *testing.T) {
	const limit, most = 1 << 20, 6 << 20
	for _, c := range []struct {
		name  string
		tell  func(*testing.T, *sink.Sink) stream.Handler
		tells string
	}{
		{"records", tellItself, `"event":"lost","seq":`},
		{"tables", tellTables, " tables are missing from "},
	} {
		t.Run(c.name, func(t *testing.T) {
			reader := &stuck{gate: make(chan struct{})}
			s := sink.New(sink.NewStandard(reader, 0, nil), sink.Options{Place: "stdout", Limit: limit})
			h := c.tell(t, s)
			if waits := s.Stats().Queue.Bytes; waits < limit || waits > most {
				t.Errorf("%d bytes wait", waits)
			}
			left := s.Stats().Dropped[sink.InQueue].Records
			close(reader.gate)
			if err := h.Stop(&output.Totals{}, "signal"); err != nil {
				t.Error(err)
			}
			if err := s.Drain(context.Background()); err != nil {
				t.Error(err)
			}
			if left == 0 || !strings.Contains(reader.String(), c.tells) {
				t.Errorf("%d are left out, and told: %v", left, strings.Contains(reader.String(), c.tells))
			}
		})
	}
}

// tellItself tells what runs tell of themselves.
func tellItself(t *testing.T, s *sink.Sink) stream.Handler {
	h := stream.NewNDJSON(s, stream.Native, output.NDJSONOptions{}, wall)
	begin(t, h)
	for range 20_000 {
		for _, tell := range []func() error{
			func() error { return h.Stats(&output.Totals{}) },
			func() error { return h.Lost(tracer.Lost{Count: 1}) },
			func() error { return h.Resync(table.Resync{}) },
			h.Idle,
		} {
			if err := tell(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return h
}

// tellTables tells tables of nothing.
func tellTables(t *testing.T, s *sink.Sink) stream.Handler {
	h := stream.NewSummaryText(s, stream.SummaryOptions{Spec: specOf(t, "outcome"), Every: time.Nanosecond, Count: 50_000}, nil)
	begin(t, h)
	if err := h.Idle(); err == nil {
		t.Fatal("the last table does not end the run")
	}
	return h
}

func begin(t *testing.T, h stream.Handler) {
	t.Helper()
	if err := h.Start(&output.Start{}); err != nil {
		t.Fatal(err)
	}
	if err := h.Snapshot(func(func(*table.Conn) bool) {}, 0); err != nil {
		t.Fatal(err)
	}
}
