package stream

import (
	"io"
	"iter"
	"time"

	"github.com/nettrace/nettrace/internal/summary"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/tracer/table"
)

// SummaryOptions say what a run sums up, and when it tells that.
type SummaryOptions struct {
	Spec  *summary.Spec
	Every time.Duration // a table for each such time; 0: one at the end
	Count int           // end after so many tables; 0: no end
	Users output.Users  // nil: numbers
	ASCII bool          // the reader's locale is not UTF-8
}

// Summaries is an output that sums up rows and changes, and tells tables of that. What
// the run says of itself goes to another output.
type Summaries struct {
	Handler // of what the run says of itself; it is given no rows and changes
	opts    SummaryOptions
	emit    func(*output.Summary) error
	sum     *summary.Summary
	start   time.Time // of the window
	told    int
}

// NewSummaryRecords returns an output of tables as "agg" records among those of the run.
func NewSummaryRecords(records *NDJSON, opts SummaryOptions, devices output.Devices) *Summaries {
	return &Summaries{Handler: records, opts: opts, emit: records.Summary, sum: summary.New(opts.Spec, opts.Users, devices)}
}

// NewSummaryText returns an output of tables as text.
func NewSummaryText(out io.Writer, opts SummaryOptions, devices output.Devices) *Summaries {
	text := output.SummaryText{ASCII: opts.ASCII}
	var buf []byte
	q := newQueue(out)
	return &Summaries{
		Handler: starter{queue: q}, opts: opts, sum: summary.New(opts.Spec, opts.Users, devices),
		emit: func(s *output.Summary) error {
			if !q.admit(sink.Row) {
				return nil
			}
			buf = text.Append(buf[:0], s)
			_, err := out.Write(buf)
			return err
		},
	}
}

// starter begins to write what is told of summaries as text.
type starter struct {
	Nop
	queue queue
}

// Start begins to write.
func (s starter) Start(*output.Start) error {
	s.queue.start(reportLines{"tables"})
	return nil
}

// Stop tells what is missing.
func (s starter) Stop(*output.Totals, string) error { return s.queue.settle() }

// Snapshot sums up the initial table. The first window begins here.
func (s *Summaries) Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error {
	for row := range rows {
		s.sum.AddConn(row)
	}
	s.start = time.Now()
	return s.Handler.Snapshot(func(func(*table.Conn) bool) {}, took)
}

// Change sums up a change.
func (s *Summaries) Change(c *table.Change) error {
	s.sum.AddChange(c)
	return nil
}

// Due returns when the window is over.
func (s *Summaries) Due() time.Time {
	if s.opts.Every <= 0 || s.start.IsZero() {
		return time.Time{}
	}
	return s.start.Add(s.opts.Every)
}

// Idle tells the windows that are over, also those in which nothing was.
func (s *Summaries) Idle() error {
	for s.opts.Every > 0 && time.Since(s.start) >= s.opts.Every {
		if err := s.tell(s.opts.Every); err != nil {
			return err
		}
		if s.opts.Count > 0 && s.told >= s.opts.Count {
			return errDone
		}
	}
	return s.Handler.Idle()
}

// tell tells a window and begins the next one.
func (s *Summaries) tell(window time.Duration) error {
	t := s.sum.Table(s.start, window)
	s.start = s.start.Add(window)
	s.sum.Next()
	s.told++
	return s.emit(&t)
}

// Stop tells what is left, unless the run ended with a window, or before the first one.
func (s *Summaries) Stop(t *output.Totals, reason string) error {
	var err error
	if done := s.opts.Count > 0 && s.told >= s.opts.Count; !done && !s.start.IsZero() {
		err = s.tell(max(time.Since(s.start), 1))
	}
	if stopErr := s.Handler.Stop(t, reason); err == nil {
		err = stopErr
	}
	return err
}
