package sink

// Target is one place that lines go to. A Sink calls its methods from one goroutine,
// so that they may wait.
type Target interface {
	// Ready makes ready to take lines: it opens, reopens, rotates or connects where
	// that is due. next is the length of the line that comes next, in bytes. It
	// returns why a file or a connection begins with that line, or Goes where it is
	// the same as before; the Sink then writes a start record first. An error says
	// that nothing can be taken now. The Sink calls again after Retry.
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
