package sink

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// chunkSize is how much memory the queue takes at a time. A line may leave the end of
// a chunk unused, so that the queue takes up to a fiftieth more than its lines have.
const chunkSize = 256 << 10

// Full is how many bytes of lines Swap takes without copying them, if they are at least so
// many: all of a chunk but for the longest line.
const Full = chunkSize - 4096

// keptChunks are kept when they are empty. The others go back to the system.
const keptChunks = 4

// queue holds the lines that wait, oldest first. Its memory is the system's and not of
// the heap of Go, which would be as large again before it is collected, and would keep
// it after a stall.
type queue struct {
	mu     sync.Mutex
	chunks []*chunk
	taken  *chunk // by the writing goroutine; nil: none
	free   []*chunk

	bytes   atomic.Int64 // of lines that are not written yet
	records atomic.Int64 // how many lines that are
}

// chunk holds whole lines.
type chunk struct {
	memory []byte
	lines  []byte    // the part of memory that is used
	since  time.Time // when the first line came
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
	return len(q.chunks) < keptChunks/2
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
	c.lines, c.since = lines, time.Now()
	q.chunks = append(q.chunks, c)
	q.count(lines)
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
	c.since = time.Now()
	q.chunks = append(q.chunks, c)
	return c, nil
}

// empty returns a chunk without lines that has room for one of this length.
func (q *queue) empty(length int) (*chunk, error) {
	if n := len(q.free); n > 0 && length <= chunkSize {
		c := q.free[n-1]
		q.free = q.free[:n-1]
		return c, nil
	}
	memory, err := unix.Mmap(-1, 0, max(length, chunkSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	return &chunk{memory: memory, lines: memory[:0]}, nil
}

// take returns the lines of the oldest chunk, for one caller, until it calls again.
func (q *queue) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taken != nil {
		q.release(q.taken)
		q.taken = nil
	}
	if len(q.chunks) == 0 {
		return nil
	}
	q.taken = q.chunks[0]
	q.chunks = q.chunks[:copy(q.chunks, q.chunks[1:])]
	return q.taken.lines
}

func (q *queue) release(c *chunk) {
	if len(q.free) < keptChunks && len(c.memory) == chunkSize {
		c.lines = c.memory[:0]
		q.free = append(q.free, c)
		return
	}
	_ = unix.Munmap(c.memory) // it is ours: there is nothing that can fail
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
	for more := true; more; {
		more = q.take() != nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range q.free {
		_ = unix.Munmap(c.memory) // it is ours: there is nothing that can fail
	}
	q.free = nil
}
