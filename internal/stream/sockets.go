package stream

import (
	"cmp"
	"iter"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/output/sink"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// What the stages of a run do with UDP, raw and Unix sockets stands here together: a row
// or a change of theirs goes the way of a connection's.

// chosen yields the rows that a stage wants.
func chosen(rows iter.Seq[*table.Socket], wants func(*table.Socket) bool) iter.Seq[*table.Socket] {
	return func(yield func(*table.Socket) bool) {
		for row := range rows {
			if wants(row) && !yield(row) {
				return
			}
		}
	}
}

func noSockets(func(*table.Socket) bool) {}

// isServer reports whether a socket is what netstat shows with -a and -l alone: a Unix
// socket that listens, any other without a peer.
func isServer(protocol snapshot.Protocol, h *snapshot.Head, state snapshot.State) bool {
	if protocol == snapshot.Unix {
		return state == snapshot.Listen
	}
	peer := h.Remote.Addr()
	return !peer.IsValid() || peer.IsUnspecified()
}

// wantsSocket reports whether the options ask for a row.
func (f *filter) wantsSocket(s *table.Socket) bool {
	return f.listening.Shows(isServer(s.Protocol, &s.Head, s.State))
}

// wantsChange reports whether the options ask for a change: the table shows the socket
// after it, or has shown it before.
func (f *filter) wantsChange(c *table.SocketChange) bool {
	if f.wantsSocket(c.Socket) {
		return true
	}
	return c.Old.State != 0 && f.listening.Shows(isServer(c.Socket.Protocol, &c.Old.Head, c.Old.State))
}

func (f *filter) matchesSocket(s *table.Socket) bool {
	if f.matcher == nil {
		return true
	}
	f.subject.SetRow(s)
	return f.matcher.Match(&f.subject)
}

// Sockets passes on the rows that are asked for.
func (f *filter) Sockets(rows iter.Seq[*table.Socket]) error {
	return f.Handler.Sockets(chosen(rows, func(s *table.Socket) bool { return f.wantsSocket(s) && f.matchesSocket(s) }))
}

// Socket passes on a change that is asked for.
func (f *filter) Socket(c *table.SocketChange) error {
	if !f.wantsChange(c) || !f.matchesChange(c) {
		f.dropped++
		return nil
	}
	return f.Handler.Socket(c)
}

func (f *filter) matchesChange(c *table.SocketChange) bool {
	if f.matcher == nil {
		return true
	}
	f.subject.SetSocketChange(c)
	return f.matcher.Match(&f.subject)
}

// Sockets passes on the rows that are in the sample.
func (s *sample) Sockets(rows iter.Seq[*table.Socket]) error {
	return s.Handler.Sockets(chosen(rows, func(row *table.Socket) bool { return s.has(row.ID) }))
}

// Socket passes on a change of a socket that is in the sample.
func (s *sample) Socket(c *table.SocketChange) error {
	if !s.has(c.Socket.ID) {
		s.dropped++
		return nil
	}
	return s.Handler.Socket(c)
}

// wantsSocket reports whether a change is told. A socket without connections does not
// fail.
func (e Events) wantsSocket(c *table.SocketChange) bool {
	return e == EventsAll || e == EventsClose && c.Kind == table.SocketClose
}

// Sockets passes the initial rows on, or none.
func (f *eventFilter) Sockets(rows iter.Seq[*table.Socket]) error {
	if f.noTable || f.events.Closes() {
		rows = noSockets
	}
	return f.Handler.Sockets(rows)
}

// Socket passes on a change that is asked for.
func (f *eventFilter) Socket(c *table.SocketChange) error {
	if !f.events.wantsSocket(c) {
		f.dropped++
		return nil
	}
	return f.Handler.Socket(c)
}

// Socket counts a change and passes it on. The close of such a socket has no change
// before it, and counts as one.
func (l *limit) Socket(c *table.SocketChange) error {
	if c.Kind == table.SocketClose || !l.closes && c.Kind != table.SocketSeen {
		if l.reached() {
			return errDone
		}
		l.reported++
	}
	return l.Handler.Socket(c)
}

// Sockets writes a record for each of the initial rows.
func (j *NDJSON) Sockets(rows iter.Seq[*table.Socket]) error {
	for row := range rows {
		if !j.queue.admit(sink.Row) {
			continue
		}
		j.rows++
		j.written++
		j.records.SocketRow(j.now(), row)
		if err := j.flushIfFull(); err != nil {
			return err
		}
	}
	return nil
}

// Socket writes the record of a change or a close.
func (j *NDJSON) Socket(c *table.SocketChange) error {
	if !j.queue.admit(classOfSocket(c)) {
		return nil
	}
	j.written++
	j.records.SocketChange(c)
	return j.flushIfFull()
}

func classOfSocket(c *table.SocketChange) sink.Class {
	switch c.Kind {
	case table.SocketClose:
		return sink.Close
	case table.SocketSeen:
		return sink.Row
	}
	return sink.Transition
}

// Sockets keeps the rows: netstat's table has them after those of TCP.
func (t *Text) Sockets(rows iter.Seq[*table.Socket]) error {
	t.sockets = rows
	return nil
}

// Socket writes a change.
func (t *Text) Socket(c *table.SocketChange) error {
	if c.Kind == table.SocketSeen || !t.queue.admit(classOfSocket(c)) { // the next line shows an owner that was found late
		return nil
	}
	if err := t.flushIfFull(); err != nil {
		return err
	}
	t.lines.Socket(c)
	return nil
}

// Sockets sums up the initial rows.
func (s *Summaries) Sockets(rows iter.Seq[*table.Socket]) error {
	for row := range rows {
		s.sum.AddSocket(row)
	}
	return nil
}

// Socket sums up a change.
func (s *Summaries) Socket(c *table.SocketChange) error {
	s.sum.AddSocketChange(c)
	return nil
}

// Kinds are the sockets that a run can tell of, for messages.
const Kinds = "TCP, UDP, raw or Unix sockets"

// RecordKinds returns the kinds of records that a run has; none for no protocol.
func RecordKinds(traced tracer.Protocols) (kinds []output.RecordKind) {
	if traced.Has(tracer.TCP) {
		kinds = append(kinds, output.ChangeRecords)
	}
	if traced.Others() != 0 {
		kinds = append(kinds, output.SocketChangeRecords)
	}
	return kinds
}

// TablesOf returns the tables that a text begins with.
func TablesOf(traced tracer.Protocols) Tables {
	switch {
	case !traced.Has(tracer.Unix):
		return InternetTable
	case traced == tracer.Unix:
		return UnixTable
	}
	return BothTables
}

// tracesTCP reports whether a run traces connections, as it does where nothing is said.
func tracesTCP(p tracer.Protocols) bool { return p == 0 || p.Has(tracer.TCP) }

// transports returns the protocols that a run traces, in the words of records.
func transports(traced tracer.Protocols) []string {
	traced = cmp.Or(traced, tracer.TCP)
	var words []string
	for p := snapshot.TCP; p <= snapshot.Unix; p++ {
		if traced.Has(1 << p) {
			words = append(words, p.String())
		}
	}
	return words
}
