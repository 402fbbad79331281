// Package output turns rows into bytes: netstat's text of each view, the
// stream's text, and NDJSON. It reads nothing, decides nothing about what is
// shown, and looks up no names: it knows the rows of snapshot and the changes of
// tracer, and small interfaces for what they need.
//
// Text writers append rows to a buffer of the caller. NDJSON and RowRecords keep
// a buffer of their own, which Flush writes.
package output
