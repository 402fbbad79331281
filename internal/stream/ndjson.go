package stream

import (
	"errors"
	"io"
	"iter"
	"time"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// Records is a form of the records of a run. Its methods append a record each, and
// Flush writes them with one call of Write.
type Records interface {
	Start(at time.Time, s *output.Start)
	Conn(at time.Time, c *table.Conn)
	SocketRow(at time.Time, s *table.Socket)
	SnapshotEnd(at time.Time, rows int, took time.Duration)
	Change(c *table.Change)
	SocketChange(c *table.SocketChange)
	Lost(at time.Time, l *tracer.Lost)
	Dropped(at time.Time, d *output.Dropped)
	Resync(at time.Time, r table.Resync)
	Summary(at time.Time, s *output.Summary) int
	Stats(at time.Time, t *output.Totals)
	Stop(at time.Time, t *output.Totals, reason string)
	Buffered() int
	Flush() error
}

// Schema makes a writer of records in one form.
type Schema func(io.Writer, output.NDJSONOptions, output.Clock) Records

// Native is the schema of docs/nettrace.schema.json.
func Native(out io.Writer, opts output.NDJSONOptions, wall output.Clock) Records {
	return output.NewNDJSON(out, opts, wall)
}

// ECS is the schema of docs/nettrace.ecs.schema.json, with the names of the Elastic
// Common Schema.
func ECS(out io.Writer, opts output.NDJSONOptions, wall output.Clock) Records {
	return output.NewECS(out, opts, wall)
}

// NDJSON is an output for programs: a record for each row and change, and for
// what the run went through.
type NDJSON struct {
	Nop
	queue   queue
	schema  Schema
	opts    output.NDJSONOptions
	wall    output.Clock
	records Records // from Start on
	written uint64  // rows and changes

	snapshot time.Time // when the initial rows were told; zero: none was yet
	rows     int       // that were told
}

// NewNDJSON returns a writer of records to out. Each Write has whole lines. The
// start of the run decides whether its records are marked as polled. Where out is a
// *sink.Sink, it makes the first record of each file, numbers the records, and has a
// place for some of them alone when it is full.
func NewNDJSON(out io.Writer, schema Schema, opts output.NDJSONOptions, wall output.Clock) *NDJSON {
	return &NDJSON{queue: newQueue(out), schema: schema, opts: opts, wall: wall}
}

// Start writes the start record.
func (j *NDJSON) Start(s *output.Start) error {
	j.opts.Poll = s.Mode == modePoll
	j.opts.DeferSeq = j.queue.sink != nil
	j.records = j.schema(j.queue.out, j.opts, j.wall)
	if j.queue.sink != nil {
		j.queue.start(newReportRecords(j.schema, j.opts, s))
		return nil
	}
	j.records.Start(time.Now(), s)
	return j.records.Flush()
}

// Snapshot writes a record for each row of the initial table, and one for its
// end.
func (j *NDJSON) Snapshot(rows iter.Seq[*table.Conn], took time.Duration) error {
	now := j.now()
	for row := range rows {
		if !j.queue.admit(sink.Row) {
			continue
		}
		j.rows++
		j.written++
		j.records.Conn(now, row)
		if err := j.flushIfFull(); err != nil {
			return err
		}
	}
	j.records.SnapshotEnd(now, j.rows, took)
	return j.records.Flush()
}

// now is the time of all initial rows.
func (j *NDJSON) now() time.Time {
	if j.snapshot.IsZero() {
		j.snapshot = time.Now()
	}
	return j.snapshot
}

// Change writes the record of a transition or a close.
func (j *NDJSON) Change(c *table.Change) error {
	if !j.queue.admitChange(c) {
		return nil
	}
	j.written++
	j.records.Change(c)
	return j.flushIfFull()
}

// Lost writes the record of a loss.
func (j *NDJSON) Lost(l tracer.Lost) error {
	if j.queue.admit(sink.Service) {
		j.records.Lost(time.Now(), &l)
	}
	return nil
}

// Resync writes what a comparison with the kernel's table found.
func (j *NDJSON) Resync(r table.Resync) error {
	if j.queue.admit(sink.Service) {
		j.records.Resync(time.Now(), r)
	}
	return nil
}

// Stats writes what went through so far.
func (j *NDJSON) Stats(t *output.Totals) error {
	if !j.queue.admit(sink.Service) {
		return nil
	}
	own := j.totals(t)
	j.records.Stats(time.Now(), &own)
	return nil
}

// Idle writes what is buffered.
func (j *NDJSON) Idle() error { return j.records.Flush() }

// Stop writes the stop record and what is buffered.
func (j *NDJSON) Stop(t *output.Totals, reason string) error {
	err := errors.Join(j.records.Flush(), j.queue.settle())
	own := j.totals(t)
	j.records.Stop(time.Now(), &own, reason)
	return errors.Join(err, j.records.Flush())
}

// totals adds what this output has written.
func (j *NDJSON) totals(t *output.Totals) output.Totals {
	own := *t
	own.EventsOut = j.written
	j.queue.add(&own)
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
	if !j.queue.admit(sink.Row) {
		return nil
	}
	j.written += uint64(j.records.Summary(time.Now(), s))
	return j.flushIfFull()
}
