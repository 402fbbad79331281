package output

import "io"

// NDJSON writes the records of a stream as lines of JSON, described by
// docs/nettrace.schema.json. The methods named after a record append it to a
// buffer; Flush writes the buffer. Nothing else writes, and nothing limits the
// buffer: the caller flushes when it has no more to add for now, or when
// Buffered says that it is time.
//
// A time is either a time.Time, or nanoseconds of CLOCK_MONOTONIC where it
// comes from the kernel, which a Clock converts. An NDJSON must not be used by
// several goroutines at once.
type NDJSON struct {
	encoder
	cache *cache // nil: nothing was encoded yet
}

// Clock converts times of the kernel's CLOCK_MONOTONIC, in ns, to ns after the Unix
// epoch.
type Clock interface {
	At(mono uint64) int64
}

// NewNDJSON returns a writer of a stream's records to out.
func NewNDJSON(out io.Writer, opts NDJSONOptions, wall Clock) *NDJSON {
	return &NDJSON{encoder: newEncoder(out, opts, wall)}
}
