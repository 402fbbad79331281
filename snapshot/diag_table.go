package snapshot

import (
	"errors"
	"iter"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// DiagTable are the sockets of a protocol as ReadSockets yields them, read from
// sock_diag. What sock_diag lacks is taken from /proc, socket by socket, but for
// timers: a DiagTable has none.
//
// The rows are in the order of /proc, since the kernel walks the same tables from
// the same end for both: net/ipv4/inet_diag.c, inet_diag_dump_icsk, and
// net/ipv4/tcp_ipv4.c, tcp_seq_next: first the listeners, then the hash of
// connections, which has request sockets and TIME_WAIT in its buckets too;
// net/ipv4/udp_diag.c, udp_dump, and net/ipv4/udp.c, udp_get_idx; and
// net/ipv4/raw_diag.c and raw.c (5.10, 5.19 to 7.2). ListenersInOrder
// has the exception.
//
// A goroutine reads on while the rows that came are used. batches, free and stopped are
// what both have; err is the goroutine's until batches is closed. The rest is the
// caller's.
type DiagTable struct {
	opts DiagOptions

	batches chan DiagBatch
	free    chan []byte // buffers to be filled again
	stopped chan struct{}
	stop    func()
	err     error // of the dump

	kept   []DiagBatch     // batches that have rows of the family to be read next
	shown  []shownSocket   // all rows that were yielded
	skip   map[uint64]bool // cookies of those that an earlier dump had, where one broke off
	broken int             // dumps that broke off

	inProc procRows // that sock_diag lacks something of
}

// DiagOptions say what a DiagTable shows.
type DiagOptions struct {
	Protocol Protocol
	// Family is AF_INET, AF_INET6, or AF_UNSPEC for both, of TCP alone.
	Family uint8
	// Users means that the UIDs are needed.
	Users bool
	// Proc is the proc root that has what sock_diag lacks.
	Proc string

	open func() (*Diag, error) // nil means OpenDiag
}

// diagAhead is how many batches may wait to be used: those of some 100,000 sockets,
// which are read while their owners are.
const diagAhead = 512

// diagTries is how many dumps may break off.
const diagTries = 4

// ErrUnread says that a table could not be read to its end.
var ErrUnread = errors.New("not all sockets could be read")

// LoadDiag begins to read the sockets of the calling thread's network namespace.
// Sockets yields them. It returns an error if sock_diag does not serve, for example
// ENOENT where the kernel lacks the module.
func LoadDiag(opts DiagOptions) (*DiagTable, error) {
	if opts.open == nil {
		opts.open = OpenDiag
	}
	t := &DiagTable{opts: opts}
	if err := t.begin(); err != nil {
		return nil, err
	}
	return t, nil
}

// partsAtOnce is how many parts are read before a goroutine reads on: the rows of few
// sockets, and the end. To wake another thread for them takes longer than they do.
const partsAtOnce = 2

// begin starts a dump and reads its first rows.
func (t *DiagTable) begin() error {
	d, err := t.opts.open()
	if err != nil {
		return err
	}
	p, err := d.start(DiagQuery{Protocol: t.opts.Protocol, Family: t.opts.Family}.dumpRequest())
	for range partsAtOnce {
		if err != nil || p.over {
			break
		}
		var b DiagBatch
		if b, err = p.next(NewDiagBuffer()); err == nil && len(b.messages) > 0 {
			t.kept = append(t.kept, b)
		}
	}
	if err == nil && !p.over {
		t.readOn(p)
		return nil
	}
	t.batches, t.stop, t.err = make(chan DiagBatch), func() {}, err
	close(t.batches)
	_ = d.Close() // nothing is written
	if len(t.kept) > 0 {
		return nil // Sockets goes on after what came
	}
	return err
}

// readOn has a goroutine read the rest of a dump.
func (t *DiagTable) readOn(p *dump) {
	t.batches = make(chan DiagBatch, diagAhead)
	t.free = make(chan []byte, diagAhead)
	t.stopped = make(chan struct{})
	t.stop = sync.OnceFunc(func() { close(t.stopped) })
	go t.read(p)
}

var errStopped = errors.New("no more rows are wanted")

// read hands the rest of a dump over and closes the Diag.
func (t *DiagTable) read(p *dump) {
	defer close(t.batches)
	defer func() { _ = p.d.Close() }() // nothing is written
	t.err = nil
	for t.err == nil && !p.over {
		var b DiagBatch
		if b, t.err = p.next(t.buffer()); t.err == nil && len(b.messages) > 0 {
			t.err = t.hand(b)
		}
	}
}

func (t *DiagTable) hand(b DiagBatch) error {
	select {
	case t.batches <- b:
		return nil
	case <-t.stopped:
		return errStopped
	}
}

// Close ends the reading of a table whose sockets are not gone over.
func (t *DiagTable) Close() { t.stop() }

// buffer returns one that was used before, or a new one.
func (t *DiagTable) buffer() []byte {
	select {
	case b := <-t.free:
		return b
	default:
		return NewDiagBuffer()
	}
}

// Sockets yields the sockets of one family. Where both were asked for, it has to be
// called for IPv4 first, and those gone over to their end.
//
// Where a dump breaks off, the sockets that were not yielded before come from the
// next one, and where that happens again and again, from /proc. An error is ErrUnread
// and comes last.
func (t *DiagTable) Sockets(ipv6 bool) iter.Seq2[Socket, error] {
	return func(yield func(Socket, error) bool) {
		for {
			for b := range t.all {
				if !t.yieldRows(b, ipv6, yield) {
					t.stop()
					return
				}
			}
			if t.err == nil {
				return
			}
			if err := t.restart(); err != nil {
				t.fromProc(ipv6, err, yield)
				return
			}
		}
	}
}

// restart begins a dump after one that broke off.
func (t *DiagTable) restart() error {
	t.skip = make(map[uint64]bool, len(t.shown))
	for _, s := range t.shown {
		t.skip[s.cookie] = true
	}
	for {
		if t.broken++; t.broken >= diagTries {
			return t.err
		}
		t.kept = nil
		if t.begin() == nil {
			return nil
		}
	}
}

// all yields the batches that were kept, and then those that come. Of these it keeps
// what has rows of another family than the one that is read.
func (t *DiagTable) all(yield func(DiagBatch) bool) {
	kept := t.kept
	for _, b := range kept {
		if !yield(b) {
			return
		}
	}
	for b := range t.batches {
		if !yield(b) {
			return
		}
		if t.opts.Family == unix.AF_UNSPEC && b.anyIPv6() {
			t.kept = append(t.kept, b)
		} else {
			t.recycle(b)
		}
	}
}

// recycle returns the buffer of a batch to the goroutine that reads.
func (t *DiagTable) recycle(b DiagBatch) {
	select {
	case t.free <- b.Buffer():
	default:
	}
}

// anyIPv6 reports whether there is a row of IPv6.
func (b DiagBatch) anyIPv6() bool {
	for row := range b.Rows {
		if row.IPv6() {
			return true
		}
	}
	return false
}

// yieldRows yields the sockets of one family in a batch.
func (t *DiagTable) yieldRows(b DiagBatch, ipv6 bool, yield func(Socket, error) bool) bool {
	for row := range b.Rows {
		if row.IPv6() != ipv6 || t.skip[row.Cookie()] {
			continue
		}
		s := row.Socket(t.opts.Protocol)
		if t.lacks(&s) && !t.complete(row, &s) {
			continue
		}
		t.shown = append(t.shown, shownSocket{s.Cookie, row.place()})
		if !yield(s, nil) {
			return false
		}
	}
	return true
}

// ListenersInOrder reports whether the running kernel lists listeners in the same
// order in /proc and in sock_diag. From 5.15 to 5.18 /proc walked the hash of
// addresses and ports (05c0b35709c5) and sock_diag still that of ports
// (cae3873c5b3a); Enterprise Linux has parts of it in its 5.14.
func ListenersInOrder() bool {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false
	}
	return !ordersDiffer(unix.ByteSliceToString(name.Release[:]))
}

// ordersDiffer reports whether a release is one of those.
func ordersDiffer(release string) bool {
	minor, ok := strings.CutPrefix(release, "5.")
	if !ok {
		return false
	}
	minor, _, _ = strings.Cut(minor, ".")
	n, err := strconv.Atoi(minor)
	return err == nil && n >= 14 && n <= 18
}
