package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// watcher is an observer that counts what it is given.
type watcher struct {
	counter
	run     *stream.Stream
	started int
}

func (w *watcher) Observe(s *stream.Stream) { w.run = s }

func (w *watcher) Start(*output.Start) error {
	w.started++
	return nil
}

// TestObserver checks that an observer sees what a sample and the kind of events leave
// out, but not what the options do not ask for.
func TestObserver(t *testing.T) {
	w := new(watcher)
	outputs := run(t, story(), stream.Options{Events: stream.EventsFailed, Sample: 1 << 30, NoSnapshot: true, Observer: w})
	if outputs.rows+outputs.changes+outputs.closes != 0 {
		t.Errorf("the output saw %+v", outputs)
	}
	// The listener is not asked for.
	if w.started != 1 || w.rows != 1 || w.changes != 2 || w.closes != 1 || w.lost != 7 || w.idles != 1 || w.reason != "duration" {
		t.Errorf("the observer saw %+v", w)
	}
	if w.run == nil {
		t.Error("it did not get the run")
	}
}

// TestObserverCounts checks that the change that ends a run by its count is nobody's.
func TestObserverCounts(t *testing.T) {
	w := new(watcher)
	outputs := run(t, story(), stream.Options{Count: 1, Listening: output.ServersAndEstablished, Observer: w})
	if outputs.changes != 1 || w.changes != 1 {
		t.Errorf("%d changes for the output, %d for the observer", outputs.changes, w.changes)
	}
}

// sleeper is a source that goes round when it is woken, and at no other time.
type sleeper struct {
	script
	woken chan struct{}
}

func (s *sleeper) Run(ctx context.Context, h tracer.Handler) error {
	for {
		select {
		case <-s.woken:
			if err := h.Idle(); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *sleeper) Wake() {
	select {
	case s.woken <- struct{}{}:
	default: // it goes round already
	}
}

func (s *sleeper) Table() *table.Table { return nil }

// TestLook looks at a run that sleeps, is stuck, and is over.
func TestLook(t *testing.T) {
	source := &sleeper{woken: make(chan struct{})}
	source.stats.Queued = 7
	stuck := make(chan struct{})
	s := stream.New(source, stream.Options{})
	look := func(patience time.Duration, see func(stream.Standing)) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return s.Look(ctx, see)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error)
	go func() { over <- s.Run(ctx) }()

	for range 100 {
		var now stream.Standing
		if err := look(time.Minute, func(is stream.Standing) { now = is }); err != nil {
			t.Fatal(err)
		}
		if now.Stats.Queued != 7 || now.Ring != tracer.DefaultRingBytes {
			t.Fatalf("it saw %+v", now)
		}
		for range now.Rows {
			t.Error("a row of no table")
		}
	}

	first := make(chan error)
	go func() { first <- look(time.Minute, func(stream.Standing) { <-stuck }) }()
	time.Sleep(10 * time.Millisecond) // so that the first look most likely is under way
	if err := look(50*time.Millisecond, func(stream.Standing) {}); err != nil && !errors.Is(err, stream.ErrSilent) {
		t.Errorf("a run that is stuck: %v", err)
	}
	close(stuck)
	if err := <-first; err != nil {
		t.Error(err)
	}

	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if err := look(time.Minute, func(stream.Standing) { t.Error("it saw the run") }); !errors.Is(err, stream.ErrOver) {
		t.Errorf("a run that is over: %v", err)
	}
}

// TestLookTimesOut looks at a run that nobody has begun.
func TestLookTimesOut(t *testing.T) {
	s := stream.New(story(), stream.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.Look(ctx, func(stream.Standing) { t.Error("it saw the run") }); !errors.Is(err, stream.ErrSilent) {
		t.Errorf("%v", err)
	}
}

// TestKnownHooks checks that a run that polls names every hook, none of them chosen.
func TestKnownHooks(t *testing.T) {
	hooks := stream.New(&tracer.Poller{}, stream.Options{}).Hooks()
	has := make(map[tracer.Capability]bool)
	for _, h := range hooks {
		has[h.Capability] = true
		if h.Chosen {
			t.Errorf("%+v is chosen", h)
		}
	}
	if !has[tracer.Transitions] || !has[tracer.Files] || len(has) < 11 {
		t.Errorf("only %v", has)
	}
}
