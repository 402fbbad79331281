package output

import (
	"io"
	"slices"
	"time"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// ColumnText writes the changes of a stream as lines of chosen columns, the time
// first. A transition and the close that follows it are one line. A line "# DATE
// (ZONE)" comes first, and again when either changes. What is not known is "-".
//
// The columns keep their place: what is too long for its own moves those after it in
// its line alone. Columns that a terminal has no room for stand beneath the others, as
// their titles do. No name of a process can forge a line or move the cursor.
type ColumnText struct {
	style  StreamStyle
	chosen []*column
	places []place // of the chosen columns
	micros bool    // the time has microseconds
	out    io.Writer
	rows   streamRows
	clock  streamClock
	titled bool
	line   columnLine
	held   bool // a transition waits for its close
	kept   keptChange
	other  table.Conn // of a socket that is none of TCP: what it has in common with one
	cell   []byte     // scratch
}

// keptChange is a copy of a change and of what it points to.
type keptChange struct {
	change table.Change
	conn   table.Conn
}

// place is where a column stands, in cells from 0.
type place struct {
	below bool // it begins a row
	last  bool // it ends one
	at    int
	width int
}

// columnIndent is where the rows beneath the first one begin.
const columnIndent = 2

// CloseColumns are the columns of closes alone: the story of a connection.
func CloseColumns(style *StreamStyle) []string {
	return standardColumns(style, "outcome", "established_ns", "duration_ns", "bytes_sent", "bytes_received", "retrans", "rtt_us")
}

// ChangeColumns are the columns of transitions and closes.
func ChangeColumns(style *StreamStyle) []string {
	return standardColumns(style, "transition", "outcome", "established_ns", "duration_ns", "bytes_sent", "bytes_received")
}

func standardColumns(style *StreamStyle, what ...string) []string {
	names := []string{"local", "remote"}
	if !isCompact(style.Width) {
		names = []string{"transport", "local", "remote"}
	}
	names = append(names, what...)
	if style.Extend {
		names = append(names, "user", "inode")
	}
	if style.Netns {
		names = append(names, "netns")
	}
	names = append(names, "owner")
	if style.Cmdline {
		names = append(names, "cmdline")
	}
	return names
}

// ColumnNames returns the names of all columns.
func ColumnNames() []string {
	names := []string{timeColumn}
	for i := range columns {
		names = append(names, columns[i].name)
	}
	return names
}

// timeColumn comes first in each line.
const timeColumn = "timestamp"

// NewColumnText returns a writer of lines to out, in the time zone place. The names of
// the columns are those of ColumnNames.
func NewColumnText(out io.Writer, style StreamStyle, names []string, wall Clock, place *time.Location) *ColumnText {
	t := &ColumnText{style: style, out: out, clock: streamClock{place: place, second: -1}, line: columnLine{wall: wall}}
	t.line.style = &t.style
	for _, name := range names {
		if i := slices.IndexFunc(columns, func(c column) bool { return c.name == name }); i >= 0 {
			t.chosen = append(t.chosen, &columns[i])
		}
	}
	t.layout()
	return t
}

// layout gives each column its place.
func (t *ColumnText) layout() {
	width := t.style.Width
	compact := isCompact(width)
	t.micros = !compact || width >= microsFrom
	t.line.short, t.line.gap = compact, " "
	if compact {
		t.line.gap = ""
	}
	next := len("15:04:05.000")
	if t.micros {
		next = len("15:04:05.000000")
	}
	t.places = t.places[:0]
	for _, c := range t.chosen {
		p := place{at: next + 1, width: c.width}
		if compact && c.narrow > 0 {
			p.width = c.narrow
		}
		if width > 0 && p.at+p.least(c) > width {
			p.below, p.at = true, columnIndent
			t.endRow()
		}
		t.places = append(t.places, p)
		next = p.at + p.width
	}
	t.endRow()
}

// least is what a column takes if it ends a row of a terminal.
func (p *place) least(c *column) int {
	if c.cut {
		return min(p.width, compactOwnerMin)
	}
	return p.width
}

// endRow marks the last place as the end of its row.
func (t *ColumnText) endRow() {
	if n := len(t.places); n > 0 {
		t.places[n-1].last = true
	}
}

// Resize says that the terminal has another width now. The columns get a new header if
// they move.
func (t *ColumnText) Resize(width int) {
	if width == t.style.Width {
		return
	}
	before := slices.Clone(t.places)
	t.finish()
	t.style.Width = width
	t.layout()
	if t.titled && !slices.Equal(before, t.places) {
		t.titles()
	}
}

// Header appends the date and the lines above the changes.
func (t *ColumnText) Header(now time.Time) {
	t.finish()
	t.clock.show(now.UnixNano())
	t.date()
	t.titles()
}

func (t *ColumnText) date() {
	t.rows.buf = t.clock.appendDate(t.rows.buf)
	t.rows.newline()
}

func (t *ColumnText) titles() {
	t.titled = true
	t.rows.buf = append(t.rows.buf, "TIME"...)
	for i, c := range t.chosen {
		t.move(&t.places[i])
		t.rows.buf = append(t.rows.buf, c.title...)
	}
	t.rows.newline()
}

// move goes to the place of a column, or to the next one that is free.
func (t *ColumnText) move(p *place) {
	if p.below {
		t.rows.newline()
	}
	t.rows.to(p.at, 1)
}

// Change appends a line for a transition and for the close that follows it, or for a
// close alone. An owner that was found late has no line: the next one shows it.
func (t *ColumnText) Change(c *table.Change) {
	switch c.Kind {
	case table.ChangeState:
		t.finish()
		t.held = true
		t.kept = keptChange{*c, *c.Conn}
		t.kept.change.Close = nil // its close comes, and brings that
	case table.ChangeClose:
		from, to := snapshot.State(0), snapshot.State(0)
		if t.held && t.kept.conn.ID == c.Conn.ID {
			from, to, t.held = t.kept.change.Old, t.kept.change.New, false
		}
		t.finish()
		t.write(c, c.Conn, from, to)
	}
}

// finish writes the transition that no close came for.
func (t *ColumnText) finish() {
	if t.held {
		t.held = false
		t.write(&t.kept.change, &t.kept.conn, t.kept.change.Old, t.kept.change.New)
	}
}

// Socket appends a line for a change or the close of a UDP, raw or Unix socket. An owner
// that was found late has no line.
func (t *ColumnText) Socket(c *table.SocketChange) {
	if c.Kind == table.SocketSeen {
		return
	}
	t.finish()
	s := c.Socket
	t.other = table.Conn{Head: s.Head, ID: s.ID, Start: s.Start, StartKnown: s.StartKnown, HasUID: s.HasUID}
	t.line.set(c.Time, &t.other, c.Source == table.SocketTold)
	t.line.socket = c
	t.cells()
}

// write appends the line of a change.
func (t *ColumnText) write(c *table.Change, conn *table.Conn, from, to snapshot.State) {
	l := &t.line
	l.set(c.Time, conn, !c.Inferred)
	l.close, l.old, l.new = c.Close, from, to
	t.cells()
}

// cells appends the line that is set.
func (t *ColumnText) cells() {
	at := t.line.wall.At(t.line.when)
	if t.clock.show(at) {
		t.date()
	}
	t.rows.buf = t.clock.appendTime(t.rows.buf, at, t.micros)
	for i, c := range t.chosen {
		t.move(&t.places[i])
		t.append(c, &t.places[i])
	}
	t.rows.newline()
}

// append appends the cell of a column.
func (t *ColumnText) append(c *column, p *place) {
	t.cell = c.append(&t.line, t.cell[:0])
	if len(t.cell) == 0 {
		t.cell = append(t.cell, '-')
	}
	if c.cut && t.style.Width > 0 {
		room := p.width
		if p.last {
			room = max(t.style.Width-t.rows.at(), compactOwnerMin)
		}
		t.cell = cutCells(t.cell, room)
	}
	off := ""
	if t.style.Color && c.name == "outcome" && t.line.close != nil && failed(outcomeOf(t.line.close)) {
		t.rows.mark(colorFailure)
		off = colorOff
	}
	start := len(t.rows.buf)
	t.rows.buf = append(t.rows.buf, t.cell...)
	t.rows.counted(start)
	t.rows.mark(off)
}

// Note appends a line of its own.
func (t *ColumnText) Note(text string) {
	t.finish()
	t.rows.buf = append(t.rows.buf, text...)
	t.rows.newline()
}

// Append hands the buffer to a function that appends lines to it.
func (t *ColumnText) Append(lines func([]byte) []byte) {
	t.finish()
	t.rows.buf = lines(t.rows.buf)
	t.rows.drop(0)
}

// Buffered returns the number of bytes that wait for Flush.
func (t *ColumnText) Buffered() int { return len(t.rows.buf) }

// Flush writes what was appended, in whole lines. What an error of the io.Writer left
// unwritten is kept.
func (t *ColumnText) Flush() error {
	t.finish()
	return t.rows.flush(t.out)
}
