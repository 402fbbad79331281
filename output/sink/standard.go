package sink

import (
	"fmt"
	"io"
	"math"
)

// stdStream is a Target that is open already. What it cannot write it will not write
// later: who gave it cannot be asked for another.
type stdStream struct {
	to    io.Writer
	whole int          // a Write of more may be cut by the end, or by another writer
	gone  func() error // returns why nobody reads any more; nil: nobody knows
	begun bool
	next  int
	asked bool // Reopen was called
}

// NewStandard returns a Target that writes to a standard stream. Where whole is above
// 0, lines are written in pieces of so many bytes, as a pipe takes them whole. gone is
// asked on Reopen whether the reader went away; it may be nil.
func NewStandard(to io.Writer, whole int, gone func() error) Target {
	return &stdStream{to: to, whole: whole, gone: gone}
}

// Ready begins once.
func (o *stdStream) Ready(next int) (Begin, error) {
	o.next = next
	if o.asked && o.gone != nil {
		if err := o.gone(); err != nil {
			return Goes, &FatalError{err}
		}
	}
	o.asked = false
	if !o.begun {
		o.begun = true
		return Start, nil
	}
	return Goes, nil
}

// Reopen looks for a reader that went away: a terminal that is hung up says so by
// SIGHUP, and nothing else would end the run.
func (o *stdStream) Reopen() { o.asked = true }

// Room returns how much is written at a time.
func (o *stdStream) Room() int {
	if o.whole == 0 {
		return math.MaxInt
	}
	return max(o.whole, o.next)
}

// Write writes. Every error is the end.
func (o *stdStream) Write(lines []byte) (int, error) {
	n, err := o.to.Write(lines)
	if n < len(lines) && err == nil {
		err = fmt.Errorf("stdout: %w", io.ErrShortWrite)
	}
	if err != nil {
		return n, &FatalError{err}
	}
	return n, nil
}

// Close leaves it open: it is the process's.
func (*stdStream) Close() error { return nil }
