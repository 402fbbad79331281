package output

import "github.com/nettrace/nettrace/snapshot"

// The stream's text has two forms. The wide one is for files, pipes and wide
// terminals. The compact one is for other terminals: it leaves out the protocol
// and has short words for the states. From 80 columns on, its lines with IPv4
// addresses are never wider than the terminal, but for the columns that -e and
// --all-netns add.
const (
	wideFrom   = 150 // columns of a terminal from which on the wide form fits
	microsFrom = 124 // the compact form shows microseconds from here on
)

// Widths of the columns of the compact form.
const (
	compactEndpoint = len("255.255.255.255:65535")
	compactState    = len("FINW1>FINW2")
	compactOwnerMin = len("PID/PROGRAM")
	compactOwnerMax = 16 // leaves room for the end of a connection at 120 columns
)

// Widths of the columns of the wide form, and of those that both forms have.
const (
	wideProto    = 5
	wideEndpoint = endpointText
	wideState    = len("ESTABLISHED -> CLOSE_WAIT")
	numberColumn = 10 // user, inode, network namespace
)

// wideStep is the distance of the further places at which a column of the wide
// form may begin, where what stands before it is too long: lines with long
// addresses are aligned among themselves, and those between them keep their
// columns.
const wideStep = 24

// shortStates are the states in the compact form.
var shortStates = [...]string{
	snapshot.Established: "ESTAB",
	snapshot.SynSent:     "SYNS",
	snapshot.SynRecv:     "SYNR",
	snapshot.FinWait1:    "FINW1",
	snapshot.FinWait2:    "FINW2",
	snapshot.TimeWait:    "TIMEW",
	snapshot.Close:       "CLOSE",
	snapshot.CloseWait:   "CLOSW",
	snapshot.LastAck:     "LASTA",
	snapshot.Listen:      "LISTN",
	snapshot.Closing:     "CLSNG",
}

// streamLayout is a form of the stream's text for a width: where its columns
// begin, in cells of a terminal from 0. A column that is not shown has 0.
type streamLayout struct {
	width   int // of the terminal; 0: lines have no end
	compact bool
	micros  bool // the time has microseconds
	step    int  // to the next place where a column begins that finds its own taken

	proto, local, remote, state int
	user, inode, netns          int
	owner, ownerWidth           int
}

// isCompact reports whether a terminal has no room for the wide form. Width 0 is that
// of a file.
func isCompact(width int) bool { return 0 < width && width < wideFrom }

func newLayout(width int, extend, netns bool) streamLayout {
	l := streamLayout{width: width, step: wideStep}
	l.compact = isCompact(width)
	l.micros = !l.compact || width >= microsFrom
	endpoint, state := wideEndpoint, wideState
	if l.compact {
		l.step = 1
		endpoint, state = compactEndpoint, compactState
	}
	next := len("15:04:05.000 ")
	if l.micros {
		next = len("15:04:05.000000 ")
	}
	column := func(cells int) int {
		start := next
		next += cells + 1
		return start
	}
	if !l.compact {
		l.proto = column(wideProto)
	}
	l.local, l.remote, l.state = column(endpoint), column(endpoint), column(state)
	if extend {
		l.user, l.inode = column(numberColumn), column(numberColumn)
	}
	if netns {
		l.netns = column(numberColumn)
	}
	l.owner, l.ownerWidth = next, ownerWidth
	if l.compact {
		l.ownerWidth = min(max(width-next, compactOwnerMin), compactOwnerMax)
	}
	return l
}

// appendTransition appends two states, or one: that of a close whose transition has
// no line.
func (l *streamLayout) appendTransition(dst []byte, from, to snapshot.State) []byte {
	name, arrow := snapshot.State.String, " -> "
	if l.compact {
		name, arrow = shortState, ">"
	}
	if from != to {
		dst = append(dst, name(from)...)
		dst = append(dst, arrow...)
	}
	return append(dst, name(to)...)
}

func shortState(s snapshot.State) string {
	if int(s) < len(shortStates) && shortStates[s] != "" {
		return shortStates[s]
	}
	return "?"
}

// gap returns what stands between a number and its unit.
func (l *streamLayout) gap() string {
	if l.compact {
		return ""
	}
	return " "
}
