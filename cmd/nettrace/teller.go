package main

import (
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// teller gives the form in which the options want sockets told.
func (s *session) teller() socketTeller {
	if s.json != nil {
		return &recordTeller{json: s.json}
	}
	o := s.opts
	return &textTeller{out: s.env.stdout, text: output.SocketText{
		Names:       s.names,
		Extend:      o.extend > 0,
		Programs:    o.programs,
		Context:     o.context,
		Timers:      o.timers,
		Wide:        o.wide,
		NumericSCTP: o.numericHosts || o.numericPorts || o.numericUsers || o.symbolic,
	}}
}

// newRecords gives the writer of records for one run. polled says that the
// changes it tells come from polling.
func newRecords(e *env, o *options, names *output.Resolver, polled bool) *output.NDJSON {
	host := o.hostName
	if host == "" {
		host, _ = os.Hostname() // without a name the key is empty
	}
	return output.NewNDJSON(e.stdout, output.NDJSONOptions{
		Host: host, RunID: rand.Uint64(), Poll: polled, Cmdline: o.programs, UserName: names.User,
	})
}

// textTeller tells sockets as netstat does.
type textTeller struct {
	out  io.Writer
	text output.SocketText
	row  []byte // buffer, used again for each row
}

func (t *textTeller) write(row []byte) {
	t.row = row[:0]
	_, _ = t.out.Write(row)
}

func (t *textTeller) owners(o *snapshot.Owners) { t.text.Owners = o }

func (t *textTeller) internetTitle(l output.Listening) {
	t.write(t.text.AppendInternetHeader(t.row, l))
}

func (t *textTeller) unixTitle(l output.Listening) { t.write(t.text.AppendUnixHeader(t.row, l)) }

func (t *textTeller) socket(s *snapshot.Socket) { t.write(t.text.AppendSocket(t.row, s)) }

func (t *textTeller) sctpEndpoint(e *snapshot.SCTPEndpoint) {
	t.write(t.text.AppendSCTPEndpoint(t.row, e))
}

func (t *textTeller) sctpAssociation(a *snapshot.SCTPAssociation) {
	t.write(t.text.AppendSCTPAssociation(t.row, a))
}

func (t *textTeller) unixSocket(u *snapshot.UnixSocket) { t.write(t.text.AppendUnix(t.row, u)) }

// recordTeller tells sockets as records. Titles are for tables.
type recordTeller struct {
	json *output.NDJSON
	held *snapshot.Owners
}

func (t *recordTeller) owners(o *snapshot.Owners) { t.held = o }

func (t *recordTeller) internetTitle(output.Listening) {}

func (t *recordTeller) unixTitle(output.Listening) {}

func (t *recordTeller) socket(s *snapshot.Socket) {
	t.json.Socket(time.Now(), s, t.held)
	t.flushIfFull()
}

func (t *recordTeller) sctpEndpoint(e *snapshot.SCTPEndpoint) {
	t.json.SCTPEndpoint(time.Now(), e, t.held)
	t.flushIfFull()
}

func (t *recordTeller) sctpAssociation(a *snapshot.SCTPAssociation) {
	t.json.SCTPAssociation(time.Now(), a, t.held)
	t.flushIfFull()
}

func (t *recordTeller) unixSocket(u *snapshot.UnixSocket) {
	t.json.Unix(time.Now(), u, t.held)
	t.flushIfFull()
}

// flushIfFull keeps the buffer from growing with the table.
func (t *recordTeller) flushIfFull() {
	if t.json.Buffered() >= flushAt {
		_ = t.json.Flush()
	}
}
