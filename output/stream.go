package output

import (
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
)

// StreamText writes the changes of a stream as lines of text for people: when,
// what, which transition, whose, and what is known of the time it took.
// Addresses are not cut. The columns keep their place, and when something does
// not fit its column it is wider from then on. No name of a process can forge a
// line or move the cursor.
type StreamText struct {
	Extend  bool       // -e: user and inode
	Netns   bool       // --all-netns: the inode of the network namespace
	Cmdline bool       // -p: the command line, not just the program
	Names   *Resolver  // for users and ports
	Hosts   *HostNames // for hosts; nil: numbers

	out    io.Writer
	buf    []byte
	open   bool   // the last line waits for what its close adds
	opened uint64 // id of its connection
	offset int64  // wall clock minus CLOCK_MONOTONIC, ns
	place  *time.Location
	second int64 // the second that clock shows
	clock  [8]byte
	widths [6]int
	cell   []byte
}

// The columns of the stream that grow.
const (
	columnProto = iota
	columnLocal
	columnRemote
	columnState
	columnUser
	columnOwner
)

// NewStreamText gives a writer of lines to out, in the time zone place.
func NewStreamText(out io.Writer, names *Resolver, place *time.Location) *StreamText {
	return &StreamText{
		out: out, Names: names, place: place, second: -1,
		widths: [...]int{
			columnProto: 5, columnLocal: endpointText, columnRemote: endpointText,
			columnState: len("ESTABLISHED -> CLOSE_WAIT"), columnUser: 10, columnOwner: 20,
		},
	}
}

// SetClock says that CLOCK_MONOTONIC showed mono nanoseconds at the time wall.
func (t *StreamText) SetClock(mono uint64, wall time.Time) {
	t.offset = wall.UnixNano() - int64(mono)
}

// Header appends the line above the changes.
func (t *StreamText) Header() {
	t.finish()
	t.buf = append(t.buf, "TIME            "...)
	t.title(columnProto, "PROTO")
	t.title(columnLocal, "LOCAL ADDRESS")
	t.title(columnRemote, "FOREIGN ADDRESS")
	t.title(columnState, "STATE")
	if t.Extend {
		t.title(columnUser, "USER")
		t.buf = append(t.buf, "INODE      "...)
	}
	if t.Netns {
		t.buf = append(t.buf, "NETNS      "...)
	}
	t.title(columnOwner, "PID/PROGRAM")
	t.trim()
	t.buf = append(t.buf, '\n')
}

func (t *StreamText) title(column int, text string) {
	t.cell = append(t.cell[:0], text...)
	t.put(column)
}

// put appends the cell, padded to its column.
func (t *StreamText) put(column int) {
	n := utf8.RuneCount(t.cell)
	t.widths[column] = max(t.widths[column], n)
	t.buf = append(t.buf, t.cell...)
	for ; n <= t.widths[column]; n++ {
		t.buf = append(t.buf, ' ')
	}
}

// Change appends a line for a transition; a close completes the line before.
func (t *StreamText) Change(c *tracer.Change) {
	if c.Kind == tracer.ChangeClose {
		if !t.open || t.opened != c.Conn.ID {
			t.begin(c, c.Conn.State, c.Conn.State)
		}
		t.ending(c)
		t.finish()
		return
	}
	t.finish()
	t.begin(c, c.Old, c.New)
	if c.New == snapshot.Established && c.Conn.Direction == tracer.Outgoing && c.Conn.StartKnown {
		t.buf = appendMillis(t.buf, c.Time-c.Conn.Start)
		t.buf = append(t.buf, ' ')
	}
	if c.Inferred {
		t.buf = append(t.buf, "(inferred) "...)
	}
}

func (t *StreamText) begin(c *tracer.Change, from, to snapshot.State) {
	t.open, t.opened = true, c.Conn.ID
	t.buf = t.appendTime(t.buf, c.Time)
	t.buf = append(t.buf, ' ')
	t.cell = append(t.cell[:0], protocolLabel(snapshot.TCP, c.Conn.Local.Addr().Is6())...)
	t.put(columnProto)
	t.endpoint(columnLocal, c.Conn.Local)
	t.endpoint(columnRemote, c.Conn.Remote)
	t.cell = append(t.cell[:0], from.String()...)
	t.cell = append(t.cell, " -> "...)
	t.cell = append(t.cell, to.String()...)
	t.put(columnState)
	if t.Extend {
		t.cell = t.Names.AppendUser(t.cell[:0], c.Conn.UID)
		t.put(columnUser)
		start := len(t.buf)
		t.buf = strconv.AppendUint(t.buf, c.Conn.Inode, 10)
		t.buf = append(padTo(t.buf, start+10), ' ')
	}
	if t.Netns {
		start := len(t.buf)
		t.buf = strconv.AppendUint(t.buf, uint64(c.Conn.Netns), 10)
		t.buf = append(padTo(t.buf, start+10), ' ')
	}
	t.owner(c.Conn.Owner.Process)
}

func (t *StreamText) endpoint(column int, a netip.AddrPort) {
	host, service := "", ""
	if t.Hosts != nil {
		host = t.Hosts.Name(a.Addr())
	}
	if !t.Names.NumericPorts {
		service = t.Names.Service(a.Port(), snapshot.TCP.String())
	}
	if host != "" { // which whoever answers for the address has chosen
		t.cell = appendPlain(t.cell[:0], host)
	} else {
		t.cell = AppendAddr(t.cell[:0], a.Addr())
	}
	t.cell = append(t.cell, ':')
	switch {
	case a.Port() == 0:
		t.cell = append(t.cell, '*')
	case service != "":
		t.cell = append(t.cell, service...)
	default:
		t.cell = strconv.AppendUint(t.cell, uint64(a.Port()), 10)
	}
	t.put(column)
}

func (t *StreamText) owner(p *tracer.Process) {
	t.cell = t.cell[:0]
	switch {
	case p == nil:
		t.cell = append(t.cell, '-')
	case t.Cmdline && p.Cmdline != "":
		t.cell = strconv.AppendUint(t.cell, uint64(p.PID), 10)
		t.cell = append(t.cell, '/')
		t.cell = appendPlain(t.cell, strings.ReplaceAll(p.Cmdline, "\x00", " "))
	default:
		t.cell = strconv.AppendUint(t.cell, uint64(p.PID), 10)
		t.cell = append(t.cell, '/')
		t.cell = appendPlain(t.cell, p.Comm)
	}
	if t.Cmdline { // of any length: it does not set the width
		n := t.widths[columnOwner]
		t.put(columnOwner)
		t.widths[columnOwner] = n
		return
	}
	t.put(columnOwner)
}

// appendPlain appends a name with what a terminal would obey, and what is not
// UTF-8, written as an escape.
func appendPlain(dst []byte, s string) []byte {
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			dst = append(dst, `\x`...)
			dst = append(dst, hexDigits[s[i]>>4], hexDigits[s[i]&15])
		case r == '\\' || !unicode.IsPrint(r):
			quoted := strconv.AppendQuoteRuneToASCII(nil, r)
			dst = append(dst, quoted[1:len(quoted)-1]...)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// outcomeText tells how a connection ended.
var outcomeText = [...]string{
	tracer.OutcomeUnknown:   "ended",
	tracer.Finished:         "closed",
	tracer.ResetLocal:       "reset",
	tracer.ResetRemote:      "reset by peer",
	tracer.Refused:          "refused",
	tracer.TimeoutConnect:   "no answer",
	tracer.Unreachable:      "unreachable",
	tracer.AbortedConnect:   "given up",
	tracer.HandshakeDropped: "handshake dropped",
	tracer.Timeout:          "timed out",
	tracer.Destroyed:        "destroyed",
}

// ending appends how the connection ended, how long it lasted, and what it carried.
func (t *StreamText) ending(c *tracer.Change) {
	if int(c.Close.Outcome) < len(outcomeText) {
		t.buf = append(t.buf, outcomeText[c.Close.Outcome]...)
		t.buf = append(t.buf, ' ')
	}
	if c.Conn.StartKnown && c.Time >= c.Conn.Start {
		t.buf = appendMillis(t.buf, c.Time-c.Conn.Start)
		t.buf = append(t.buf, ' ')
	}
	if c.Close.HasStats {
		t.buf = append(t.buf, " ↑"...)
		t.buf = appendBytes(t.buf, c.Close.BytesSent)
		t.buf = append(t.buf, " ↓"...)
		t.buf = appendBytes(t.buf, c.Close.BytesReceived)
	}
}

// appendMillis appends a duration of ns nanoseconds in milliseconds, with three
// significant digits.
func appendMillis(dst []byte, ns uint64) []byte {
	ms := float64(ns) / 1e6
	digits := 0
	switch {
	case ms < 10:
		digits = 3
	case ms < 1000:
		digits = 1
	}
	dst = strconv.AppendFloat(dst, ms, 'f', digits, 64)
	return append(dst, " ms"...)
}

// appendBytes appends an amount of data in decimal units.
func appendBytes(dst []byte, n uint64) []byte {
	if n < 1000 {
		return append(strconv.AppendUint(dst, n, 10), " B"...)
	}
	const units = "KMGTPE"
	v, unit := float64(n)/1000, 0
	for v >= 999.95 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	dst = strconv.AppendFloat(dst, v, 'f', 1, 64)
	return append(dst, ' ', units[unit], 'B')
}

// appendTime appends the time of day to microseconds.
func (t *StreamText) appendTime(dst []byte, mono uint64) []byte {
	ns := int64(mono) + t.offset
	second := ns / 1e9
	if second != t.second {
		t.second = second
		time.Unix(second, 0).In(t.place).AppendFormat(t.clock[:0], time.TimeOnly)
	}
	dst = append(dst, t.clock[:]...)
	dst = append(dst, '.')
	return appendDigits(dst, int(ns%1e9/1000), 6)
}

// finish ends the line that was left open.
func (t *StreamText) finish() {
	if t.open {
		t.open = false
		t.trim()
		t.buf = append(t.buf, '\n')
	}
}

func (t *StreamText) trim() {
	for len(t.buf) > 0 && t.buf[len(t.buf)-1] == ' ' {
		t.buf = t.buf[:len(t.buf)-1]
	}
}

// Note appends a line of its own.
func (t *StreamText) Note(text string) {
	t.finish()
	t.buf = append(t.buf, text...)
	t.buf = append(t.buf, '\n')
}

// Append hands the buffer to a function that appends lines to it.
func (t *StreamText) Append(lines func([]byte) []byte) {
	t.finish()
	t.buf = lines(t.buf)
}

// Buffered gives the number of bytes that wait for Flush.
func (t *StreamText) Buffered() int { return len(t.buf) }

// Flush writes what was appended, in whole lines. What an error of the io.Writer
// left unwritten is kept.
func (t *StreamText) Flush() error {
	t.finish()
	if len(t.buf) == 0 {
		return nil
	}
	n, err := t.out.Write(t.buf)
	if n < len(t.buf) && err == nil {
		err = io.ErrShortWrite
	}
	t.buf = t.buf[:copy(t.buf, t.buf[n:])]
	return err
}
