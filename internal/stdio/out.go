// Package stdio is what a process does with its standard streams beyond writing to
// them: it buffers stdout as the C library does, waits for a file that has no room,
// finds a stdout that is closed, and knows what the terminal behind it can show.
package stdio

import (
	"bytes"
	"io"
)

// block is the size of the C library's buffer for a pipe or a file.
const block = 4096

// Out buffers as the C library's stdout: by line on a terminal, else in blocks.
// Where stdout and stderr go to one place, this decides between which bytes of one
// the lines of the other appear.
type Out struct {
	w      io.Writer
	byLine bool
	direct bool
	buf    []byte
}

// NewOut returns a buffer before w.
func NewOut(w io.Writer, terminal bool) *Out {
	return &Out{w: w, byLine: terminal, buf: make([]byte, 0, block)}
}

// Direct ends the buffering: from now on each Write goes out as it is. What was
// buffered before is not flushed by it.
func (s *Out) Direct() { s.direct = true }

// Write buffers p. What fills the buffer goes out, then whole blocks of what
// is left; the rest stays.
func (s *Out) Write(p []byte) (int, error) {
	if s.direct {
		return s.w.Write(p)
	}
	n := min(len(p), block-len(s.buf))
	s.buf = append(s.buf, p[:n]...)
	var err error
	if rest := p[n:]; len(rest) > 0 {
		err = s.Flush()
		whole := len(rest) - len(rest)%block
		if whole > 0 && err == nil {
			_, err = s.w.Write(rest[:whole])
		}
		s.buf = append(s.buf, rest[whole:]...)
	}
	if s.byLine && bytes.IndexByte(p, '\n') >= 0 && err == nil {
		err = s.Flush()
	}
	return len(p), err
}

// Flush writes what is buffered. What cannot be written is dropped: as in
// netstat it is not tried again.
func (s *Out) Flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}

// Whole returns how many bytes a Write keeps together, as Patient.Whole does. 0: there is
// no such number, or nothing is known of what is written to.
func (s *Out) Whole() int {
	if p, ok := s.w.(Patient); ok {
		return p.Whole()
	}
	return 0
}

// Gone returns an error where it is known that nobody reads any more.
func (s *Out) Gone() error {
	if p, ok := s.w.(Patient); ok {
		return p.Gone()
	}
	return nil
}
