package tracer

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestProcRow reads what a row of /proc says of a socket, and what it does not.
func TestProcRow(t *testing.T) {
	local, remote := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("10.0.0.2:4000")
	for _, c := range []struct {
		name string
		s    snapshot.Socket
		want table.Event
	}{
		{
			"connection",
			snapshot.Socket{Head: snapshot.Head{State: snapshot.Established, UID: 5, Inode: 9, RecvQ: 1, SendQ: 2}},
			table.Event{New: snapshot.Established, UID: 5, HasUID: true, Inode: 9, RecvQ: 1, SendQ: 2},
		},
		{
			"root's",
			snapshot.Socket{Head: snapshot.Head{State: snapshot.Listen, Inode: 9}},
			table.Event{New: snapshot.Listen, HasUID: true, Inode: 9},
		},
		{
			"orphan",
			snapshot.Socket{Head: snapshot.Head{State: snapshot.FinWait2}, Timer: 2},
			table.Event{New: snapshot.FinWait2},
		},
		{
			"timewait socket",
			snapshot.Socket{Head: snapshot.Head{State: snapshot.FinWait2}, Timer: 3},
			table.Event{New: snapshot.FinWait2, Mini: true},
		},
		{
			"request",
			snapshot.Socket{Head: snapshot.Head{State: snapshot.SynRecv, UID: 5}, Timer: 1},
			table.Event{New: snapshot.SynRecv, Mini: true, UID: 5, HasUID: true},
		},
	} {
		c.s.Local, c.s.Remote = local, remote
		c.want.Kind, c.want.Netns, c.want.Local, c.want.Remote = table.EventRow, 7, local, remote
		got := procRow(&c.s, 7)
		if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestScanFromProc has no sock_diag: scans read /proc, and find nothing that the events did
// not tell.
func TestScanFromProc(t *testing.T) {
	network := testnet.New(t)
	kinds := []string{"tp_btf", "fentry", "fexit", "sockops", "cgroup", "syscall"}
	w := startWatch(t, Options{NetnsPath: network, Hooks: kinds, Reconcile: -1})
	p := churn(t, network, 31, 300*time.Millisecond)
	w.resync() // amid it
	if err := p.Done(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		time.Sleep(100 * time.Millisecond)
		w.resync()
	}
	if w.compare(network) == 0 {
		t.Error("nothing was compared")
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	w.stop()
	if len(w.mended) > 0 && inMachine {
		t.Errorf("scans found what no event had reported: %+v, %q", w.mended, w.scanned)
	}
}

// TestDiagRefusedLater has sock_diag stop to serve during a run: it is asked as often as
// the error may pass, the sockets come from /proc, and that is said once.
func TestDiagRefusedLater(t *testing.T) {
	for _, c := range []struct {
		err  error
		asks int // in one scan
	}{{unix.EPERM, 1}, {unix.ENOBUFS, dumpTries}, {snapshot.ErrDumpInterrupted, dumpTries}} {
		network := testnet.New(t)
		sockets := live(t, network)
		w := newWatch(t, Options{NetnsPath: network, Reconcile: -1})
		asks := 0
		w.tracer.scan.rows.dial = func() (*snapshot.Diag, error) {
			asks++
			return nil, c.err
		}
		w.run()
		w.table()
		first := asks
		for range 2 {
			if r := w.resync(); r.Found() {
				t.Errorf("%v: a scan found %+v", c.err, r)
			}
		}
		w.stop()
		sockets.check(t, w, w.tracer.Netns())
		said := 0
		for _, what := range w.inexact {
			if strings.Contains(what, Rows.Inexact()) && strings.Contains(what, c.err.Error()) {
				said++
			}
		}
		if said != 1 || first%c.asks != 0 || first == 0 {
			t.Errorf("%v: asked %d times for the first scans, said %q", c.err, first, w.inexact)
		}
	}
}

var tcpQuery = snapshot.DiagQuery{Protocol: snapshot.TCP}

// TestRowBuffers has dumps fail and be merged in turn: no buffer is lost on the way.
func TestRowBuffers(t *testing.T) {
	r := newRowReader(&scope{inode: 1}, 0, true)
	r.dial = func() (*snapshot.Diag, error) { return nil, errors.New("refused") }
	for range 2 * rowBuffers {
		if err := r.dumpOnce(1, tcpQuery); err == nil {
			t.Fatal("a dump without sock_diag")
		}
	}
	r.dial = snapshot.OpenDiag
	for range 2 * rowBuffers {
		done := make(chan error, 1)
		go func() { done <- r.dumpOnce(1, tcpQuery) }()
		for ended := false; !ended; {
			select {
			case part := <-r.parts:
				r.recycle(&part)
			case err := <-done:
				if ended = true; err != nil {
					t.Skip("sock_diag does not serve here: ", err)
				}
			}
		}
	}
	for len(r.parts) > 0 {
		part := <-r.parts
		r.recycle(&part)
	}
	if len(r.free) != rowBuffers {
		t.Errorf("%d buffers are left of %d", len(r.free), rowBuffers)
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
}

// TestUnanswered asks where sock_diag does not serve: no answer is made up.
func TestUnanswered(t *testing.T) {
	r := newRowReader(&scope{inode: 1}, 0, true)
	r.dial = func() (*snapshot.Diag, error) { return nil, unix.EMFILE }
	questions := make([]table.Question, procRows+1)
	for i := range questions {
		questions[i].Netns = 1
	}
	r.ask(questions, 0)
	r.ask([]table.Question{{Head: snapshot.Head{Netns: 2}}}, 0) // of a namespace that is not traced
	answers := 0
	for len(r.parts) > 0 {
		for _, a := range (<-r.parts).answers {
			if answers++; a.answer.Known {
				t.Errorf("answered: %+v", a)
			}
		}
	}
	if answers != len(questions)+1 {
		t.Errorf("%d answers", answers)
	}
}
