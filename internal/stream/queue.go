package stream

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/tracer/table"
)

// queue is where the lines of an output go: a sink.Sink, which has a place for some of
// them alone, or another io.Writer, which takes all.
type queue struct {
	out  io.Writer
	sink *sink.Sink // nil: out is none
}

func newQueue(out io.Writer) queue {
	s, _ := out.(*sink.Sink)
	return queue{out, s}
}

// start begins to write, with what makes the lines that the sink adds.
func (q queue) start(reports sink.Reports) {
	if q.sink != nil {
		q.sink.Start(reports)
	}
}

// admit reports whether there is a place for a line.
func (q queue) admit(class sink.Class) bool { return q.sink == nil || q.sink.Admit(class) }

// admitChange reports whether there is a place for the line of a change.
func (q queue) admitChange(c *table.Change) bool { return q.sink == nil || q.sink.Admit(classOf(c)) }

func classOf(c *table.Change) sink.Class {
	switch c.Kind {
	case table.ChangeClose:
		return sink.Close
	case table.ChangeOwner:
		return sink.Row
	}
	return sink.Transition
}

// settle has all losses told before the last lines.
func (q queue) settle() error {
	if q.sink == nil {
		return nil
	}
	return q.sink.Settle()
}

// add adds what this output has lost to the totals.
func (q queue) add(t *output.Totals) {
	if q.sink == nil {
		return
	}
	dropped := q.sink.Stats().Dropped
	t.LostQueue, t.LostOutput = dropped[sink.InQueue].Records, dropped[sink.AtOutput].Records
}

// reportRecords makes the records that a sink adds, with an encoder of its own: those
// of the run are made by another goroutine.
type reportRecords struct {
	start   output.Start
	buf     bytes.Buffer
	records Records
}

func newReportRecords(schema Schema, opts output.NDJSONOptions, start *output.Start) *reportRecords {
	opts.Users, opts.Devices = nil, nil // they are for the goroutine of the run
	r := &reportRecords{start: *start}
	r.records = schema(&r.buf, opts, nil)
	return r
}

// Head makes a start record.
func (r *reportRecords) Head(why sink.Begin, fileSeq uint64) []byte {
	r.start.Reason, r.start.FileSeq = string(why), fileSeq
	return r.made(func(now time.Time) { r.records.Start(now, &r.start) })
}

// Lost makes a lost record.
func (r *reportRecords) Lost(l *sink.Loss) []byte {
	return r.made(func(now time.Time) {
		r.records.Dropped(now, &output.Dropped{
			Stage: l.Stage.String(), Records: l.Records, States: l.States, Closes: l.Closes, Total: l.Total,
			Since: l.Since, Until: l.Until,
		})
	})
}

func (r *reportRecords) made(encode func(now time.Time)) []byte {
	r.buf.Reset()
	encode(time.Now())
	_ = r.records.Flush() // a bytes.Buffer takes everything
	return r.buf.Bytes()
}

// reportLines makes the lines that a sink adds to text.
type reportLines struct{ what string }

// Head makes none: text has its title once.
func (reportLines) Head(sink.Begin, uint64) []byte { return nil }

// Lost makes a line that stands where changes are missing.
func (r reportLines) Lost(l *sink.Loss) []byte {
	const clock = "15:04:05.000"
	return fmt.Appendf(nil, "# %d %s are missing from %s to %s: the output took less than came\n",
		l.Records, r.what, l.Since.Format(clock), l.Until.Format(clock))
}
