package sink

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pierrec/lz4/v4"
)

// chunkSize is how much memory the queue takes at a time. A line may leave the end of
// a chunk unused.
const chunkSize = 256 << 10

// Full is how many bytes of lines Swap takes without copying them, if they are at least so
// many: all of a chunk but for the longest line.
const Full = chunkSize - 4096

// fewChunks are waiting at least where lines that come are packed.
const fewChunks = 2

// looseChunks are waiting before what comes then is compressed: a hiccup costs no
// compression, and of a stall little memory is lines as they are. As many are kept when they
// are empty, as the writer lags by them again and again under load, and the first use of each
// new page costs more than what is written to it. The others go back to the system.
const looseChunks = 16

// restChunks are kept where nothing waits.
const restChunks = 4

// queue holds the lines that wait, oldest first. Its memory is the system's and not of
// the heap of Go, which would be as large again before it is collected, and would keep
// it after a stall.
type queue struct {
	mu     sync.Mutex
	chunks []*chunk
	taken  *chunk // by the writing goroutine; nil: none
	free   []*chunk
	lz4    *lz4.Compressor // nil: nothing was compressed yet

	bytes   atomic.Int64 // of lines that are not written yet
	records atomic.Int64 // how many lines that are
}

// put appends whole lines.
func (q *queue) put(lines []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for rest := lines; len(rest) > 0; {
		c, err := q.last(rest)
		if err != nil {
			return fmt.Errorf("memory for the queue: %w", err)
		}
		n := wholeLines(rest, cap(c.lines)-len(c.lines))
		c.lines = append(c.lines, rest[:n]...)
		rest = rest[n:]
	}
	q.count(lines)
	return nil
}

// count counts lines that wait from now on.
func (q *queue) count(lines []byte) {
	q.bytes.Add(int64(len(lines)))
	q.records.Add(int64(bytes.Count(lines, newline)))
}

// short reports whether hardly anything waits. Then a chunk may be queued with a part of its
// memory unused.
func (q *queue) short() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.chunks) < fewChunks
}

// spare returns a chunk without lines, which is not in the queue.
func (q *queue) spare() (*chunk, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.empty(chunkSize)
}

// add appends a chunk of spare whose memory has lines by now.
func (q *queue) add(c *chunk, lines []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.lines = lines
	q.push(c)
	q.count(lines)
}

// push appends a chunk. The one before it gets no more lines.
func (q *queue) push(c *chunk) {
	if last := len(q.chunks) - 1; last >= looseChunks {
		q.compress(q.chunks[last])
	}
	c.since = time.Now()
	q.chunks = append(q.chunks, c)
}

// compress makes a chunk smaller, if that works, and keeps its memory for the next lines.
func (q *queue) compress(c *chunk) {
	if len(c.memory) != chunkSize {
		return
	}
	if q.lz4 == nil {
		q.lz4 = new(lz4.Compressor)
	}
	if small, err := c.compressed(q.lz4); err == nil {
		loose := *c
		*c = small
		q.release(&loose)
	}
}

var newline = []byte{'\n'}

// wholeLines returns the length of the lines that have room.
func wholeLines(lines []byte, room int) int {
	if len(lines) <= room {
		return len(lines)
	}
	return bytes.LastIndexByte(lines[:room], '\n') + 1
}

// last returns the chunk that the first of the lines goes to.
func (q *queue) last(lines []byte) (*chunk, error) {
	if n := len(q.chunks); n > 0 {
		c := q.chunks[n-1]
		if wholeLines(lines, cap(c.lines)-len(c.lines)) > 0 {
			return c, nil
		}
	}
	c, err := q.empty(bytes.IndexByte(lines, '\n') + 1)
	if err != nil {
		return nil, err
	}
	q.push(c)
	return c, nil
}

// empty returns a chunk without lines that has room for one of this length.
func (q *queue) empty(length int) (*chunk, error) {
	if n := len(q.free); n > 0 && length <= chunkSize {
		c := q.free[n-1]
		q.free = q.free[:n-1]
		return c, nil
	}
	return newChunk(max(length, chunkSize))
}

// take returns the lines of the oldest chunk, for one caller, until it calls again. With an
// error nothing is taken.
func (q *queue) take() ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taken != nil {
		q.release(q.taken)
		q.taken = nil
	}
	if len(q.chunks) == 0 {
		return nil, nil
	}
	c := q.chunks[0]
	if c.isCompressed() {
		loose, err := q.empty(chunkSize)
		if err != nil {
			return nil, fmt.Errorf("memory for the queue: %w", err)
		}
		if err := c.expand(loose); err != nil {
			q.release(loose)
			return nil, err
		}
		c.discard()
		c = loose
	}
	q.taken = c
	q.chunks = q.chunks[:copy(q.chunks, q.chunks[1:])]
	return c.lines, nil
}

func (q *queue) release(c *chunk) {
	if len(q.free) < looseChunks && len(c.memory) == chunkSize {
		c.lines = c.memory[:0]
		q.free = append(q.free, c)
		return
	}
	c.discard()
}

// canShrink reports whether shrink would give memory back.
func (q *queue) canShrink() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.free) > restChunks
}

// shrink gives back what was needed while more lines waited.
func (q *queue) shrink() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.free) > restChunks {
		last := len(q.free) - 1
		q.free[last].discard()
		q.free = q.free[:last]
	}
}

// wrote counts lines that are written.
func (q *queue) wrote(records, bytes int) {
	q.records.Add(-int64(records))
	q.bytes.Add(-int64(bytes))
}

// oldest returns since when the oldest line waits; zero: none does.
func (q *queue) oldest() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.bytes.Load() == 0:
		return time.Time{}
	case q.taken != nil:
		return q.taken.since
	case len(q.chunks) > 0:
		return q.chunks[0].since
	}
	return time.Time{}
}

// discard gives all memory back. No line of it is used any more.
func (q *queue) discard() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taken != nil {
		q.chunks = append(q.chunks, q.taken)
	}
	for _, c := range slices.Concat(q.chunks, q.free) {
		c.discard()
	}
	q.taken, q.chunks, q.free = nil, nil, nil
}
