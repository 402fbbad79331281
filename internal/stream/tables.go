package stream

import (
	"iter"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// tables writes the initial rows in the order of netstat's files.
func (t *Text) tables(rows iter.Seq[*table.Conn]) error {
	w := output.NewStreamTable(t.style, t.opts.Listening, t.opts.Timers)
	if t.sockets == nil {
		t.sockets = noSockets
	}
	if t.opts.Tables != UnixTable {
		t.lines.Append(w.AppendHeader)
		if err := t.connections(w, rows); err != nil {
			return err
		}
		if err := t.datagrams(w); err != nil {
			return err
		}
	}
	if t.opts.Tables == InternetTable {
		return nil
	}
	t.lines.Append(w.AppendUnixHeader)
	return t.socketRows(isUnix, w.AppendUnix)
}

// connections writes the rows of TCP.
func (t *Text) connections(w *output.StreamTable, rows iter.Seq[*table.Conn]) error {
	timers := timerRows{}
	if t.opts.Timers && t.opts.Namespaces != nil {
		timers.read(t.opts.Namespaces)
	}
	for _, ipv6 := range []bool{false, true} {
		for c := range rows {
			if c.Local.Addr().Is6() != ipv6 || !t.queue.admit(sink.Row) {
				continue
			}
			timer := timers[endpoints{c.Netns, c.Local, c.Remote}]
			t.lines.Append(func(b []byte) []byte { return w.AppendConn(b, c, timer) })
			if err := t.flushIfFull(); err != nil {
				return err
			}
		}
	}
	return nil
}

// datagrams writes the rows of the other Internet protocols.
func (t *Text) datagrams(w *output.StreamTable) error {
	for _, protocol := range []snapshot.Protocol{snapshot.UDP, snapshot.UDPLite, snapshot.Raw} {
		for _, ipv6 := range []bool{false, true} {
			is := func(s *table.Socket) bool { return s.Protocol == protocol && s.Local.Addr().Is6() == ipv6 }
			if err := t.socketRows(is, w.AppendSocket); err != nil {
				return err
			}
		}
	}
	return nil
}

func isUnix(s *table.Socket) bool { return s.Protocol == snapshot.Unix }

// socketRows writes some of the rows. One that stands in no file of /proc is none.
func (t *Text) socketRows(is func(*table.Socket) bool, line func([]byte, *table.Socket) []byte) error {
	for s := range t.sockets {
		if !s.Shown || !is(s) || !t.queue.admit(sink.Row) {
			continue
		}
		t.lines.Append(func(b []byte) []byte { return line(b, s) })
		if err := t.flushIfFull(); err != nil {
			return err
		}
	}
	return nil
}
