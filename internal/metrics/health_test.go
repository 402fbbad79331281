package metrics

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output/sink"
)

// TestHealth follows a run from before its start to its end.
func TestHealth(t *testing.T) {
	m := newMetrics()
	s := &script{told: make(chan struct{})}
	expect := func(status, body string) {
		t.Helper()
		for _, method := range []string{"GET", "HEAD"} {
			a := m.answer(request{method, "/healthz"})
			if a.status != status || string(a.body) != body+"\n" {
				t.Errorf("%s %q, want %s %q", a.status, a.body, status, body)
			}
		}
	}
	expect(statusUnavailable, "the initial table is not read yet")
	if a := m.answer(request{"GET", "/metrics"}); a.status != statusUnavailable {
		t.Errorf("/metrics before the start: %s", a.status)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error)
	go func() { over <- stream.New(s, stream.Options{Observer: m}).Run(ctx) }()
	<-s.told
	expect(statusOK, "ok")

	var outputs []sink.Stats
	m.done = func() []sink.Stats { return outputs }
	outputs = someOutputs()
	expect(statusOK, "ok") // what waits there waits for 20 seconds
	outputs[1].Queue.Oldest = time.Minute
	expect(statusUnavailable, "output 2-file has taken nothing yet, and something waits for 1m0s")
	outputs[1].Written.Last = time.Now()
	expect(statusOK, "ok")
	outputs = nil

	s.dead.Store(true)
	m.patience = 50 * time.Millisecond
	expect(statusUnavailable, "the stream does not answer within 50ms")
	s.dead.Store(false)
	m.patience = patience
	expect(statusOK, "ok")

	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
	expect(statusUnavailable, "the stream has ended")
	if a := m.answer(request{"GET", "/metrics"}); a.status != statusOK || !strings.Contains(string(a.body), "nettrace_stream_up 0") {
		t.Errorf("/metrics after the end: %s %s", a.status, a.body)
	}
}

func TestStall(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name   string
		queue  sink.QueueStats
		last   time.Time
		reason string
	}{
		{"nothing waits", sink.QueueStats{}, now.Add(-time.Hour), ""},
		{"it takes", sink.QueueStats{Bytes: 1, Oldest: time.Minute}, now.Add(-29 * time.Second), ""},
		{"what waits came now", sink.QueueStats{Bytes: 1, Oldest: time.Second}, now.Add(-time.Hour), ""},
		{"it takes nothing", sink.QueueStats{Bytes: 1, Oldest: time.Minute}, now.Add(-31 * time.Second), "has taken nothing for 31s"},
	} {
		s := sink.Stats{Queue: tt.queue, Written: sink.WrittenStats{Last: tt.last}}
		if got := stall(&s, now); got != tt.reason {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.reason)
		}
	}
}
