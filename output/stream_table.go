package output

import (
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// StreamTable writes the initial table of a stream: netstat's columns, with the
// owners that the tracer knows, in the names that the changes have too. Addresses
// are not cut, and no name can forge a row. On a narrow terminal the queues are
// left out.
type StreamTable struct {
	text      SocketText
	style     StreamStyle
	listening Listening
	cell      []byte // scratch
}

// queuesFrom is the number of columns of a terminal from which on netstat's
// table with programs fits.
const queuesFrom = 100

// NewStreamTable returns a writer of the table of such sockets as listening says.
// With timers it has their column.
func NewStreamTable(style StreamStyle, listening Listening, timers bool) *StreamTable {
	return &StreamTable{
		text: SocketText{
			Names:  Names{Users: style.Names.Users},
			Extend: style.Extend, Programs: true, Timers: timers, Wide: true,
		},
		style: style, listening: listening,
	}
}

func (t *StreamTable) narrow() bool { return 0 < t.style.Width && t.style.Width < queuesFrom }

// AppendHeader appends the title and the line above the rows.
func (t *StreamTable) AppendHeader(dst []byte) []byte {
	first := socketTitles
	if t.narrow() {
		first = "Proto Local Address         Foreign Address       State      "
	}
	return endRow(t.text.appendTitles(dst, t.listening, first))
}

// endRow ends a row, without blanks before the end: they could be too many for a
// terminal.
func endRow(dst []byte) []byte {
	for len(dst) > 0 && dst[len(dst)-1] == ' ' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '\n')
}

// AppendConn appends the row of a connection or a listener. The timer is that of
// another row of the same socket, or nil.
func (t *StreamTable) AppendConn(dst []byte, c *table.Conn, timer *snapshot.Socket) []byte {
	s := snapshot.Socket{Head: c.Head}
	if timer != nil {
		s.Timer, s.Expires, s.Retrans, s.Timeout = timer.Timer, timer.Expires, timer.Retrans, timer.Timeout
	}
	return t.appendRow(dst, &s, c.HasUID)
}

// appendRow appends the row of an Internet socket.
func (t *StreamTable) appendRow(dst []byte, s *snapshot.Socket, hasUID bool) []byte {
	start := len(dst)
	if t.narrow() {
		dst = t.appendNarrow(dst, s)
	} else {
		dst = t.text.appendColumns(dst, s)
	}
	dst = t.appendFile(dst, &s.Head, hasUID)
	dst = append(dst, ' ')
	column := len(dst)
	dst = append(dst, t.owner(&s.Owner, column-start)...)
	dst = padTo(dst, column+ownerWidth)
	dst = t.text.appendTimers(dst, s)
	if p := s.Owner.Process; t.style.Cmdline && p != nil {
		dst = append(dst, ' ')
		dst = append(dst, t.cmdline(p.Cmdline, len(dst)-start)...)
	}
	return endRow(dst)
}

// appendFile appends the columns of -e.
func (t *StreamTable) appendFile(dst []byte, h *snapshot.Head, hasUID bool) []byte {
	if !t.style.Extend {
		return dst
	}
	dst = append(dst, ' ')
	start := len(dst)
	dst = append(padTo(appendUserOf(dst, &t.style.Names, h.UID, hasUID), start+numberColumn), ' ')
	start = len(dst)
	return padTo(strconv.AppendUint(dst, h.Inode, 10), start+numberColumn)
}

// appendNarrow appends the columns up to the state without the queues.
func (t *StreamTable) appendNarrow(dst []byte, s *snapshot.Socket) []byte {
	n := s.Numbers()
	dst = appendLeft(dst, protocolLabel(s.Protocol, n.IPv6File), 6)
	start := len(dst)
	dst = t.text.appendEndpoint(dst, s.Protocol, s.Local.Addr(), uint16(n.LocalPort))
	dst = append(padTo(dst, start+compactEndpoint), ' ')
	start = len(dst)
	dst = t.text.appendEndpoint(dst, s.Protocol, s.Remote.Addr(), uint16(n.RemotePort))
	dst = append(padTo(dst, start+compactEndpoint), ' ')
	start = len(dst)
	return padTo(appendState(dst, s.Protocol, n.State), start+stateWidth)
}

// owner returns the owner's text, cut to the terminal: at cells of the row are
// taken.
func (t *StreamTable) owner(o *snapshot.Owner, at int) []byte {
	t.cell = appendOwner(t.cell[:0], o, t.style.ASCII)
	return t.cut(at, compactOwnerMin)
}

func (t *StreamTable) cmdline(text string, at int) []byte {
	t.cell = appendCmdline(t.cell[:0], text, t.style.ASCII)
	return t.cut(at, 0)
}

// cut returns as much of the cell as the terminal has room for, but at least so
// many cells.
func (t *StreamTable) cut(at, least int) []byte {
	if t.style.Width == 0 {
		return t.cell
	}
	return cutCells(t.cell, max(t.style.Width-at, least))
}
