package stream

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// Observer is an output that gets all that the options and the filter ask for, also what
// the kind of events or a sample keeps from the others.
type Observer interface {
	Handler
	// Observe gets the run before its start. The observer may look at it from any
	// goroutine, until the run is closed.
	Observe(*Stream)
}

// Standing is how a run stands.
type Standing struct {
	Rows  iter.Seq[*table.Conn] // of the table, as far as they are asked for; each is valid until the next one
	Stats tracer.Stats
	Ring  int // bytes that the kernel's buffer holds; 0: the run polls
}

// Why nobody could look at a run.
var (
	ErrSilent = errors.New("the stream does not answer")
	ErrOver   = errors.New("the stream has ended")
)

// look is called by the goroutine of Run.
type look func(Standing)

// lookAgain is after how long a run that slept or worked is woken again.
const lookAgain = 5 * time.Millisecond

// Look calls see in the goroutine of Run, when all that the kernel has reported was
// handed over: that it does so shows that the run lives. It returns ErrOver when Run has
// returned, and ErrSilent when the context ends first; see is not called then. Any
// goroutine may call it.
func (s *Stream) Look(ctx context.Context, see func(Standing)) error {
	seen := make(chan struct{})
	ask := look(func(now Standing) {
		defer close(seen)
		see(now)
	})
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		s.wake()
		select {
		case s.looks <- ask:
			<-seen
			return nil
		case <-s.over:
			return ErrOver
		case <-ctx.Done():
			return ErrSilent
		case <-again.C: // it was awake, and on its way to sleep
		}
	}
}

// wake has a source that waits for the kernel go round once.
func (s *Stream) wake() {
	if w, ok := s.source.(interface{ Wake() }); ok {
		w.Wake()
	}
}

// Hooks returns every hook for what is traced, and what came of it. Of a run that polls
// none is chosen.
func (s *Stream) Hooks() []tracer.Hook {
	if t, ok := s.source.(interface{ Hooks() []tracer.Hook }); ok {
		return t.Hooks()
	}
	return tracer.KnownHooks(s.opts.Trace.Protocols)
}

// observed returns a stage that goes before another one, so that the observer gets what
// the other one gets, unless that ends the run with it.
func (s *Stream) observed(next Handler) Handler {
	if s.opts.Observer == nil {
		return next
	}
	return fanOut{next, s.opts.Observer}
}

// withObserver adds the observer to the outputs.
func (s *Stream) withObserver(outputs []Handler) []Handler {
	if s.opts.Observer == nil {
		return outputs
	}
	s.opts.Observer.Observe(s)
	return append([]Handler{s.opts.Observer}, outputs...)
}

// answer lets one of those look who wait for that.
func (f *filter) answer() {
	select {
	case see := <-f.looks:
		see(f.standing())
	default:
	}
}

// standing is how the run stands.
func (f *filter) standing() Standing {
	now := Standing{Rows: f.rows, Stats: f.source.Stats()}
	if _, polls := f.source.(*tracer.Poller); !polls {
		now.Ring = cmp.Or(f.ring, tracer.DefaultRingBytes)
	}
	return now
}

// rows yields the rows of the table that are asked for.
func (f *filter) rows(yield func(*table.Conn) bool) {
	t, ok := f.source.(interface{ Table() *table.Table })
	if !ok || t.Table() == nil {
		return
	}
	for row := range t.Table().All {
		if f.wants(row) && f.matchesRow(row) && !yield(row) {
			return
		}
	}
}
