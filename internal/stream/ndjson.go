package stream

import (
	"io"
	"iter"
	"time"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// NDJSON is an output for programs: a record for each row and change, and for
// what the run went through.
type NDJSON struct {
	Nop
	out     io.Writer
	opts    output.NDJSONOptions
	wall    output.Clock
	records records // from Start on
	written uint64  // rows and changes
}

// records appends the records of a run to a buffer, each by the method with its name,
// in one schema.
type records interface {
	Start(at time.Time, s *output.Start)
	Conn(at time.Time, c *table.Conn)
	SnapshotEnd(at time.Time, rows int, took time.Duration)
	Change(c *table.Change)
	Lost(at time.Time, l *tracer.Lost)
	Resync(at time.Time, r table.Resync)
	Stats(at time.Time, t *output.Totals)
	Stop(at time.Time, t *output.Totals, reason string)
	Summary(at time.Time, s *output.Summary) int
	Buffered() int
	Flush() error
}

// newRecords returns a writer of records in the schema of the options.
func newRecords(out io.Writer, opts output.NDJSONOptions, wall output.Clock) records {
	if opts.Schema == output.ElasticCommon {
		return output.NewECS(out, opts, wall)
	}
	return output.NewNDJSON(out, opts, wall)
}

// NewNDJSON returns a writer of records to out. Each Write has whole lines. The
// start of the run decides whether its records are marked as polled.
func NewNDJSON(out io.Writer, opts output.NDJSONOptions, wall output.Clock) *NDJSON {
	return &NDJSON{out: out, opts: opts, wall: wall}
}

// Start writes the start record.
func (j *NDJSON) Start(s *output.Start) error {
	j.opts.Poll = s.Mode == modePoll
	j.records = newRecords(j.out, j.opts, j.wall)
	j.records.Start(time.Now(), s)
	return j.records.Flush()
}

// Snapshot writes a record for each row of the initial table, and one for its
// end.
func (j *NDJSON) Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error {
	now := time.Now()
	n := 0
	for row := range rows {
		n++
		j.written++
		j.records.Conn(now, row)
		if err := j.flushIfFull(); err != nil {
			return err
		}
	}
	j.records.SnapshotEnd(now, n, took)
	return j.records.Flush()
}

// Change writes the record of a transition or a close.
func (j *NDJSON) Change(c *table.Change) error {
	j.written++
	j.records.Change(c)
	return j.flushIfFull()
}

// Lost writes the record of a loss.
func (j *NDJSON) Lost(l tracer.Lost) error {
	j.records.Lost(time.Now(), &l)
	return nil
}

// Resync writes what a comparison with the kernel's table found.
func (j *NDJSON) Resync(r table.Resync) error {
	j.records.Resync(time.Now(), r)
	return nil
}

// Stats writes what went through so far.
func (j *NDJSON) Stats(t *output.Totals) error {
	own := j.totals(t)
	j.records.Stats(time.Now(), &own)
	return nil
}

// Idle writes what is buffered.
func (j *NDJSON) Idle() error { return j.records.Flush() }

// Stop writes the stop record and what is buffered.
func (j *NDJSON) Stop(t *output.Totals, reason string) error {
	own := j.totals(t)
	j.records.Stop(time.Now(), &own, reason)
	return j.records.Flush()
}

// totals adds what this output has written.
func (j *NDJSON) totals(t *output.Totals) output.Totals {
	own := *t
	own.EventsOut = j.written
	return own
}

func (j *NDJSON) flushIfFull() error {
	if j.records.Buffered() < flushAt {
		return nil
	}
	return j.records.Flush()
}

// Summary writes the records of a table of a summary.
func (j *NDJSON) Summary(s *output.Summary) error {
	j.written += uint64(j.records.Summary(time.Now(), s))
	return j.flushIfFull()
}
