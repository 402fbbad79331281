package tracer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

const (
	// rowBuffers is how many datagrams of sock_diag may wait to be merged, of some 300
	// sockets each.
	rowBuffers = 16
	// rowsAtOnce bounds the parts that are merged before the ring is waited for again.
	rowsAtOnce = 16
	// procRows is how many rows of /proc make a part.
	procRows = 256
	// dumpTries is how many dumps of a namespace may break off before /proc is read.
	dumpTries = 4
	// askPause is between two times that the same sockets are asked for. What the kernel
	// has taken out of its table it reports as closed within that time.
	askPause = 10 * time.Millisecond
)

// rowReader reads rows of the kernel's table, from sock_diag, or from /proc where that
// does not serve. It works in a goroutine of its own, so that the reader of the ring never
// waits for it: what it reads goes through parts, and it waits where that is full. At most
// one of its functions runs at a time.
type rowReader struct {
	scope  *scope
	family uint16                  // AF_INET or AF_INET6; 0: both
	diag   bool                    // sock_diag serves
	noDiag [snapshot.Unix + 1]bool // of other protocols than TCP it does not

	unixIter func() (whole bool, err error) // reads Unix sockets into the ring buffer; nil: sock_diag does
	dial     func() (*snapshot.Diag, error)

	kept  *snapshot.Diag // of the one namespace that is traced; nil: not opened yet, or there are more
	free  chan []byte    // buffers of datagrams; nil ones were not made yet
	parts chan rowPart
}

// rowPart is a part of what was read: rows of sock_diag, rows of /proc, or answers.
type rowPart struct {
	netns   uint32
	before  uint64 // all of it was read before
	batch   snapshot.DiagBatch
	rows    []table.Event
	answers []answered
	of      snapshot.Protocol // of the batch
	sockets []table.SocketEvent
}

// answered is the answer to a question.
type answered struct {
	question table.Question
	answer   table.Answer
}

func newRowReader(s *scope, family uint16, diag bool) *rowReader {
	r := &rowReader{
		scope: s, family: family, diag: diag, dial: snapshot.OpenDiag,
		free: make(chan []byte, rowBuffers), parts: make(chan rowPart, rowBuffers),
	}
	for range rowBuffers {
		r.free <- nil
	}
	return r
}

func (r *rowReader) close() error {
	if r.kept == nil {
		return nil
	}
	return r.kept.Close()
}

// open opens sock_diag in the namespace of the calling thread. That of the only
// namespace stays open.
func (r *rowReader) open() (*snapshot.Diag, error) {
	if r.kept != nil {
		return r.kept, nil
	}
	d, err := r.dial()
	if err != nil {
		return nil, err
	}
	d.Clock = monotonic
	if r.scope.inode != 0 {
		r.kept = d
	}
	return d, nil
}

// release closes what open has opened. One that failed is of no more use.
func (r *rowReader) release(d *snapshot.Diag, failed bool) {
	if d == r.kept && !failed {
		return
	}
	if d == r.kept {
		r.kept = nil
	}
	_ = d.Close() // nothing is written
}

// readAll reads all sockets of some protocols in all namespaces that are traced.
func (r *rowReader) readAll(protocols Protocols) scanResult {
	second := make(map[uint32]error)
	c, err := r.scope.each(func(inode uint32) error {
		if protocols.Has(TCP) {
			if err := r.readTCP(inode, second); err != nil {
				return err
			}
		}
		return r.readOthers(inode, protocols.Others())
	})
	c.second = second
	return scanResult{c, err}
}

// readTCP reads the TCP sockets of the calling thread's namespace; second gets why that
// was not from sock_diag.
func (r *rowReader) readTCP(inode uint32, second map[uint32]error) error {
	why := r.dump(inode)
	if why == nil {
		return nil
	}
	if r.diag {
		second[inode] = why
	}
	if err := r.readProc(inode); err != nil {
		return fmt.Errorf("%w; sock_diag: %w", err, why)
	}
	return nil
}

var errNoDiag = errors.New("sock_diag does not serve")

// dump reads the TCP sockets of the calling thread's namespace from sock_diag.
func (r *rowReader) dump(inode uint32) error {
	if !r.diag {
		return errNoDiag
	}
	return r.dumpAll(inode, snapshot.DiagQuery{Protocol: snapshot.TCP, Family: uint8(r.family)})
}

// dumpAll reads all sockets of a query. Where the kernel breaks a dump off, it is read
// again from the start: rows that came twice are the same sockets.
func (r *rowReader) dumpAll(inode uint32, q snapshot.DiagQuery) (err error) {
	for range dumpTries {
		if err = r.dumpOnce(inode, q); err == nil || !brokenOff(err) {
			return err
		}
	}
	return err
}

// brokenOff reports whether a dump may succeed when it is made again.
func brokenOff(err error) bool {
	return errors.Is(err, snapshot.ErrDumpInterrupted) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR)
}

func (r *rowReader) dumpOnce(inode uint32, q snapshot.DiagQuery) (err error) {
	d, err := r.open()
	if err != nil {
		return err
	}
	defer func() { r.release(d, err != nil) }()
	var unused []byte // where the dump breaks off
	buffer := func() []byte {
		unused = r.buffer()
		return unused
	}
	err = d.DumpInto(q, buffer, func(b snapshot.DiagBatch) error {
		unused = nil
		r.parts <- rowPart{netns: inode, before: b.Before, batch: b, of: q.Protocol}
		return nil
	})
	if unused != nil {
		r.free <- unused
	}
	return err
}

// buffer returns a buffer that was merged, or makes one.
func (r *rowReader) buffer() []byte {
	if b := <-r.free; b != nil {
		return b
	}
	return snapshot.NewDiagBuffer()
}

// recycle takes a part that was merged.
func (r *rowReader) recycle(p *rowPart) {
	if b := p.batch.Buffer(); b != nil {
		r.free <- b
	}
}

// readProc reads the sockets of the calling thread's namespace from /proc.
func (r *rowReader) readProc(inode uint32) error {
	proc := r.scope.proc()
	for _, ipv6 := range []bool{false, true} {
		if ipv6 && r.family == unix.AF_INET || !ipv6 && r.family == unix.AF_INET6 {
			continue
		}
		if err := r.readFile(proc, inode, ipv6); err != nil && !ipv6 { // else a kernel without IPv6
			return err
		}
	}
	return nil
}

func (r *rowReader) readFile(proc string, inode uint32, ipv6 bool) error {
	after := monotonic()
	rows, err := procSockets(proc, ipv6)
	if err != nil {
		return err
	}
	part := rowPart{netns: inode}
	flush := func() {
		part.before = monotonic()
		for i := range part.rows {
			part.rows[i].After, part.rows[i].Time = after, part.before
		}
		r.parts <- part
		part.rows = nil
	}
	for s, err := range rows {
		if err != nil {
			continue // not a row
		}
		part.rows = append(part.rows, procRow(&s, inode))
		if len(part.rows) == procRows {
			flush()
		}
	}
	flush()
	return nil
}

// ask asks for sockets one by one.
func (r *rowReader) ask(questions []table.Question, pause time.Duration) scanResult {
	time.Sleep(pause)
	of := make(map[uint32][]table.Question)
	for _, q := range questions {
		of[q.Netns] = append(of[q.Netns], q)
	}
	_, err := r.scope.each(func(inode uint32) error {
		r.askIn(of[inode])
		delete(of, inode)
		return nil
	})
	for inode, rest := range of { // of namespaces that are not found any more
		r.parts <- unknown(inode, rest)
	}
	return scanResult{err: err}
}

// unknown returns that questions cannot be answered.
func unknown(inode uint32, questions []table.Question) rowPart {
	part := rowPart{netns: inode}
	for _, q := range questions {
		part.answers = append(part.answers, answered{question: q})
	}
	return part
}

// askIn asks in the namespace of the calling thread.
func (r *rowReader) askIn(questions []table.Question) {
	for len(questions) > 0 {
		n := min(len(questions), procRows)
		r.parts <- r.answersTo(questions[:n])
		questions = questions[n:]
	}
}

func (r *rowReader) answersTo(questions []table.Question) rowPart {
	inode := questions[0].Netns
	if !r.diag {
		return unknown(inode, questions)
	}
	d, err := r.open()
	if err != nil {
		return unknown(inode, questions)
	}
	part := rowPart{netns: inode}
	for i, q := range questions {
		a, err := answerTo(d, &q)
		if err != nil {
			r.release(d, true)
			part.answers = append(part.answers, unknown(inode, questions[i:]).answers...)
			return part
		}
		part.before = a.Time
		part.answers = append(part.answers, answered{q, a})
	}
	r.release(d, false)
	return part
}

func answerTo(d *snapshot.Diag, q *table.Question) (table.Answer, error) {
	a := table.Answer{Known: true, After: monotonic()}
	row, ok, err := d.Find(snapshot.TCP, snapshot.NewDiagRow(&q.Head))
	a.Time = monotonic()
	if ok {
		a.Row = new(table.Event)
		diagRow(a.Row, row, q.Netns, a.After, a.Time)
	}
	return a, err
}

// diagRow makes an event of a row of sock_diag.
func diagRow(e *table.Event, row snapshot.DiagRow, netns uint32, after, before uint64) {
	s := row.Socket(snapshot.TCP)
	*e = table.Event{
		Kind: table.EventRow, New: s.State, Mini: row.Mini(), After: after, Time: before, Netns: netns,
		Cookie: s.Cookie, Local: s.Local, Remote: s.Remote, Device: s.Device, Inode: uint32(s.Inode),
		RecvQ: uint32(s.RecvQ), SendQ: uint32(s.SendQ),
	}
	if !e.Mini {
		e.CgroupID = row.CgroupID()
		e.UID, e.HasUID = s.UID, hasUser(&s)
	}
}

// hasUser reports whether the user of a row is known. A socket without a file has the
// user 0 (sock_i_uid, up to Linux 6.12), a timewait socket always.
func hasUser(s *snapshot.Socket) bool { return s.UID != 0 || s.Inode != 0 }

// procRow makes an event of a row of /proc. Only its timer tells a timewait socket from a
// full one (get_timewait4_sock, net/ipv4/tcp_ipv4.c); a request socket has no file, as a
// child that nobody has accepted.
func procRow(s *snapshot.Socket, netns uint32) table.Event {
	const timewait = 3
	return table.Event{
		Kind: table.EventRow, Netns: netns, New: s.State,
		Mini:  s.Timer == timewait || s.State == snapshot.SynRecv && s.Inode == 0,
		Local: s.Local, Remote: s.Remote, Device: s.Device, Inode: uint32(s.Inode),
		UID: s.UID, HasUID: hasUser(s),
		RecvQ: uint32(s.RecvQ), SendQ: uint32(s.SendQ),
	}
}

// ofMachine reports whether a proc root is that of this machine, and not the files of a test.
func ofMachine(proc string) bool { return strings.HasPrefix(proc+"/", "/proc/") }
