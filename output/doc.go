// Package output says how it is told: netstat's text for each view, the
// stream's text, and NDJSON. It holds writers only; it knows the types of
// snapshot and tracer, and nothing of flags.
package output
