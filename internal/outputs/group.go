package outputs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nettrace/nettrace/internal/stdio"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
)

// Group is the outputs of a run, open.
type Group struct {
	plan    *Plan
	sinks   []*sink.Sink // as plan.places
	notices *sink.Sink   // stderr: nobody waits for who reads that either
	failed  chan error   // what an output cannot go on after
}

// noticeBytes is how much waits for stderr at most.
const noticeBytes = 256 << 10

// Open opens all places, before anything is traced.
func (p *Plan) Open(stdout *stdio.Out, stderr io.Writer) (*Group, error) {
	g := &Group{plan: p, failed: make(chan error, len(p.places))}
	g.notices = sink.New(sink.NewStandard(stderr, 0, nil), sink.Options{Place: "stderr", Limit: noticeBytes})
	for i := range p.places {
		target, err := g.target(&p.places[i], stdout)
		if err != nil {
			return nil, errors.Join(err, g.close())
		}
		g.sinks = append(g.sinks, sink.New(target, sink.Options{
			Place: p.places[i].String(), Limit: p.opts.Queue, Block: p.opts.Block,
			Notice: g.notice, Failed: func(err error) { g.failed <- err },
		}))
	}
	return g, nil
}

func (g *Group) target(p *place, stdout *stdio.Out) (sink.Target, error) {
	if p.spec.Kind != sink.ToStdout {
		return sink.Open(&p.spec, g.notice)
	}
	stdout.Direct() // what is buffered could not be left behind at the end
	return sink.NewStandard(stdout, stdout.Whole(), stdout.Gone), nil
}

// close closes what was opened where the run does not begin.
func (g *Group) close() error {
	var errs []error
	for _, s := range g.sinks {
		errs = append(errs, s.Drain(context.Background()))
	}
	return errors.Join(errs...)
}

// notice tells the person who watches the run.
func (g *Group) notice(text string) { fmt.Fprintf(notices{g.notices}, "nettrace: %s\n", text) }

// notices is stderr while a run lasts. What has no place is left out.
type notices struct{ *sink.Sink }

func (n notices) Write(lines []byte) (int, error) {
	if !n.Admit(sink.Row) {
		return len(lines), nil
	}
	return n.Sink.Write(lines)
}

// Reopen opens the places anew that can be, at once.
func (g *Group) Reopen() {
	for _, s := range g.sinks {
		s.Reopen()
	}
}

// Files returns the files that are written and opened anew.
func (g *Group) Files() (files []string) {
	for i := range g.plan.places {
		if spec := &g.plan.places[i].spec; spec.Kind == sink.ToFile {
			files = append(files, spec.Place)
		}
	}
	return files
}

// Stats returns what each output has done so far. Any goroutine may call it.
func (g *Group) Stats() []sink.Stats {
	var all []sink.Stats
	for _, s := range g.sinks {
		all = append(all, s.Stats())
	}
	return all
}

// Totals returns what all outputs together have done so far.
func (g *Group) Totals() (t output.QueueTotals) {
	for _, s := range g.Stats() {
		t.Bytes += s.Queue.Bytes
		t.Oldest = max(t.Oldest, uint64(max(s.Queue.Oldest, 0)))
		t.Records += s.Written.Records
		t.Written += s.Written.Bytes
		t.Errors += s.Written.Errors
		t.Reopenings += s.Written.Reopenings
		t.Dropped += s.Dropped[sink.InQueue].Records + s.Dropped[sink.AtOutput].Records
	}
	return t
}

// ErrTold says that not everything could be handed over, which the person who watches
// the run was told already: stderr may be read by who reads nothing any more.
var ErrTold = errors.New("not everything could be delivered")

// Run runs a stream to the outputs, and to others beside them, until the context ends
// or the stream does. Then what waits is handed over.
func (g *Group) Run(ctx context.Context, s *stream.Stream, form *Form, others ...stream.Handler) error {
	hurry := newHurry(ctx)
	defer hurry.cancel()
	g.notices.Start(nil)
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	context.AfterFunc(running, func() { // who waits for a full queue could not end
		for _, s := range g.sinks {
			s.Release()
		}
	})
	go func() {
		select {
		case err := <-g.failed:
			end(err)
		case <-running.Done():
		}
	}()
	handlers := append(g.handlers(form), stream.NewNotices(notices{g.notices}, form.JSON, form.Watched))
	err := s.Run(running, append(handlers, others...)...)
	left := g.drain(hurry)
	if err = errors.Join(err, left.failure); err == nil && left.undelivered {
		err = ErrTold
	}
	return err
}

// handlers returns a chain of handlers for each output.
func (g *Group) handlers(form *Form) []stream.Handler {
	var handlers []stream.Handler
	for i, s := range g.sinks {
		p := &g.plan.places[i]
		h := form.handler(s, p)
		if p.events != g.plan.events {
			h = stream.Only(p.events, h)
		}
		handlers = append(handlers, h)
	}
	return handlers
}

// leftover is how the handing over ended.
type leftover struct {
	failure     error
	undelivered bool
}

// drain hands over what waits, in all outputs at once.
func (g *Group) drain(h *hurry) (left leftover) {
	errs := make([]error, len(g.sinks))
	var wg sync.WaitGroup
	for i, s := range g.sinks {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(h.ctx)
			defer cancel()
			go giveUp(ctx, cancel, s)
			errs[i] = s.Drain(ctx)
		})
	}
	wg.Wait()
	for _, err := range errs {
		var undelivered *sink.UndeliveredError
		if errors.As(err, &undelivered) {
			left.undelivered = true
			g.notice(undelivered.Error())
			continue
		}
		left.failure = errors.Join(left.failure, err)
	}
	soon, cancel := context.WithTimeout(context.Background(), noticeTime)
	defer cancel()
	_ = g.notices.Drain(soon) // nobody can be told
	return left
}

// The times that the end of a run takes at most. Together they are less than five
// seconds from a signal on.
const (
	drainTime  = 4500 * time.Millisecond
	noticeTime = 200 * time.Millisecond
)

// hurry ends the handing over some time after a context has ended. A run that ends of
// itself has all the time that its reader takes.
type hurry struct {
	ctx    context.Context
	cancel func()
}

func newHurry(until context.Context) *hurry {
	ctx, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(until, func() {
		timer := time.NewTimer(drainTime)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-ctx.Done():
		}
	})
	return &hurry{ctx, func() { stop(); cancel() }}
}

// giveUp ends the handing over to a place that takes nothing because of an error.
func giveUp(ctx context.Context, cancel func(), s *sink.Sink) {
	const step = 100 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	for down := time.Duration(0); down < drainTime; down += step {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if s.Stats().Written.Up {
			down = 0
		}
	}
	cancel()
}
