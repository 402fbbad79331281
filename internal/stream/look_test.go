package stream_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
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
	table *table.Table
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

func (s *sleeper) Table() *table.Table { return s.table }

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
	if !has[tracer.Transitions] || !has[tracer.Files] || len(has) < 11 || has[tracer.SocketOpen] {
		t.Errorf("only %v", has)
	}
	for _, h := range tracer.KnownHooks(tracer.UDP) {
		if has[h.Capability] {
			t.Errorf("%s is of TCP", h.Capability)
		}
	}
}

// TestLookAtRows checks that of the table those rows are shown that the options and the
// filter ask for.
func TestLookAtRows(t *testing.T) {
	kept := table.New(table.Config{ScansOnly: true}, table.NewProcesses(1, func(*snapshot.Process, uint64) {}, func(uint32) {}), func(*table.Change) {})
	kept.BeginScan(1, true)
	for i, row := range []struct {
		remote string
		state  snapshot.State
	}{{"0.0.0.0:0", snapshot.Listen}, {"10.0.0.9:443", snapshot.Established}, {"10.0.0.9:443", snapshot.CloseWait}, {"10.0.0.8:443", snapshot.Established}} {
		kept.Apply(&table.Event{
			Kind: table.EventRow, New: row.state, Time: 2, After: 2, Inode: uint32(i + 1),
			Local: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.5"), uint16(1000+i)), Remote: netip.MustParseAddrPort(row.remote),
		})
	}
	kept.EndScan(3)
	bind := func(field.Where) (stream.Matcher, string, error) { return toNine{}, "dst 10.0.0.9", nil }
	for _, tt := range []struct {
		name string
		opts stream.Options
		want int
	}{
		{"all", stream.Options{Listening: output.ServersAndEstablished}, 4},
		{"without listeners", stream.Options{Listening: output.WithoutServers}, 3},
		{"listeners", stream.Options{Listening: output.OnlyServers}, 1},
		{"by a filter", stream.Options{Listening: output.ServersAndEstablished, Bind: bind, Sample: 1000}, 2},
	} {
		s, err := stream.NewFiltered(&sleeper{woken: make(chan struct{}), table: kept}, tt.opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		over := make(chan error)
		go func() { over <- s.Run(ctx) }()
		rows := 0
		if err := s.Look(ctx, func(is stream.Standing) {
			for range is.Rows {
				rows++
			}
		}); err != nil || rows != tt.want {
			t.Errorf("%s: %d rows, want %d (%v)", tt.name, rows, tt.want, err)
		}
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	}
}

// toNine matches what goes to 10.0.0.9.
type toNine struct{}

func (toNine) Match(s *field.Subject) bool {
	return s.Head.Remote.Addr() == netip.MustParseAddr("10.0.0.9")
}
