package outputs

import (
	"io"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
)

// Form says what the lines of a run are. Records are those of JSON, else there is text.
type Form struct {
	JSON    bool
	Records output.NDJSONOptions  // what stands in records; places may choose their fields
	Text    stream.TextOptions    // how text looks
	Summary stream.SummaryOptions // without a Spec there are rows and changes instead
	Watched bool                  // stderr is a terminal
	Wall    output.Clock
}

// handler returns the handler that makes the lines of one output.
func (f *Form) handler(s *sink.Sink, p *place) stream.Handler {
	sums := f.Summary
	sums.Users = f.Records.Users
	switch {
	case sums.Spec != nil && f.JSON:
		return stream.NewSummaryRecords(f.records(s, p), sums, f.Records.Devices)
	case sums.Spec != nil:
		return stream.NewSummaryText(s, sums, f.Records.Devices)
	case f.JSON:
		return f.records(s, p)
	}
	return stream.NewText(s, f.Text, f.Wall)
}

func (f *Form) records(out io.Writer, p *place) *stream.NDJSON {
	opts := f.Records
	if p.fields != nil {
		opts.Fields = p.fields
		opts.Cmdline = opts.Cmdline || p.needsCmdline()
	}
	return stream.NewNDJSON(out, p.schema, opts, f.Wall)
}
