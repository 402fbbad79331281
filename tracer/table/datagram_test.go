package table

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/snapshot"
)

// socketScript feeds a table of sockets and keeps what it told, a line each.
type socketScript struct {
	*Sockets
	told []string
	now  uint64
}

func always(snapshot.Protocol) bool { return true }
func never(snapshot.Protocol) bool  { return false }

func newSocketScript(cfg SocketConfig) *socketScript {
	s := new(socketScript)
	procs := NewProcesses(10, func(*snapshot.Process, uint64) {}, func(uint32) {})
	for task := range uint32(3) {
		procs.set(&Event{Task: task + 1, Exec: true, Process: &snapshot.Process{PID: int(100 + task), Comm: "p"}})
	}
	s.Sockets = NewSockets(cfg, procs, func(c *SocketChange) {
		pid := 0
		if c.Socket.Owner.Process != nil {
			pid = c.Socket.Owner.Process.PID
		}
		line := fmt.Sprintf("%v %v>%v pid %d", c.Kind, c.Socket.Local, c.Socket.Remote, pid)
		if c.Source != SocketTold {
			line += " " + c.Source.String()
		}
		if c.Closed != nil {
			line += fmt.Sprintf(" %v after %d", c.Closed.Reason, c.Closed.Duration)
		}
		s.told = append(s.told, line)
	})
	return s
}

// event is one of socket n, in order of time. The row is "local>remote", "-" for none.
func (s *socketScript) event(n uint64, kind SocketChangeKind, local, remote string) *SocketEvent {
	s.now += 10
	e := &SocketEvent{
		Kind: kind, Protocol: snapshot.UDP, Type: syscall.SOCK_DGRAM, State: snapshot.Close, Time: s.now,
		Sock: 1<<63 + n, Cookie: n, Netns: 1, Task: 1, Inode: uint32(n),
		Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote),
	}
	if e.Remote.Port() != 0 {
		e.State = snapshot.Established
	}
	e.Shown = e.Local.Port() != 0
	return e
}

func (s *socketScript) call(n uint64, kind SocketChangeKind, local, remote string) {
	s.Apply(s.event(n, kind, local, remote))
}

// row is one of a pass that has read it after a time.
func (s *socketScript) row(n, after uint64, local, remote string) {
	e := s.event(n, SocketSeen, local, remote)
	e.After, e.Sock, e.Task = after, 0, 0
	s.Apply(e)
}

func everywhere(uint32) bool { return true }

func (s *socketScript) pass(mends bool, rows func(start uint64)) (Resync, bool) {
	s.now += 10
	s.BeginPass(s.now, always, false, mends)
	rows(s.now)
	s.now += 10
	return s.EndPass(s.now, everywhere)
}

func (s *socketScript) check(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.told); diff != "" {
		t.Errorf("(-want +told):\n%s", diff)
	}
	s.told = nil
}

// exactly says that hooks tell everything.
var exactly = SocketConfig{Closes: always, Polled: never}

const (
	unbound = "0.0.0.0:0"
	none    = "0.0.0.0:0"
	bound   = "0.0.0.0:5000"
	local   = "127.0.0.1:5000"
	dns     = "127.0.0.1:53"
)

// TestDatagramLife tells the life of a socket once, though two of its records come twice.
func TestDatagramLife(t *testing.T) {
	s := newSocketScript(exactly)
	for range 2 {
		s.call(1, SocketOpen, unbound, none)
	}
	s.call(1, SocketBind, bound, none)
	for range 2 {
		s.call(1, SocketConnect, local, dns)
	}
	s.call(1, SocketConnect, local, "127.0.0.1:54")
	s.call(1, SocketDisconnect, bound, none)
	s.call(1, SocketSeen, bound, none) // a connect that failed
	s.call(1, SocketClose, bound, none)
	s.call(1, SocketClose, bound, none)
	s.check(t,
		"open 0.0.0.0:0>0.0.0.0:0 pid 100", "bind 0.0.0.0:5000>0.0.0.0:0 pid 100", "connect 127.0.0.1:5000>127.0.0.1:53 pid 100",
		"connect 127.0.0.1:5000>127.0.0.1:54 pid 100", "disconnect 0.0.0.0:5000>0.0.0.0:0 pid 100",
		"close 0.0.0.0:5000>0.0.0.0:0 pid 100 close after 80")
	if n := s.Stats().Open; n != 0 {
		t.Errorf("%d sockets are left", n)
	}
}

// TestDatagramUnbound follows a socket that loses its port, and gets another one.
func TestDatagramUnbound(t *testing.T) {
	s := newSocketScript(exactly)
	s.call(1, SocketConnect, local, dns)
	s.call(1, SocketDisconnect, unbound, none)
	for socket := range s.All {
		if socket.Shown {
			t.Error("it is in /proc without a port")
		}
	}
	s.call(1, SocketConnect, "127.0.0.1:5001", dns)
	s.check(t, "connect 127.0.0.1:5000>127.0.0.1:53 pid 100", "disconnect 0.0.0.0:0>0.0.0.0:0 pid 100",
		"connect 127.0.0.1:5001>127.0.0.1:53 pid 100")
}

// TestDatagramReason says who closed a socket, and why.
func TestDatagramReason(t *testing.T) {
	s := newSocketScript(exactly)
	for n, set := range []func(*SocketEvent){
		func(*SocketEvent) {},
		func(e *SocketEvent) { e.Exiting = true },
		func(e *SocketEvent) { e.Kernel, e.Task = true, 0 },
		func(e *SocketEvent) { e.Task = 0 },
	} {
		s.call(uint64(n+1), SocketBind, bound, none)
		e := s.event(uint64(n+1), SocketClose, bound, none)
		set(e)
		s.Apply(e)
	}
	var reasons []string
	for _, line := range s.told {
		if line[:5] == "close" {
			reasons = append(reasons, line[len("close 0.0.0.0:5000>0.0.0.0:0 pid 100 "):])
		}
	}
	want := []string{"close after 10", "exit after 10", "kernel after 10", "unknown after 10"}
	if !slices.Equal(reasons, want) {
		t.Errorf("told %q, want %q", reasons, want)
	}
}

// TestDatagramFamily follows a socket from one file of /proc to the other, and out of the
// table where only the first one is traced.
func TestDatagramFamily(t *testing.T) {
	const mapped, mappedDNS = "[::ffff:127.0.0.1]:5000", "[::ffff:127.0.0.1]:53"
	for _, family := range []uint16{0, syscall.AF_INET6} {
		cfg := exactly
		cfg.Family = family
		s := newSocketScript(cfg)
		s.call(1, SocketConnect, mapped, mappedDNS)
		s.call(1, SocketFamily, local, dns)
		s.check(t, "connect [::ffff:127.0.0.1]:5000>[::ffff:127.0.0.1]:53 pid 100", "family 127.0.0.1:5000>127.0.0.1:53 pid 100")
		if left := s.Stats().Open; (left == 1) != (family == 0) {
			t.Errorf("family %d: %d sockets are left", family, left)
		}
	}
}

// TestDatagramAddress tells sockets apart that have no cookie and one address after the
// other, also where the end of the first one was not told.
func TestDatagramAddress(t *testing.T) {
	s := newSocketScript(exactly)
	for port := range 2 {
		open := s.event(1, SocketOpen, unbound, none)
		bind := s.event(1, SocketBind, fmt.Sprintf("0.0.0.0:%d", 1+port), none)
		open.Cookie, bind.Cookie = 0, 0
		open.Inode += uint32(port)
		bind.Inode += uint32(port)
		s.Apply(open)
		s.Apply(bind)
	}
	s.check(t, "open 0.0.0.0:0>0.0.0.0:0 pid 100", "bind 0.0.0.0:1>0.0.0.0:0 pid 100",
		"close 0.0.0.0:1>0.0.0.0:0 pid 100 inferred unknown after 20",
		"open 0.0.0.0:0>0.0.0.0:0 pid 100", "bind 0.0.0.0:2>0.0.0.0:0 pid 100")
	got := s.event(1, SocketConnect, local, dns) // it has a cookie by now
	s.Apply(got)
	gone := s.event(1, SocketClose, local, dns)
	gone.Sock = 0 // and is known by that
	s.Apply(gone)
	s.check(t, "connect 127.0.0.1:5000>127.0.0.1:53 pid 100", "close 127.0.0.1:5000>127.0.0.1:53 pid 100 close after 30")
}

// TestDatagramTombstone has a pass bring the row of a socket that is gone, and rows that
// are older than events.
func TestDatagramTombstone(t *testing.T) {
	s := newSocketScript(exactly)
	found, _ := s.pass(false, func(start uint64) {
		s.call(1, SocketBind, bound, none)
		s.call(2, SocketBind, bound, none)
		s.call(1, SocketClose, bound, none)
		s.row(1, start, bound, none)
		s.call(2, SocketConnect, local, dns)
		s.row(2, start, bound, none)
	})
	s.check(t, "bind 0.0.0.0:5000>0.0.0.0:0 pid 100", "bind 0.0.0.0:5000>0.0.0.0:0 pid 100",
		"close 0.0.0.0:5000>0.0.0.0:0 pid 100 close after 20", "connect 127.0.0.1:5000>127.0.0.1:53 pid 100")
	if found.Found() || s.Stats().Open != 1 {
		t.Errorf("found %+v, %d sockets are left", found, s.Stats().Open)
	}
}

// TestDatagramInitial hands the initial table over: what was there, as it is now, and of
// what was opened since the changes.
func TestDatagramInitial(t *testing.T) {
	s := newSocketScript(exactly)
	s.BeginPass(5, always, true, false)
	s.row(1, 5, bound, none)
	s.row(2, 5, bound, none)
	s.call(2, SocketClose, bound, none)      // never told
	s.call(1, SocketConnect, local, dns)     // listed so
	s.call(3, SocketOpen, unbound, none)     // told
	s.call(4, SocketBind, "0.0.0.0:9", none) // listed: it was opened before
	s.EndPass(s.now+1, everywhere)
	s.CompleteInitial()
	var listed []string
	for row := range s.InitialRows {
		listed = append(listed, fmt.Sprint(row.Local, ">", row.Remote))
	}
	if want := []string{"127.0.0.1:5000>127.0.0.1:53", "0.0.0.0:9>0.0.0.0:0"}; !slices.Equal(listed, want) {
		t.Errorf("listed %q, want %q", listed, want)
	}
	s.EndInitial()
	s.call(4, SocketClose, "0.0.0.0:9", none)
	s.check(t, "open 0.0.0.0:0>0.0.0.0:0 pid 100", "close 0.0.0.0:9>0.0.0.0:0 pid 100 close after 10")
	if got := s.Stats(); got.Before != 3 || got.Opened != 1 || got.Closed != 2 || got.Open != 2 {
		t.Errorf("counted %+v", got)
	}
}

// TestDatagramPolled finds by passes what no hook has told.
func TestDatagramPolled(t *testing.T) {
	s := newSocketScript(SocketConfig{Closes: always, Polled: always})
	s.call(1, SocketOpen, unbound, none)
	s.pass(false, func(start uint64) { s.row(1, start, local, dns) })
	s.pass(false, func(start uint64) { s.row(1, start, local, "127.0.0.1:54") })
	for range 2 { // one pass may miss a row that moves
		s.pass(false, func(uint64) {})
	}
	s.pass(false, func(start uint64) { s.row(2, start, bound, none) }) // the kernel's own: no event tells its address
	for range 2 {
		s.pass(false, func(uint64) {})
	}
	s.call(1, SocketClose, unbound, none)
	s.check(t, "open 0.0.0.0:0>0.0.0.0:0 pid 100",
		"connect 127.0.0.1:5000>127.0.0.1:53 pid 100 poll", "connect 127.0.0.1:5000>127.0.0.1:54 pid 100 poll",
		"disconnect 127.0.0.1:0>127.0.0.1:0 pid 100 poll", "bind 0.0.0.0:5000>0.0.0.0:0 pid 0 poll",
		"close 0.0.0.0:5000>0.0.0.0:0 pid 0 poll unknown after 50", "close 0.0.0.0:0>0.0.0.0:0 pid 100 close after 180")
}

// TestDatagramMends compares the table with the kernel's after a loss.
func TestDatagramMends(t *testing.T) {
	s := newSocketScript(exactly)
	for n := range uint64(3) {
		s.call(n+1, SocketBind, bound, none)
	}
	s.told = nil
	again := true
	passes := 0
	var removed int
	for ; again; passes++ {
		var found Resync
		found, again = s.pass(true, func(start uint64) {
			s.row(1, start, bound, none)
			s.row(2, start, local, dns)
		})
		removed += found.Removed
	}
	s.check(t, "connect 127.0.0.1:5000>127.0.0.1:53 pid 100 inferred", "close 0.0.0.0:5000>0.0.0.0:0 pid 100 inferred unknown after 80")
	if passes != 2 || removed != 1 {
		t.Errorf("%d passes, %d removed", passes, removed)
	}
}

// TestDatagramUnvisited leaves the sockets of a namespace alone that was not read.
func TestDatagramUnvisited(t *testing.T) {
	s := newSocketScript(exactly)
	s.call(1, SocketBind, bound, none)
	for range 3 {
		s.BeginPass(s.now+1, always, false, true)
		s.EndPass(s.now+2, func(uint32) bool { return false })
	}
	if s.Stats().Open != 1 {
		t.Error("it is gone")
	}
}

// TestDatagramIntent attributes a connect that was told before it was made to the process
// that made it, once the row shows it; and asks for the row until the socket is gone.
func TestDatagramIntent(t *testing.T) {
	s := newSocketScript(SocketConfig{Closes: always, Polled: always})
	for n := range uint64(2) {
		s.call(n+1, SocketOpen, unbound, none)
		e := s.event(n+1, SocketConnect, unbound, none)
		e.Intent, e.Task = true, 2
		s.Apply(e)
	}
	s.call(1, SocketSeen, local, dns)
	s.call(2, SocketClose, local, dns) // undone before anybody looked
	s.check(t, "open 0.0.0.0:0>0.0.0.0:0 pid 100", "open 0.0.0.0:0>0.0.0.0:0 pid 100",
		"connect 127.0.0.1:5000>127.0.0.1:53 pid 101 poll", "connect 127.0.0.1:5000>127.0.0.1:53 pid 101 inferred",
		"close 127.0.0.1:5000>127.0.0.1:53 pid 101 close after 30")
	looks := 0
	for due := s.NextLook(); due != Never; due = s.NextLook() {
		s.Looks(due, 10, func(sock, cookie uint64) {
			if sock != 1<<63+1 || cookie != 1 {
				t.Errorf("asks for %x, %d", sock, cookie)
			}
			looks++
		})
	}
	if looks != lookTimes {
		t.Errorf("%d looks", looks)
	}
}

// TestSocketIndex wants every row in its indexes, and nothing else, whatever comes.
func TestSocketIndex(t *testing.T) {
	s := newSocketScript(exactly)
	for n := range uint64(200) {
		kinds := []SocketChangeKind{SocketOpen, SocketBind, SocketClose, SocketSeen}
		e := s.event(1+n%7, kinds[n*n%4], bound, none)
		if n%3 == 0 {
			e.Cookie = 0
		}
		if n%5 == 0 {
			e.Cookie += 100 // a later one at that address
		}
		s.Apply(e)
		for r := range s.index.rows {
			if r.dead || r.Cookie != 0 && s.index.byCookie[r.Cookie] != r || r.sock != 0 && s.index.byAddress[r.sock] != r {
				t.Fatalf("after %d events: %+v is not found", n, r.Socket)
			}
		}
		if len(s.index.byCookie) > len(s.index.rows) || len(s.index.byAddress) > len(s.index.rows) {
			t.Fatalf("after %d events the indexes have rows that are gone", n)
		}
	}
}

// TestSocketsAllocateNothing has a UDP socket be opened, connected and closed again and again.
func TestSocketsAllocateNothing(t *testing.T) {
	script := newSocketScript(SocketConfig{Closes: always, Polled: never})
	calls := []*SocketEvent{
		script.event(1, SocketOpen, "0.0.0.0:0", "0.0.0.0:0"),
		script.event(1, SocketConnect, "127.0.0.1:1000", "127.0.0.1:53"),
		script.event(1, SocketClose, "127.0.0.1:1000", "127.0.0.1:53"),
	}
	told := 0
	sockets := NewSockets(SocketConfig{Closes: always, Polled: never}, script.procs, func(*SocketChange) { told++ })
	if n := testing.AllocsPerRun(100, func() {
		for _, e := range calls {
			script.now += 10
			e.Time = script.now
			sockets.Apply(e)
		}
	}); n != 0 || told != 101*len(calls) {
		t.Errorf("%v allocations for each socket, %d changes", n, told)
	}
}
