package stream

import (
	"errors"
	"io"
	"iter"
	"time"

	"github.com/nettrace/nettrace/internal/names"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/tracer/table"
)

// flushAt is the number of bytes from which a buffer is written before the source is
// idle. Who writes is woken for each: with less, waking takes more time than writing.
const flushAt = sink.Full

// TextOptions say what the text shows, and for whom.
type TextOptions struct {
	Listening output.Listening                 // for the title of the initial table
	Extend    bool                             // user and inode
	Timers    bool                             // timers in the initial table
	Cmdline   bool                             // the command line too
	Netns     bool                             // the network namespace
	Hosts     bool                             // names of hosts in the changes
	Ports     bool                             // names of ports in the changes
	Users     bool                             // names of users
	Closes    bool                             // closes alone come: each is a line with the whole story
	Tables    Tables                           // which ones come first
	Fields    func(standard []string) []string // returns the columns of the changes; nil: the standard form
	Width     func() int                       // returns the columns of the terminal; nil: the text is not for one
	Color     bool                             // failures and resets are colored
	ASCII     bool                             // the reader's locale is not UTF-8
	// Namespaces calls a function in each network namespace that is traced, as
	// Stream.EachNamespace does: timers and names of interfaces are read there.
	// nil: there are none.
	Namespaces func(read func(proc string, inode uint32) error) error
}

// Tables says which of netstat's tables of sockets a text begins with.
type Tables uint8

// The tables.
const (
	InternetTable Tables = iota
	UnixTable
	BothTables
	NoTable
)

// Text is an output for people: netstat's own table first, then a line for each
// change.
type Text struct {
	Nop
	queue    queue
	opts     TextOptions
	style    output.StreamStyle
	lines    textLines
	resizeAt time.Time               // when the width is looked at again
	sockets  iter.Seq[*table.Socket] // initial rows that are none of TCP; nil: none came
}

// textLines are the two forms of the changes: output.StreamText, and output.ColumnText
// where columns are chosen or closes come alone.
type textLines interface {
	Header(now time.Time)
	Change(*table.Change)
	Socket(*table.SocketChange)
	Note(text string)
	Append(lines func([]byte) []byte)
	Resize(width int)
	Buffered() int
	Flush() error
}

// resizeInterval is how often the width of the terminal is looked at.
const resizeInterval = time.Second

// NewText returns a writer of text to out. Each Write has whole lines.
func NewText(out io.Writer, opts TextOptions, wall output.Clock) *Text {
	style := styleOf(&opts)
	t := &Text{queue: newQueue(out), opts: opts, style: style}
	if opts.Closes || opts.Fields != nil {
		t.lines = output.NewColumnText(out, style, columnsOf(&opts, &style), wall, time.Local)
	} else {
		t.lines = output.NewStreamText(out, style, wall, time.Local)
	}
	return t
}

// columnsOf returns the columns that the changes have.
func columnsOf(opts *TextOptions, style *output.StreamStyle) []string {
	standard := output.ChangeColumns(style)
	if opts.Closes {
		standard = output.CloseColumns(style)
	}
	if opts.Fields == nil {
		return standard
	}
	return opts.Fields(standard)
}

func styleOf(opts *TextOptions) output.StreamStyle {
	style := output.StreamStyle{
		Extend: opts.Extend, Netns: opts.Netns, Cmdline: opts.Cmdline, Color: opts.Color, ASCII: opts.ASCII,
	}
	resolver := new(names.Resolver)
	if opts.Ports {
		style.Names.Services = resolver
	}
	if opts.Users {
		style.Names.Users = resolver
	}
	if opts.Hosts {
		style.Hosts = names.NewHostNames()
	}
	if opts.Namespaces != nil {
		style.Devices = NewDevices(opts.Namespaces)
	}
	if opts.Width != nil {
		style.Width = opts.Width()
	}
	return style
}

// Start begins to write.
func (t *Text) Start(*output.Start) error {
	t.queue.start(reportLines{"changes"})
	return nil
}

// Snapshot writes the initial tables as netstat writes them, if they are asked for, and
// the header of the changes.
func (t *Text) Snapshot(rows iter.Seq[*table.Conn], _ time.Duration) error {
	if t.opts.Tables != NoTable && !t.opts.Closes {
		if err := t.tables(rows); err != nil {
			return err
		}
		t.lines.Note("")
	}
	t.sockets = nil
	t.lines.Header(time.Now())
	return t.lines.Flush()
}

// Change writes a transition, or completes its line with what its close adds.
func (t *Text) Change(c *table.Change) error {
	if c.Kind == table.ChangeOwner || !t.queue.admitChange(c) { // the next line shows an owner that was found late
		return nil
	}
	if t.opts.Closes || c.Kind == table.ChangeState { // else it must find the line that it completes
		if err := t.flushIfFull(); err != nil {
			return err
		}
	}
	t.lines.Change(c)
	return nil
}

// Idle writes what is buffered.
func (t *Text) Idle() error {
	t.resize(time.Now())
	return t.lines.Flush()
}

// resize follows the width of the terminal.
func (t *Text) resize(now time.Time) {
	if t.opts.Width == nil || now.Before(t.resizeAt) {
		return
	}
	t.resizeAt = now.Add(resizeInterval)
	t.lines.Resize(t.opts.Width())
}

// Stop writes what is buffered.
func (t *Text) Stop(*output.Totals, string) error {
	return errors.Join(t.lines.Flush(), t.queue.settle())
}

func (t *Text) flushIfFull() error {
	if t.lines.Buffered() < flushAt {
		return nil
	}
	return t.lines.Flush()
}
