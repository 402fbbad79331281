package sink

import (
	"syscall"
	"time"
)

// Stats is what a Sink has done so far.
type Stats struct {
	Place   string // as the command line names it
	Queue   QueueStats
	Written WrittenStats
	Dropped [stages]Dropped // by Stage
}

// QueueStats is what waits to be written.
type QueueStats struct {
	Bytes   uint64
	Limit   uint64
	Records uint64
	Oldest  time.Duration // how long the oldest line waits already; 0: none waits
}

// WrittenStats is what the place has taken.
type WrittenStats struct {
	Records    uint64 // start and lost records among them
	Bytes      uint64
	Errors     uint64       // of opening, connecting and writing
	ByErrno    []ErrnoCount // what they are, in the order in which they came first
	Reopenings uint64       // files and connections after the first one
	Up         bool         // no error since the last success
	Last       time.Time    // when it took something last; zero: never
}

// ErrnoCount is how often an error was met. 0 stands for those that are none of the
// system's.
type ErrnoCount struct {
	Errno syscall.Errno
	Count uint64
}

// Stage is where lines are lost.
type Stage uint8

// The stages.
const (
	InQueue  Stage = iota // the queue was full: the place takes less than comes
	AtOutput              // the queue was full, as the place took nothing because of an error
	stages   = 2
)

// String returns the word for the stage in lost records.
func (s Stage) String() string {
	if s == AtOutput {
		return "output"
	}
	return "queue"
}

// Dropped is what a Sink did not admit.
type Dropped struct {
	Records uint64 // all kinds together
	States  uint64 // transitions
	Closes  uint64
}

// Loss is what a Sink did not admit since it told so last.
type Loss struct {
	Stage Stage
	Dropped
	Total        uint64 // records since the start
	Since, Until time.Time
}
