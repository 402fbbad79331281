package main

import (
	"bytes"
	"io"
)

// stdoutBlock is the size of the C library's buffer for a pipe or a file.
const stdoutBlock = 4096

// stdout buffers as the C library's stdout: by line on a terminal, else in
// blocks. Where stdout and stderr go to one place, this decides between which
// bytes of one the lines of the other appear.
type stdout struct {
	w      io.Writer
	byLine bool
	direct bool // nothing is buffered: each Write is whole lines
	buf    []byte
}

func newStdout(w io.Writer, terminal bool) *stdout {
	return &stdout{w: w, byLine: terminal, buf: make([]byte, 0, stdoutBlock)}
}

// Write buffers p. What fills the buffer goes out, then whole blocks of what
// is left; the rest stays.
func (s *stdout) Write(p []byte) (int, error) {
	if s.direct {
		return s.w.Write(p)
	}
	n := min(len(p), stdoutBlock-len(s.buf))
	s.buf = append(s.buf, p[:n]...)
	var err error
	if rest := p[n:]; len(rest) > 0 {
		err = s.Flush()
		whole := len(rest) - len(rest)%stdoutBlock
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
func (s *stdout) Flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}
