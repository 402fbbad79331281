package output

import (
	"io"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// StreamStyle says what the stream's text shows and for whom.
type StreamStyle struct {
	Extend  bool      // -e: user and inode
	Netns   bool      // --all-netns: the inode of the network namespace
	Cmdline bool      // -p: the command line too
	Width   int       // columns of the terminal; 0: not for a terminal
	Color   bool      // failures and resets are colored
	ASCII   bool      // the reader's locale is not UTF-8
	Names   Names     // of users and ports
	Hosts   HostNamer // nil: numbers
	Devices Devices   // of link-local addresses; nil: none are shown
}

// appendHost appends an address of a socket, or its name, which whoever answers for
// the address has chosen.
func (s *StreamStyle) appendHost(dst []byte, a netip.Addr, h *snapshot.Head) []byte {
	if s.Hosts != nil {
		if host := s.Hosts.Name(a); host != "" {
			return appendVisible(dst, host, s.ASCII)
		}
	}
	dst = AppendAddr(dst, a)
	if h.Device == 0 || s.Devices == nil || !hasZone(a) {
		return dst
	}
	return s.appendZone(append(dst, '%'), h)
}

// appendEndpoint appends an address and a port of a socket, or what names they have.
func (s *StreamStyle) appendEndpoint(dst []byte, a netip.AddrPort, h *snapshot.Head) []byte {
	dst = append(s.appendHost(dst, a.Addr(), h), ':')
	return s.Names.AppendPort(dst, h.Protocol, a.Port())
}

// appendZone appends the interface that a link-local address is on, or its number if
// it has no name any more.
func (s *StreamStyle) appendZone(dst []byte, h *snapshot.Head) []byte {
	if name := s.Devices.Device(h.Netns, h.Device); name != "" {
		return appendVisible(dst, name, s.ASCII)
	}
	return strconv.AppendUint(dst, uint64(h.Device), 10)
}

// A HostNamer returns the name of a host, or "" for none that is known so far.
// It does not block.
type HostNamer interface {
	Name(netip.Addr) string
}

// StreamText writes the changes of a stream as lines of text for people: when,
// what, which transition, whose, and what is known of the time it took. A line
// "# DATE (ZONE)" comes first, and again when either changes.
//
// Addresses are not cut. The columns keep their place: what is too long for its
// own moves those after it in its line alone. On a terminal what does not fit
// into a line comes beneath it (the end of a connection) or is left out. No name
// of a process can forge a line or move the cursor.
type StreamText struct {
	style  StreamStyle
	layout streamLayout
	out    io.Writer
	rows   streamRows
	clock  streamClock
	wall   Clock
	titled bool              // there is a header
	open   bool              // the last line waits for what its close adds
	opened uint64            // id of its connection
	after  int               // where what follows its columns begins
	whose  *snapshot.Process // has the command line that ends it
	cell   []byte            // scratch
}

// NewStreamText returns a writer of lines to out, in the time zone place.
func NewStreamText(out io.Writer, style StreamStyle, wall Clock, place *time.Location) *StreamText {
	return &StreamText{
		style: style, out: out, wall: wall, clock: streamClock{place: place, second: -1},
		layout: newLayout(style.Width, style.Extend, style.Netns),
	}
}

// Resize says that the terminal has another width now. The columns get a new
// header if they move.
func (t *StreamText) Resize(width int) {
	if width == t.style.Width {
		return
	}
	t.style.Width = width
	l := newLayout(width, t.style.Extend, t.style.Netns)
	moved := l.local != t.layout.local || l.compact != t.layout.compact
	t.finish()
	t.layout = l
	if moved && t.titled {
		t.titles()
	}
}

// Header appends the date and the line above the changes.
func (t *StreamText) Header(now time.Time) {
	t.finish()
	t.clock.show(now.UnixNano())
	t.date()
	t.titles()
}

func (t *StreamText) date() {
	t.rows.buf = t.clock.appendDate(t.rows.buf)
	t.rows.newline()
}

func (t *StreamText) titles() {
	t.titled = true
	l := &t.layout
	t.title(0, "TIME")
	t.title(l.proto, "PROTO")
	t.title(l.local, "LOCAL ADDRESS")
	t.title(l.remote, "FOREIGN ADDRESS")
	t.title(l.state, "STATE")
	t.title(l.user, "USER")
	t.title(l.inode, "INODE")
	t.title(l.netns, "NETNS")
	t.title(l.owner, "PID/PROGRAM")
	t.rows.newline()
}

// title appends the title of a column that is shown. The first one is at 0.
func (t *StreamText) title(column int, text string) {
	if column > 0 || t.rows.at() == 0 {
		t.rows.to(column, t.layout.step)
		t.rows.buf = append(t.rows.buf, text...)
	}
}

// Change appends a line for a transition; a close completes the line before. An
// owner that was found late has no line: the next one shows it.
func (t *StreamText) Change(c *table.Change) {
	switch c.Kind {
	case table.ChangeOwner:
		return
	case table.ChangeClose:
		if !t.open || t.opened != c.Conn.ID {
			t.begin(c, c.Conn.State, c.Conn.State)
		}
		t.ending(c)
		t.finish()
		return
	}
	t.begin(c, c.Old, c.New)
	if c.New == snapshot.Established && c.Conn.Direction == table.Outgoing && c.Conn.StartKnown {
		t.cell = appendMillis(t.cell[:0], c.Time-c.Conn.Start, t.layout.gap())
		if t.fits() {
			t.aside("")
		}
	}
	if c.Inferred {
		t.cell = append(t.cell[:0], "(inferred)"...)
		t.aside("")
	}
}

// begin appends the columns of a change.
func (t *StreamText) begin(c *table.Change, from, to snapshot.State) {
	t.when(c.Time, protocolLabel(snapshot.TCP, c.Conn.Local.Addr().Is6()))
	t.opened = c.Conn.ID
	l, r := &t.layout, &t.rows
	r.to(l.local, l.step)
	t.endpoint(c.Conn.Local, &c.Conn.Head)
	r.to(l.remote, l.step)
	t.endpoint(c.Conn.Remote, &c.Conn.Head)
	r.to(l.state, l.step)
	r.buf = l.appendTransition(r.buf, from, to)
	t.numbers(&c.Conn.Head, c.Conn.HasUID)
	t.owner(&c.Conn.Owner)
}

// when begins a line, with the time and the protocol.
func (t *StreamText) when(mono uint64, protocol string) {
	t.finish()
	at := t.wall.At(mono)
	if t.clock.show(at) {
		t.date()
	}
	t.open = true
	l, r := &t.layout, &t.rows
	r.buf = t.clock.appendTime(r.buf, at, l.micros)
	if !l.compact {
		r.to(l.proto, l.step)
		r.buf = append(r.buf, protocol...)
	}
}

// numbers appends the columns that options add.
func (t *StreamText) numbers(h *snapshot.Head, hasUID bool) {
	l, r := &t.layout, &t.rows
	if t.style.Extend {
		r.to(l.user, l.step)
		start := len(r.buf)
		r.buf = appendUserOf(r.buf, &t.style.Names, h.UID, hasUID)
		r.counted(start)
		r.to(l.inode, l.step)
		r.buf = strconv.AppendUint(r.buf, h.Inode, 10)
	}
	if t.style.Netns {
		r.to(l.netns, l.step)
		r.buf = strconv.AppendUint(r.buf, uint64(h.Netns), 10)
	}
}

// endpoint appends an address and a port of a socket, or what names they have.
func (t *StreamText) endpoint(a netip.AddrPort, h *snapshot.Head) {
	r := &t.rows
	start := len(r.buf)
	r.buf = t.style.appendEndpoint(r.buf, a, h)
	r.counted(start)
}

func (t *StreamText) owner(o *snapshot.Owner) {
	l, r := &t.layout, &t.rows
	r.to(l.owner, l.step)
	t.after = r.at() + l.ownerWidth + 1
	start := len(r.buf)
	r.buf = appendOwner(r.buf, o, t.style.ASCII)
	if l.width > 0 {
		r.cut(start, l.ownerWidth)
	}
	r.counted(start)
	if t.style.Cmdline {
		t.whose = o.Process
	}
}

// aside appends the cell after the columns, or beneath them if the terminal is
// too narrow.
func (t *StreamText) aside(color string) {
	if !t.fits() {
		t.rows.newline()
		t.after = t.layout.local
	}
	t.rows.to(t.after, 1)
	off := ""
	if color != "" && t.style.Color {
		t.rows.mark(color)
		off = colorOff
	}
	start := len(t.rows.buf)
	t.rows.buf = append(t.rows.buf, t.cell...)
	t.rows.counted(start)
	t.rows.mark(off)
}

// fits reports whether the line has room for the cell.
func (t *StreamText) fits() bool {
	return cellsOf(t.cell) <= t.room()
}

// room returns the cells that are left after the columns.
func (t *StreamText) room() int {
	if t.layout.width == 0 {
		return math.MaxInt
	}
	return max(t.layout.width-t.rows.next(t.after, 1), 0)
}

// finish ends the line that was left open.
func (t *StreamText) finish() {
	if !t.open {
		return
	}
	t.open = false
	if t.whose != nil {
		t.cmdline(t.whose.Cmdline)
		t.whose = nil
	}
	t.rows.newline()
}

// cmdline appends as much of a command line as the line has room for.
func (t *StreamText) cmdline(text string) {
	t.cell = cutCells(appendCmdline(t.cell[:0], text, t.style.ASCII), t.room())
	if len(t.cell) > 0 {
		t.rows.to(t.after, 1)
		t.rows.buf = append(t.rows.buf, t.cell...)
	}
}

// Note appends a line of its own.
func (t *StreamText) Note(text string) {
	t.finish()
	t.rows.buf = append(t.rows.buf, text...)
	t.rows.newline()
}

// Append hands the buffer to a function that appends lines to it.
func (t *StreamText) Append(lines func([]byte) []byte) {
	t.finish()
	t.rows.buf = lines(t.rows.buf)
	t.rows.drop(0)
}

// Buffered returns the number of bytes that wait for Flush.
func (t *StreamText) Buffered() int { return len(t.rows.buf) }

// Flush writes what was appended, in whole lines. What an error of the io.Writer
// left unwritten is kept.
func (t *StreamText) Flush() error {
	t.finish()
	return t.rows.flush(t.out)
}
