package sink

import (
	"errors"
	"time"
)

// Target is one place that lines go to. A Sink calls its methods from one goroutine,
// so that they may wait.
type Target interface {
	// Ready makes ready to take lines: it opens, reopens, rotates or connects where
	// that is due. next is the length of the line, or of the rest of a line, that
	// comes next, in bytes; 0: none waits. It returns why a file or a connection
	// begins with that line, or Goes where it is the same as before; the Sink then
	// writes a start record first, for which it calls Ready again. An error says that
	// nothing can be taken now. The Sink calls again after the time of a Retrier.
	Ready(next int) (Begin, error)
	// Room returns how many bytes may be written before Ready is to be called again.
	Room() int
	// Write takes whole lines, or the rest of a line whose first part it has taken.
	// It returns how many bytes it has. After an error the Sink calls Ready and offers
	// the rest; where Ready says that a file or connection begins, from the start of
	// the line that was cut.
	Write(lines []byte) (int, error)
	// Close ends it. Lines that it has are as safe as they will be.
	Close() error
}

// Retrier is a Target that says how long the Sink waits after an error before it calls
// Ready again. For other targets that is a second.
type Retrier interface {
	Retry() time.Duration
}

// Reopener is a Target that can begin anew. After Reopen the Sink calls Ready at once,
// with or without a line.
type Reopener interface {
	Reopen()
}

// Ticker is a Target that wants Ready to be called from time to time, with or without
// a line.
type Ticker interface {
	Tick() time.Duration
}

// FatalError is an error of a Target after which it takes nothing any more.
type FatalError struct{ Err error }

func (e *FatalError) Error() string { return e.Err.Error() }

// Unwrap returns the error that it is about.
func (e *FatalError) Unwrap() error { return e.Err }

// isFatal reports whether an error ends a Sink.
func isFatal(err error) bool {
	var fatal *FatalError
	return errors.As(err, &fatal)
}

// Begin is why a file or a connection begins, in the words of the start record.
type Begin string

// Why a file or a connection begins.
const (
	Goes      Begin = "" // it goes on
	Start     Begin = "start"
	Reopen    Begin = "reopen"
	Rotate    Begin = "rotate"
	Reconnect Begin = "reconnect"
)
