// Package stream is one run of -c: it reports the changes of TCP, UDP, raw and Unix
// sockets from the tracer, or by polling, to any number of outputs.
//
// A run is a chain of handlers. The source calls the first one, and each stage
// calls the next:
//
//	source → totals → enrich → filter → sample → eventFilter → limit → outputs
//
// Text, NDJSON and Notices are outputs. A new one is a type that embeds Nop and
// has the methods of Handler that it needs; who starts the run hands it to Run
// beside the others. The package knows no flags, signals or exit statuses.
package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/tuning"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/tracer"
)

// Options say what a run traces and when it ends. The zero value traces the
// caller's own network namespace until the context ends.
type Options struct {
	Trace      tracer.Options
	RequireBPF bool                      // fail where BPF cannot be used; else poll instead
	ProcRoot   string                    // of the proc file system; empty: /proc
	Listening  output.Listening          // which sockets are reported
	Events     Events                    // which events of them
	NoSnapshot bool                      // without the table at the start; it is kept nevertheless
	Sample     uint32                    // of so many connections one is told; 0: all are
	Bind       Binder                    // makes the filter for the source that is found; nil: none
	Count      int                       // transitions to report, or closes where Events has them alone; 0: no end
	Duration   time.Duration             // time to run; 0: no end
	LeftOut    []string                  // what is asked for besides and cannot be streamed
	Version    string                    // of the program, for the start record
	Queues     func() output.QueueTotals // returns what waits for the outputs; nil: nobody counts it
	Observer   Observer                  // sees more than the outputs; nil: nobody
	Files      []string                  // that are written, and opened again while the run goes on
}

// Stream is one run. Open makes it, Run runs it once, Close ends it.
type Stream struct {
	opts    Options
	source  Source
	start   output.Start
	notices []Notice  // what the source cannot do; reported first
	matcher Matcher   // nil: all is reported
	places  Workloads // nil: what owners run in is not known

	bound func() error // called once, after the first events: cuts the bounding set; nil: nothing to do

	looks chan look     // of other goroutines; Run answers
	over  chan struct{} // closed when Run has returned
}

// Binder makes the filter of a run for a source: field.Stream or field.Poll. It returns
// its canonical form, too. The error ends the run before it starts.
type Binder func(field.Where) (matcher Matcher, canonical string, err error)

// New returns a stream from a source that is open.
func New(source Source, opts Options) *Stream {
	s := &Stream{opts: opts, source: source, start: startRecord(&opts), looks: make(chan look), over: make(chan struct{})}
	if len(opts.LeftOut) > 0 {
		s.limitation("-c does not stream these yet, they are left out: %s", strings.Join(opts.LeftOut, ", "))
	}
	return s
}

// Open opens the tracer, or a poller where BPF cannot be used. Events queue up
// from here on.
func Open(opts Options) (*Stream, error) {
	tuning.Opening()
	opts.Trace.Closes = opts.keeps()
	t, err := tracer.Open(opts.Trace)
	if err != nil {
		return openPoller(opts, err)
	}
	tuning.InitialTable()
	s := New(t, opts)
	if err := s.bind(field.Stream); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	s.start.Mode, s.start.Closes = modeBPF, opts.closesOf(t.KeepsCloses())
	for _, h := range t.Hooks() {
		if h.Chosen {
			s.start.Hooks = append(s.start.Hooks, string(h.Capability)+"="+h.Name)
		}
	}
	if err := s.giveUp(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	s.start.Inexact = tracer.Inexact(t.Hooks())
	s.sayLonely()
	for _, what := range s.start.Inexact {
		s.notices = append(s.notices, Notice{Inexact, what + " (see nettrace --doctor)"})
	}
	return s, nil
}

// bind makes the filter, if there is one.
func (s *Stream) bind(in field.Where) (err error) {
	if s.opts.Bind != nil {
		s.matcher, s.start.Filter, err = s.opts.Bind(in)
	}
	return err
}

// limitation keeps a notice of what this run cannot do.
func (s *Stream) limitation(format string, args ...any) {
	s.notices = append(s.notices, Notice{Limitation, fmt.Sprintf(format, args...)})
}

// Close detaches the source.
func (s *Stream) Close() error {
	if c, ok := s.source.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Resync asks for a comparison with the kernel's table. It may be called by any
// goroutine while Run runs.
func (s *Stream) Resync() { s.source.Resync() }

// EachNamespace calls a function in each network namespace that is traced, as
// Source.EachNamespace does.
func (s *Stream) EachNamespace(read func(proc string, inode uint32) error) error {
	return s.source.EachNamespace(read)
}

// errDone ends a run that has reported all the transitions it was to report.
var errDone = errors.New("all changes asked for are reported")

// Run reports to the outputs until the context, the time or the number of
// changes ends it, or an output fails.
func (s *Stream) Run(ctx context.Context, outputs ...Handler) error {
	defer close(s.over)
	if s.opts.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.opts.Duration)
		defer cancel()
	}
	all := fanOut(s.withObserver(outputs))
	for _, n := range s.notices {
		if err := all.Notice(n); err != nil {
			return err
		}
	}
	if err := all.Start(&s.start); err != nil {
		return err
	}
	last := &limit{Handler: fanOut(outputs), max: s.opts.Count, closes: s.opts.Events.Closes()}
	events := &eventFilter{Handler: last, events: s.opts.Events, noTable: s.opts.NoSnapshot}
	sampled := &sample{Handler: events, n: uint64(s.opts.Sample)}
	wanted := &filter{Handler: s.observed(sampled), listening: s.opts.Listening, matcher: s.matcher}
	wanted.looks, wanted.source, wanted.ring = s.looks, s.source, s.opts.Trace.RingBytes
	first := &totals{
		Handler: s.enriched(wanted), source: s.source, outputs: all, nextStats: time.Now().Add(statsInterval),
		dropped: []*uint64{&wanted.dropped, &events.dropped}, sampledOut: &sampled.dropped,
		queues: s.opts.Queues, begun: s.bound,
	}
	reason, err := reasonOf(ctx, s.source.Run(ctx, first))
	sum := first.sum()
	err = errors.Join(err, all.Stop(&sum, reason))
	return errors.Join(err, all.Notice(s.summary(last.reported, &sum)))
}

// Enrich tells a run, before it runs, who knows what the owners of sockets run in.
func (s *Stream) Enrich(w Workloads) { s.places = w }

// enriched puts the stage that knows what owners run in before a handler.
func (s *Stream) enriched(next Handler) Handler {
	if s.places == nil {
		return next
	}
	return &enrich{Handler: next, workloads: s.places}
}

// summary returns the notice that ends a run: what was reported, and of connections
// only where they are asked for.
func (s *Stream) summary(changes int, sum *output.Totals) Notice {
	text := fmt.Sprintf("%d changes reported", changes)
	if s.opts.Events.Closes() {
		text = fmt.Sprintf("%d closes reported", changes)
	}
	if sum.Filtered > 0 {
		text += fmt.Sprintf(" (%d others were not asked for)", sum.Filtered)
	}
	if s.opts.Sample > 1 {
		text += fmt.Sprintf(" of one connection in %d (%d of others)", s.opts.Sample, sum.SampledOut)
	}
	if s.opts.Listening.Shows(false) && tracesTCP(s.opts.Trace.Protocols) {
		text += fmt.Sprintf(", %d connections opened, %d closed, %d failed, %d open",
			sum.Opened, sum.Closed, sum.Failed, sum.Open)
	}
	if sum.Queue.Dropped > 0 {
		text += fmt.Sprintf(", %d records left out", sum.Queue.Dropped)
	}
	return Notice{Summary, fmt.Sprintf("%s, %d events lost", text, sum.LostRingbuf)}
}

// reasonOf returns why a source ended, in the words of the stop record, and the
// error that is left to report.
func reasonOf(ctx context.Context, err error) (string, error) {
	var fatal *sink.FatalError // of an output, which says so itself
	switch {
	case errors.Is(err, errDone):
		return "count", nil
	case err != nil:
		return "error", err
	case errors.As(context.Cause(ctx), &fatal):
		if errors.Is(fatal, syscall.EPIPE) {
			return "epipe", nil
		}
		return "error", nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "duration", nil
	}
	return "signal", nil
}
