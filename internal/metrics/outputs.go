package metrics

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/output/sink"
)

// losses tells what was lost on the way, by stage.
func (m *Metrics) losses(t *text, outputs []sink.Stats) {
	var queue, output uint64
	for i := range outputs {
		queue += outputs[i].Dropped[sink.InQueue].Records
		output += outputs[i].Dropped[sink.AtOutput].Records
	}
	const name = "nettrace_lost_events_total"
	t.family(name, counter, "Events of the kernel (ringbuf) and records of the outputs (queue, output) that were lost.")
	t.count(name, m.counts.lost.Load(), label{"stage", "ringbuf"})
	t.count(name, queue, label{"stage", sink.InQueue.String()})
	t.count(name, output, label{"stage", sink.AtOutput.String()})
	t.one("nettrace_resyncs_total", counter, "Comparisons with the kernel's table.", m.counts.resyncs.Load())
}

// writeOutputs tells what the outputs have done.
func writeOutputs(t *text, outputs []sink.Stats) {
	of := func(name, kind, help string, value func(*sink.Stats) float64) {
		t.family(name, kind, help)
		for i := range outputs {
			t.number(name, value(&outputs[i]), label{"output", outputName(i, outputs[i].Place)})
		}
	}
	of("nettrace_queue_bytes", gauge, "Bytes that wait to be written.",
		func(s *sink.Stats) float64 { return float64(s.Queue.Bytes) })
	of("nettrace_queue_limit_bytes", gauge, "Bytes that may wait.",
		func(s *sink.Stats) float64 { return float64(s.Queue.Limit) })
	of("nettrace_output_records_total", counter, "Records that the output has taken.",
		func(s *sink.Stats) float64 { return float64(s.Written.Records) })
	of("nettrace_output_bytes_total", counter, "Bytes that the output has taken.",
		func(s *sink.Stats) float64 { return float64(s.Written.Bytes) })
	of("nettrace_output_up", gauge, "1 if the output took what it was given last.",
		func(s *sink.Stats) float64 { return float64(number(s.Written.Up)) })
	of("nettrace_output_last_write_timestamp_seconds", gauge, "When the output took something last, in seconds since 1970; 0: never.",
		func(s *sink.Stats) float64 {
			if s.Written.Last.IsZero() {
				return 0
			}
			return float64(s.Written.Last.UnixMilli()) / 1000
		})
	writeErrors(t, outputs)
}

// writeErrors tells which errors the outputs have met: those that their kind knows, and
// all others together.
func writeErrors(t *text, outputs []sink.Stats) {
	const name = "nettrace_output_errors_total"
	t.family(name, counter, "Errors of opening, connecting and writing.")
	for i := range outputs {
		output := label{"output", outputName(i, outputs[i].Place)}
		others := outputs[i].Written.Errors
		for _, errno := range errnosOf(outputs[i].Place) {
			n := countOf(outputs[i].Written.ByErrno, errno)
			others -= min(n, others)
			t.count(name, n, output, label{"errno", unix.ErrnoName(errno)})
		}
		t.count(name, others, output, label{"errno", other})
	}
}

func countOf(counts []sink.ErrnoCount, errno syscall.Errno) uint64 {
	for _, c := range counts {
		if c.Errno == errno {
			return c.Count
		}
	}
	return 0
}

// The kinds of outputs.
const (
	kindFile     = "file"
	kindStdout   = "stdout"
	kindUnix     = "unix"
	kindUnixgram = "unixgram"
	kindTCP      = "tcp"
)

// kindOf returns the kind of an output by its place, as the command line names it.
func kindOf(place string) string {
	if place == "-" || place == kindStdout {
		return kindStdout
	}
	if prefix, _, ok := strings.Cut(place, ":"); ok {
		switch prefix {
		case kindUnix, kindUnixgram, kindTCP:
			return prefix
		}
	}
	return kindFile
}

// outputName is the label of an output: its number on the command line, and its kind.
func outputName(i int, place string) string { return strconv.Itoa(i+1) + "-" + kindOf(place) }

// errnosOf returns the errors of an output that have a label of their own.
func errnosOf(place string) []syscall.Errno {
	switch kindOf(place) {
	case kindFile:
		return []syscall.Errno{unix.ENOSPC, unix.EDQUOT, unix.EFBIG, unix.EIO, unix.EROFS}
	case kindStdout:
		return []syscall.Errno{unix.EPIPE, unix.ENOSPC, unix.EIO}
	}
	return []syscall.Errno{unix.ECONNREFUSED, unix.ENOENT, unix.EPIPE, unix.ECONNRESET, unix.ETIMEDOUT}
}
