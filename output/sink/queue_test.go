package sink

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// memory returns how much memory what waits takes.
func (q *queue) memory() (bytes int) {
	for _, c := range q.chunks {
		bytes += len(c.memory)
	}
	return bytes
}

// rest takes all lines.
func (q *queue) rest(t rapid.TB) (lines []byte) {
	t.Helper()
	for {
		taken, err := q.take()
		if err != nil {
			t.Fatal(err)
		}
		if taken == nil {
			return lines
		}
		lines = append(lines, taken...)
	}
}

// record is a line as they are.
func record(n int) string {
	return fmt.Sprintf(`{"type":"tcp_state","time":"2026-11-28T12:00:00.%09dZ","old":"ESTABLISHED","new":"FIN_WAIT1","local_port":%d,"pid":%d}`+"\n",
		n*7919%1_000_000_000, 1024+n%60000, 100+n%31)
}

// TestQueueCompresses puts lines in the queue in pieces of any length, which get smaller by
// being compressed or do not, and takes some at times: they come as they went.
func TestQueueCompresses(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	rapid.Check(t, func(t *rapid.T) {
		q := &queue{}
		defer q.discard()
		var want, got []byte
		for n := range rapid.IntRange(0, 60).Draw(t, "pieces") {
			var piece []byte
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0: // random bytes
				for len(piece) < chunkSize {
					piece = append(piece, byte(noise.Uint32()|1)) // no line ends
				}
				piece[len(piece)-1] = '\n'
			case 1: // a line that is too long for a chunk
				piece = []byte(strings.Repeat("x", chunkSize+n) + "\n")
			case 2:
				taken, err := q.take()
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, taken...)
			default:
				size := rapid.IntRange(1, 2*chunkSize).Draw(t, "size")
				for len(piece) < size {
					piece = append(piece, record(len(piece)+n)...)
				}
			}
			want = append(want, piece...)
			if err := q.put(piece); err != nil {
				t.Fatal(err)
			}
		}
		got = append(got, q.rest(t)...)
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes came out, not those %d that went in", len(got), len(want))
		}
	})
}

// TestQueueTakesLittle holds 32 MiB of records.
func TestQueueTakesLittle(t *testing.T) {
	q := &queue{}
	defer q.discard()
	var want []byte
	for n := 0; len(want) < 32<<20; n++ {
		want = append(want, record(n)...)
	}
	if err := q.put(want); err != nil {
		t.Fatal(err)
	}
	if got, most := q.memory(), looseChunks*chunkSize+len(want)/3; got > most {
		t.Errorf("%d bytes of lines take %d bytes, want at most %d", len(want), got, most)
	}
	if got := q.bytes.Load(); got != int64(len(want)) {
		t.Errorf("%d bytes wait, want %d", got, len(want))
	}
	if got := q.rest(t); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came out, not those %d that went in", len(got), len(want))
	}
}

// TestQueueDamaged wants an error for compressed lines that are damaged, and nothing taken.
func TestQueueDamaged(t *testing.T) {
	q := &queue{}
	defer q.discard()
	for n := range (looseChunks + 2) * chunkSize / len(record(0)) {
		if err := q.put([]byte(record(n))); err != nil {
			t.Fatal(err)
		}
	}
	for range looseChunks {
		if _, err := q.take(); err != nil {
			t.Fatal(err)
		}
	}
	q.chunks[0].small = q.chunks[0].small[:100]
	var free int
	for try := range 2 {
		if lines, err := q.take(); err == nil || len(q.chunks) == 0 {
			t.Errorf("%d bytes were taken of %d that are damaged", len(lines), len(q.chunks[0].small))
		}
		if try > 0 && len(q.free) != free {
			t.Errorf("%d chunks are free after another try, not %d", len(q.free), free)
		}
		free = len(q.free)
	}
}
