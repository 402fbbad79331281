package output

import "io"

// RowRecords writes the rows of views as lines of JSON, described by
// docs/nettrace.schema.json. The methods named after a row append its record to
// a buffer; Flush writes the buffer, and Full reports when that is due. The
// record of a row has all there is, whatever the text would show of it. A
// RowRecords must not be used by several goroutines at once.
type RowRecords struct {
	*encoder
	socketRecords
	routeRecords
	interfaceRecords
	tableRecords
	legacyRecords
	summaryRecords
}

// The encoders of one subject each. They share the line that is being made.
type (
	socketRecords    struct{ *encoder }
	routeRecords     struct{ *encoder }
	interfaceRecords struct{ *encoder }
	tableRecords     struct{ *encoder }
	legacyRecords    struct{ *encoder }
)

// NewRowRecords returns a writer of the records of rows to out.
func NewRowRecords(out io.Writer, opts NDJSONOptions) *RowRecords {
	e := newEncoder(out, opts, nil)
	return rowRecords(&e)
}

func rowRecords(e *encoder) *RowRecords {
	return &RowRecords{
		e, socketRecords{e}, routeRecords{e}, interfaceRecords{e}, tableRecords{e}, legacyRecords{e}, summaryRecords{e},
	}
}
