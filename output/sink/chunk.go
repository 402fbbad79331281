package sink

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pierrec/lz4/v4"
	"golang.org/x/sys/unix"
)

// chunk holds whole lines, as they are or compressed (LZ4).
type chunk struct {
	memory []byte
	lines  []byte    // the part of memory that is used; nil in a compressed chunk
	small  []byte    // the same of a compressed chunk; nil in others
	length int       // of the lines in a compressed chunk
	since  time.Time // when the first line came
}

func newChunk(length int) (*chunk, error) {
	memory, err := unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	return &chunk{memory: memory, lines: memory[:0]}, nil
}

// discard gives the memory back.
func (c *chunk) discard() {
	_ = unix.Munmap(c.memory) // it is ours: there is nothing that can fail
}

func (c *chunk) isCompressed() bool { return c.small != nil }

// errNotSmaller says that lines do not get smaller by being compressed.
var errNotSmaller = errors.New("compressed lines are no smaller")

// compressed returns a chunk with the same lines in less memory. c keeps its own.
func (c *chunk) compressed(with *lz4.Compressor) (chunk, error) {
	draft, err := newChunk(len(c.memory)) // pages that are not written to take no memory
	if err != nil {
		return chunk{}, err
	}
	length, err := with.CompressBlock(c.lines, draft.memory)
	page := os.Getpagesize()
	needed := (length + page - 1) / page * page
	if err == nil && (length == 0 || needed >= len(c.memory)) {
		err = errNotSmaller
	}
	if err != nil {
		draft.discard()
		return chunk{}, err
	}
	memory, err := unix.Mremap(draft.memory, needed, 0)
	if err != nil {
		draft.discard()
		return chunk{}, err
	}
	return chunk{memory: memory, small: memory[:length], length: len(c.lines), since: c.since}, nil
}

// expand puts the lines of a compressed chunk in an empty one.
func (c *chunk) expand(into *chunk) error {
	n, err := lz4.UncompressBlock(c.small, into.memory)
	if err == nil && n != c.length {
		err = fmt.Errorf("%d bytes of %d", n, c.length)
	}
	if err != nil {
		return fmt.Errorf("the queue's compressed lines: %w", err)
	}
	into.lines, into.since = into.memory[:n], c.since
	return nil
}
