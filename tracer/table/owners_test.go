package table_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// host feeds a table with what the programs would send, and keeps what it reports.
type host struct {
	t     *testing.T
	table *table.Table
	clock uint64
	next  uint64
	got   []string
}

func newHost(t *testing.T, cfg table.Config) *host {
	h := &host{t: t, clock: 1e12}
	procs := table.NewProcesses(10, func(p *snapshot.Process, start uint64) {
		p.Exe = fmt.Sprintf("/bin/%s@%d", p.Comm, start)
	}, func(uint32) {})
	h.table = table.New(cfg, procs, h.change)
	return h
}

func (h *host) change(c *table.Change) {
	switch c.Kind {
	case table.ChangeState:
		h.note("%v %v>%v %s", c.Conn.Remote.Port(), c.Old, c.New, whose(c.Conn))
	case table.ChangeOwner:
		h.note("%v owner %s", c.Conn.Remote.Port(), whose(c.Conn))
	}
}

func (h *host) note(format string, args ...any) { h.got = append(h.got, fmt.Sprintf(format, args...)) }

// whose says whose a connection is, and how that is known.
func whose(c *table.Conn) string {
	p := c.Owner.Process
	if p == nil {
		return "nobody"
	}
	return fmt.Sprintf("%d/%s/%d", p.PID, p.Comm, c.Owner.Source)
}

// want compares what was reported since the last call.
func (h *host) want(lines ...string) {
	h.t.Helper()
	if err := h.table.Check(); err != nil {
		h.t.Error(err)
	}
	if diff := cmp.Diff(lines, h.got); diff != "" {
		h.t.Errorf("(-want +reported):\n%s", diff)
	}
	h.got = nil
}

func (h *host) apply(e table.Event) {
	h.clock += 1000
	e.Time, e.Netns = h.clock, 1
	if e.Kind == table.EventRow {
		e.After = h.clock
	}
	h.table.Apply(&e)
}

// settle lets silence decide.
func (h *host) settle() {
	h.clock += 2 * grace
	h.table.Settle(h.clock)
}

// process sends a program that began, or renamed itself.
func (h *host) process(task uint32, name string, exec bool) {
	h.apply(table.Event{
		Kind: table.EventProcess, Task: task, Exec: exec,
		Process: &snapshot.Process{PID: int(task), Comm: name, Cmdline: name},
	})
	if exec {
		h.apply(table.Event{Kind: table.EventExe, Task: task, Process: &snapshot.Process{Exe: "/bin/" + name}})
	}
}

func (h *host) cookie() uint64 {
	h.next++
	return h.next
}

// socket is the event of a socket of the host; with remote 0 of a listener.
func socket(kind table.EventKind, cookie uint64, from, to snapshot.State, remote uint16) table.Event {
	e := table.Event{
		Kind: kind, Old: from, New: to, Cookie: cookie, Sock: 0xffff888000000000 + cookie<<10,
		Local: netip.MustParseAddrPort("127.0.0.1:80"), Remote: netip.MustParseAddrPort("0.0.0.0:0"),
	}
	if remote != 0 {
		e.Remote = netip.AddrPortFrom(e.Local.Addr(), remote)
	}
	return e
}

// listen has a process listen and returns the listener's cookie.
func (h *host) listen(task uint32) uint64 {
	cookie := h.cookie()
	e := socket(table.EventState, cookie, snapshot.Close, snapshot.Listen, 0)
	e.Task = task
	h.apply(e)
	return cookie
}

// request has a SYN come in, for a listener or with 0 for one that is not named.
func (h *host) request(remote uint16, listener uint64) (mini uint64) {
	e := socket(table.EventMiniBorn, h.cookie(), 0, snapshot.SynRecv, remote)
	e.Cookie, e.Listener = 0, listener
	h.apply(e)
	return e.Sock
}

// establish has the child of a request take over, and returns its cookie.
func (h *host) establish(remote uint16) uint64 {
	cookie := h.cookie()
	h.apply(socket(table.EventState, cookie, snapshot.SynRecv, snapshot.Established, remote))
	return cookie
}

// workers are processes that listen on one address and port (SO_REUSEPORT).
func (h *host) workers(n uint32) []uint64 {
	var listeners []uint64
	for task := range n {
		h.process(task+1, fmt.Sprint("w", task+1), true)
		listeners = append(listeners, h.listen(task+1))
	}
	h.got = nil
	return listeners
}

// TestOwnerOfRequest has four processes listen on one address: a connection is of the
// one whose listener the kernel names, or of nobody.
func TestOwnerOfRequest(t *testing.T) {
	h := newHost(t, table.Config{})
	listeners := h.workers(4)
	for i, l := range listeners {
		h.request(uint16(100+i), l)
	}
	h.want("100 LISTEN>SYN_RECV 1/w1/3", "101 LISTEN>SYN_RECV 2/w2/3", "102 LISTEN>SYN_RECV 3/w3/3", "103 LISTEN>SYN_RECV 4/w4/3")
	h.request(104, 0)
	h.request(105, 99) // of a listener that is gone, or never was there
	h.want("104 LISTEN>SYN_RECV nobody", "105 LISTEN>SYN_RECV nobody")
}

// TestOwnerOfAll has one process listen twice on one address: a connection that names
// none of the listeners is the process's all the same.
func TestOwnerOfAll(t *testing.T) {
	h := newHost(t, table.Config{})
	h.process(1, "server", true)
	h.listen(1)
	h.listen(1)
	h.got = nil
	h.request(100, 0)
	h.want("100 LISTEN>SYN_RECV 1/server/3")
}

// TestOwnerDuringScan has a connection come in while the initial scan has read one of
// two listeners: which one it is of is not known.
func TestOwnerDuringScan(t *testing.T) {
	h := newHost(t, table.Config{CanScan: true})
	h.table.BeginScan(h.clock, true)
	h.apply(socket(table.EventRow, h.cookie(), 0, snapshot.Listen, 0))
	file := socket(table.EventFile, h.next, 0, 0, 0)
	file.Task, file.PID = 1, 1
	copy(file.Thread[:], "w1")
	h.apply(file)
	h.request(100, 0)
	h.apply(socket(table.EventRow, h.cookie(), 0, snapshot.Listen, 0))
	h.table.EndScan(h.clock)
	h.want("100 LISTEN>SYN_RECV nobody")
}

// TestOwnerOfOrphan has a listener close whose connections wait for accept: the kernel
// closes one right away and hands the others to another listener (tcp_migrate_req).
func TestOwnerOfOrphan(t *testing.T) {
	h := newHost(t, table.Config{})
	l := h.workers(2)[0]
	h.request(100, l)
	h.request(101, l)
	h.request(102, l)
	child := h.establish(100)
	h.establish(101)
	h.got = nil
	h.apply(socket(table.EventState, l, snapshot.Listen, snapshot.Close, 0))
	h.apply(socket(table.EventState, child, snapshot.Established, snapshot.Close, 100))
	h.want("0 LISTEN>CLOSE 1/w1/1", "100 ESTABLISHED>CLOSE 1/w1/3")
	h.establish(102) // its request was taken over
	h.want("102 SYN_RECV>ESTABLISHED nobody")
	h.settle()
	h.want("101 owner nobody")
	h.settle()
	h.want()
}

// TestOwnerOfRearmed has the timer of a request started again at the same address, by
// another listener.
func TestOwnerOfRearmed(t *testing.T) {
	h := newHost(t, table.Config{})
	listeners := h.workers(2)
	mini := h.request(100, listeners[0])
	again := socket(table.EventMiniBorn, 0, 0, snapshot.SynRecv, 100)
	again.Sock, again.Listener = mini, listeners[1]
	h.apply(again)
	h.got = nil
	h.establish(100)
	h.want("100 SYN_RECV>ESTABLISHED 2/w2/3")
}

// TestOwnerRenamed has a process rename itself, then run another program: each
// connection has what was true at its call.
func TestOwnerRenamed(t *testing.T) {
	h := newHost(t, table.Config{})
	connect := func(remote uint16) {
		e := socket(table.EventState, h.cookie(), snapshot.Close, snapshot.SynSent, remote)
		e.Task = 7
		h.apply(e)
	}
	h.process(7, "bash", true)
	connect(1)
	h.process(7, "worker", false)
	connect(2)
	h.apply(table.Event{Kind: table.EventProcess, Task: 7, Exec: true, Process: &snapshot.Process{PID: 7, Comm: "sleep"}})
	connect(3) // the record of its executable was lost
	got := make(map[uint16]string)
	for c := range h.table.All {
		got[c.Remote.Port()] = c.Owner.Process.Comm + " " + c.Owner.Process.Exe
	}
	if diff := cmp.Diff(map[uint16]string{1: "bash /bin/bash", 2: "worker /bin/bash", 3: "sleep "}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOwnerLost has the records of processes lost: who accepted is not known, and then
// the connection is not the listener's any more.
func TestOwnerLost(t *testing.T) {
	h := newHost(t, table.Config{})
	l := h.workers(1)[0]
	h.request(100, l)
	accept := socket(table.EventAccept, h.establish(100), 0, 0, 100)
	h.apply(accept)
	h.got = nil
	h.apply(socket(table.EventState, accept.Cookie, snapshot.Established, snapshot.CloseWait, 100))
	h.want("100 ESTABLISHED>CLOSE_WAIT nobody")
}

// TestOwnerByUse names the process of a later call only where no hook reports accept:
// the kernel sends its record only there, and its number may have been another's.
func TestOwnerByUse(t *testing.T) {
	for by, want := range map[bool]string{true: "100 ESTABLISHED>FIN_WAIT1 1/w1/4", false: "100 ESTABLISHED>FIN_WAIT1 nobody"} {
		h := newHost(t, table.Config{OwnersByUse: by})
		h.process(1, "w1", true)
		h.request(100, 0)
		e := socket(table.EventState, h.establish(100), snapshot.Established, snapshot.FinWait1, 100)
		e.Task = 1
		h.got = nil
		h.apply(e)
		h.want(want)
	}
}

// file sends that a process has an open file of a socket.
func (h *host) file(e table.Event, pid uint32, name string, start uint64) {
	e.Task, e.PID, e.Start = pid, pid, start
	copy(e.Thread[:], name)
	h.apply(e)
}

// TestOwnerFoundLate has scans find the owners of connections that were reported
// without one. What the initial table shows is not reported again.
func TestOwnerFoundLate(t *testing.T) {
	h := newHost(t, table.Config{CanScan: true})
	h.table.BeginScan(h.clock, true)
	old := socket(table.EventRow, h.cookie(), 0, snapshot.Established, 100)
	h.apply(old)
	old.Kind = table.EventFile
	h.file(old, 5, "server", 1)
	h.table.EndScan(h.clock)
	h.want()
	cookie := h.establish(101)
	h.got = nil
	for range 2 {
		h.table.BeginScan(h.clock, false)
		h.apply(socket(table.EventRow, old.Cookie, 0, snapshot.Established, 100))
		h.apply(socket(table.EventRow, cookie, 0, snapshot.Established, 101))
		h.file(socket(table.EventFile, cookie, 0, 0, 101), 6, "child", 2)
		h.file(socket(table.EventFile, cookie, 0, 0, 101), 7, "other", 2)
		h.table.EndScan(h.clock)
	}
	h.want("101 owner 6/child/2")
}

// TestOwnerOfFileAgain has a number go to another process between two scans.
func TestOwnerOfFileAgain(t *testing.T) {
	h := newHost(t, table.Config{CanScan: true})
	var exes []string
	for start := range uint64(2) {
		cookie := h.establish(uint16(100 + start))
		h.table.BeginScan(h.clock, false)
		h.file(socket(table.EventFile, cookie, 0, 0, 100), 5, "p", start)
		for c := range h.table.All {
			if c.Cookie == cookie {
				exes = append(exes, c.Owner.Process.Exe)
			}
		}
		h.table.AbandonScan()
	}
	if want := []string{"/bin/p@0", "/bin/p@1"}; !slices.Equal(exes, want) {
		t.Errorf("%q, want %q", exes, want)
	}
}

// TestOwnerMPTCP has two processes hold an MPTCP socket: all subflows with its inode
// are of the first one, as with netstat.
func TestOwnerMPTCP(t *testing.T) {
	h := newHost(t, table.Config{CanScan: true})
	h.table.BeginScan(h.clock, true)
	file := table.Event{Kind: table.EventFile, MPTCP: true, Inode: 77}
	h.file(file, 5, "first", 1)
	h.file(file, 6, "second", 1)
	for i, inode := range []uint32{77, 77, 78, 0} {
		row := socket(table.EventRow, h.cookie(), 0, snapshot.Established, uint16(100+i))
		row.Inode = inode
		h.apply(row)
	}
	h.table.EndScan(h.clock)
	got := make(map[uint16]string)
	for c := range h.table.All {
		got[c.Remote.Port()] = whose(c)
	}
	want := map[uint16]string{100: "5/first/2", 101: "5/first/2", 102: "nobody", 103: "nobody"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOwnerOfFileAlone looks for who accepted among the open files, outside of a scan: what the
// file shows is taken with it.
func TestOwnerOfFileAlone(t *testing.T) {
	h := newHost(t, table.Config{CanScan: true, SeekOwners: true})
	cookie, half := h.establish(101), h.establish(102)
	h.apply(socket(table.EventState, half, snapshot.Established, snapshot.FinWait1, 102))
	h.got = nil
	h.clock += 3 * grace
	if !h.table.Owners().Due(h.clock) {
		t.Error("nobody looks for the owner of an accepted connection")
	}
	for i, cookie := range []uint64{cookie, half} {
		file := socket(table.EventFile, cookie, 0, 0, uint16(101+i))
		file.Inode, file.UID, file.HasUID, file.CgroupID = 55, 33, true, 44
		h.file(file, 6, "child", 2)
	}
	if h.table.Owners().EndFiles(h.clock) {
		t.Error("a scan has to find a connection that the table has")
	}
	h.want("101 owner 6/child/2", "102 owner 6/child/2")
	for c := range h.table.All {
		want := []uint64{55, 33, 44}
		if got := []uint64{c.Inode, uint64(c.UID), c.CgroupID}; !slices.Equal(got, want) {
			t.Errorf("%v: inode, user and cgroup %d, want %d", c.Remote, got, want)
		}
	}
	if h.clock += 1e12; h.table.Owners().Due(h.clock) {
		t.Error("the owner that was found is looked for again")
	}
}

// TestOwnerMPTCPAlone does so with files of MPTCP sockets: a scan finds the subflows whose inode
// no row has shown yet.
func TestOwnerMPTCPAlone(t *testing.T) {
	h := newHost(t, table.Config{CanScan: true, SeekOwners: true})
	h.table.BeginScan(h.clock, true)
	row := socket(table.EventRow, h.cookie(), 0, snapshot.Established, 100)
	row.Inode = 77
	h.apply(row)
	h.table.EndScan(h.clock)
	for _, c := range []struct {
		inodes []uint32
		scan   bool
	}{{[]uint32{77, 78}, true}, {[]uint32{77}, false}, {nil, false}} {
		for _, inode := range c.inodes {
			h.file(table.Event{Kind: table.EventFile, MPTCP: true, Inode: inode}, 5, "server", 1)
		}
		if scan := h.table.Owners().EndFiles(h.clock); scan != c.scan {
			t.Errorf("files of inodes %d want a scan: %t", c.inodes, scan)
		}
	}
	h.want("100 owner 5/server/2")
}

// TestUserStays has rows without a user not touch the one that events reported, and an
// accept give the connection the user of the process.
func TestUserStays(t *testing.T) {
	h := newHost(t, table.Config{CanScan: true})
	cookie := h.cookie()
	user := func(e table.Event, uid uint32) table.Event {
		e.UID, e.HasUID = uid, true
		return e
	}
	h.apply(user(socket(table.EventState, cookie, snapshot.SynRecv, snapshot.Established, 100), 0))
	h.apply(user(socket(table.EventAccept, cookie, 0, 0, 100), 1000))
	wantUser := func(want uint32) {
		t.Helper()
		for c := range h.table.All {
			if !c.HasUID || c.UID != want {
				t.Errorf("user %d, want %d", c.UID, want)
			}
		}
	}
	wantUser(1000)
	mini := socket(table.EventMiniBorn, cookie, 0, snapshot.FinWait2, 100)
	mini.Sock += 512
	h.apply(mini)
	h.apply(user(socket(table.EventState, cookie, snapshot.FinWait2, snapshot.Close, 100), 1000))
	h.table.BeginScan(h.clock, false)
	mini.Kind, mini.Mini = table.EventRow, true
	h.apply(mini)
	h.table.EndScan(h.clock)
	wantUser(1000)
}

// TestListenerLeaves has a transition reported that does not follow from LISTEN, as the
// end of a listener was missed and its key is another socket's: no connection comes in
// through it later.
func TestListenerLeaves(t *testing.T) {
	h := newHost(t, table.Config{})
	h.process(1, "server", true)
	l := h.listen(1)
	h.apply(socket(table.EventState, l, snapshot.Established, snapshot.CloseWait, 0))
	h.want("0 CLOSE>LISTEN 1/server/1", "0 LISTEN>ESTABLISHED 1/server/1", "0 ESTABLISHED>CLOSE_WAIT 1/server/1")
	h.request(100, 0)
	h.want("100 LISTEN>SYN_RECV nobody")
}

// TestRequestTakesOver has a child reported from LISTEN (6.18) whose key is that of a
// socket whose end was missed: it is its request's connection, and no listener.
func TestRequestTakesOver(t *testing.T) {
	h := newHost(t, table.Config{})
	h.process(1, "server", true)
	stale := h.establish(99)
	l := h.listen(1)
	h.request(100, l)
	h.got = nil
	h.apply(socket(table.EventState, stale, snapshot.Listen, snapshot.SynRecv, 100))
	h.apply(socket(table.EventState, stale, snapshot.SynRecv, snapshot.Established, 100))
	h.want("99 ESTABLISHED>CLOSE nobody", "100 SYN_RECV>ESTABLISHED 1/server/3")
}

// TestTimewaitMoves has a second timewait socket of a connection born at another
// address, as the end of the first one was missed.
func TestTimewaitMoves(t *testing.T) {
	h := newHost(t, table.Config{})
	cookie := h.establish(100)
	for i := range uint64(2) {
		mini := socket(table.EventMiniBorn, cookie, 0, snapshot.TimeWait, 100)
		mini.Sock += 512 * (i + 1)
		h.apply(mini)
	}
	h.apply(socket(table.EventState, cookie, snapshot.FinWait2, snapshot.Close, 100))
	gone := socket(table.EventMiniGone, cookie, 0, 0, 100)
	gone.Sock += 1024
	h.apply(gone)
	h.settle()
	if err := h.table.Check(); err != nil || h.table.Len() != 0 {
		t.Errorf("%v; left: %v", err, tableRows(h.table))
	}
}

// TestChildOfClosed has a child cloned from a listener that was closed just before: it is
// the connection of its request.
func TestChildOfClosed(t *testing.T) {
	h := newHost(t, table.Config{})
	h.process(1, "server", true)
	l := h.listen(1)
	h.request(100, l)
	h.got = nil
	child := h.cookie()
	h.apply(socket(table.EventState, child, snapshot.Close, snapshot.SynRecv, 100))
	h.apply(socket(table.EventState, child, snapshot.SynRecv, snapshot.Close, 100))
	h.settle()
	h.want("100 SYN_RECV>CLOSE 1/server/3")
	if h.table.Len() != 1 { // the listener
		t.Errorf("left: %v", tableRows(h.table))
	}
}
