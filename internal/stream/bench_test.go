package stream_test

import (
	"context"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
)

// cpuTime returns the time that all threads together had of a CPU, in ns: what a machine
// that does other things too does not change.
func cpuTime() int64 {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return use.Utime.Nano() + use.Stime.Nano()
}

// BenchmarkChange encodes a change and hands it to what writes: at once, or through
// the queue of an output.
func BenchmarkChange(b *testing.B) {
	start := &output.Start{Mode: "bpf"}
	for name, open := range map[string]func() io.Writer{
		"at once": func() io.Writer { return io.Discard },
		"queue": func() io.Writer {
			return sink.New(sink.NewStandard(io.Discard, 0, nil), sink.Options{Limit: 1 << 20, Block: true})
		},
	} {
		b.Run(name, func(b *testing.B) {
			out := open()
			h := stream.NewNDJSON(out, stream.Native, output.NDJSONOptions{}, wall)
			if err := h.Start(start); err != nil {
				b.Fatal(err)
			}
			c := story().changes[0]
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				if err := h.Change(c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
			if s, ok := out.(*sink.Sink); ok {
				if err := s.Drain(context.Background()); err != nil {
					b.Error(err)
				}
			}
		})
	}
}
