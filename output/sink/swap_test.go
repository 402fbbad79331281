package sink

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestSwap hands lines over by their buffers, among lines that are copied: each arrives
// once and in order, whatever the buffers have.
func TestSwap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fake{room: 1 << 20, script: goes}
		s := New(f, Options{Place: "fake"})
		s.Start(reports{})
		var want []string
		var buf []byte
		for range rapid.IntRange(0, 12).Draw(t, "buffers") {
			size := rapid.SampledFrom([]int{0, 10, worthSwapping, Full, chunkSize + 1}).Draw(t, "size")
			for len(buf) < size {
				line := fmt.Sprintf("line %d %s", len(want), strings.Repeat("x", 2000))
				want = append(want, line)
				buf = fmt.Appendf(buf, "\x00 %s\n", line)
			}
			if rapid.IntRange(0, 3).Draw(t, "copied") == 0 {
				if n, err := s.Write(buf); n != len(buf) || err != nil {
					t.Fatalf("%d of %d bytes written, %v", n, len(buf), err)
				}
				buf = buf[:0]
				continue
			}
			var err error
			if buf, err = s.Swap(buf); err != nil || len(buf) > 0 {
				t.Fatalf("%d bytes came back, %v", len(buf), err)
			}
		}
		drain(t, s)
		if got := f.read(t); strings.Join(got.lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("%d lines arrived, want %d", len(got.lines), len(want))
		}
		if stats := s.Stats(); stats.Queue.Bytes != 0 || stats.Queue.Records != 0 || stats.Dropped[InQueue].Records != 0 {
			t.Errorf("it ends with %+v", stats)
		}
	})
}

// TestSwapKeepsMemory looks where lines are: a full buffer of the Sink's is not copied, a
// small one comes back, and after an error it is as it was.
func TestSwapKeepsMemory(t *testing.T) {
	gate := make(chan struct{})
	s := New(&fake{room: 1 << 20, script: goes, gate: gate}, Options{Place: "fake"})
	s.Start(reports{})
	line := "\x00 " + strings.Repeat("x", 997) + "\n"
	first, err := s.Swap([]byte(strings.Repeat(line, chunkSize/len(line)+1)))
	if err != nil || cap(first) != chunkSize {
		t.Fatalf("the first buffer has %d bytes, %v", cap(first), err)
	}
	if same, err := s.Swap(append(first, line...)); err != nil || len(same) != 0 || &same[:1][0] != &first[:1][0] {
		t.Errorf("a small buffer does not come back: %v", err)
	}
	torn := first[:copy(first[:chunkSize], "no end")]
	if same, err := s.Swap(torn); err == nil || string(same) != "no end" {
		t.Errorf("a line without an end: %q, %v", same, err)
	}
	full := first[:copy(first[:chunkSize], strings.Repeat(line, chunkSize/len(line)))]
	next, err := s.Swap(full)
	if err != nil || cap(next) != chunkSize || &next[:1][0] == &full[0] {
		t.Errorf("a full buffer comes back: %v", err)
	}
	s.queue.mu.Lock()
	last := s.queue.chunks[len(s.queue.chunks)-1]
	s.queue.mu.Unlock()
	if len(last.lines) != len(full) || &last.lines[0] != &full[0] {
		t.Errorf("the last chunk has %d bytes of its own, want the %d that were handed over", len(last.lines), len(full))
	}
	close(gate)
	drain(t, s)
}
