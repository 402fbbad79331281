package table

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/snapshot"
)

const (
	unixStream = 1
	unixDgram  = 2
)

// unixScene is a table of Unix sockets, and what it told, by the cookies of the sockets.
type unixScene struct {
	table *Sockets
	now   uint64
	names map[uint64]uint64 // cookies by ID
	told  []string
}

func newUnixScene() *unixScene {
	u := &unixScene{names: make(map[uint64]uint64)}
	procs := NewProcesses(100, func(*snapshot.Process, uint64) {}, func(uint32) {})
	for task := uint32(1); task < 10; task++ {
		procs.set(&Event{Task: task, Process: &snapshot.Process{PID: int(task)}})
	}
	no := func(snapshot.Protocol) bool { return false }
	u.table = NewSockets(SocketConfig{Closes: func(snapshot.Protocol) bool { return true }, Polled: no}, procs, u.report)
	u.now = 1000
	return u
}

func (u *unixScene) report(c *SocketChange) {
	s := c.Socket
	u.names[s.ID] = s.Cookie
	line := fmt.Sprintf("%v %d", c.Kind, s.Cookie)
	if s.Owner.Process != nil {
		line += fmt.Sprintf(" of %d", s.Owner.Process.PID)
		if s.Owner.Source == snapshot.OwnerListener {
			line += "?"
		}
	}
	if s.Unix.Named {
		line += fmt.Sprintf(" %q", s.Unix.Name)
	}
	if s.Unix.PeerCookie != 0 {
		line += fmt.Sprintf(" to %d", s.Unix.PeerCookie)
		if s.Unix.Peer != 0 && u.names[s.Unix.Peer] != 0 && u.names[s.Unix.Peer] != s.Unix.PeerCookie {
			line += fmt.Sprintf(" WRONG ID of %d", u.names[s.Unix.Peer])
		}
	}
	if c.Source != SocketTold {
		line += " " + c.Source.String()
	}
	if c.Closed != nil {
		line += " " + c.Closed.Reason.String()
	}
	u.told = append(u.told, line)
}

// event applies an event of a socket; task makes the call.
func (u *unixScene) event(kind SocketChangeKind, cookie uint64, task uint32, with func(*SocketEvent)) {
	u.now++
	e := SocketEvent{
		Kind: kind, Protocol: snapshot.Unix, Type: unixStream, State: snapshot.Close, Time: u.now, Shown: true,
		Cookie: cookie, Sock: 1<<63 | cookie, Task: task, Inode: uint32(100 + cookie), Netns: 1,
	}
	e.Unix.HasSocket = true
	if with != nil {
		with(&e)
	}
	u.table.Apply(&e)
}

func (u *unixScene) want(t *testing.T, want string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(want), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	if diff := cmp.Diff(lines, u.told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	u.told = nil
}

func (u *unixScene) rows() []string {
	var rows []string
	for s := range u.table.All {
		rows = append(rows, fmt.Sprintf("%d St %02d", s.Cookie, s.Row().State))
	}
	slices.Sort(rows)
	return rows
}

func named(e *SocketEvent) { e.Unix.Name, e.Unix.Named = []byte("\x00name"), true }

// Rows of a stream connection from 2 to the listener 1, which makes 3.
func listenRow(e *SocketEvent) {
	named(e)
	e.State, e.Unix.Backlog = snapshot.Listen, 5
}

func connectRow(e *SocketEvent) {
	e.State, e.Unix.Peer, e.Unix.PeerPID, e.More = snapshot.Established, 3, 1, true
}

func embryoRow(e *SocketEvent) { e.Unix.HasSocket, e.Inode, e.Type = false, 0, 0 }

func madeRow(e *SocketEvent) {
	acceptedRow(e)
	e.Unix.HasSocket, e.Inode, e.Unix.Listener, e.Other = false, 0, 1, true
}

func acceptedRow(e *SocketEvent) {
	named(e)
	e.State, e.Unix.Peer, e.Unix.PeerInode, e.Unix.PeerPID = snapshot.Established, 2, 102, 2
}

func (u *unixScene) listen() {
	u.event(SocketOpen, 1, 1, nil)
	u.event(SocketBind, 1, 1, named)
	u.event(SocketListen, 1, 1, listenRow)
	u.event(SocketOpen, 2, 2, nil)
}

func TestUnixConnection(t *testing.T) {
	u := newUnixScene()
	for range 2 { // a second copy of each record changes nothing
		u.event(SocketOpen, 1, 1, nil)
	}
	u.event(SocketBind, 1, 1, named)
	u.event(SocketBind, 1, 1, named)
	u.event(SocketListen, 1, 1, listenRow)
	u.event(SocketListen, 1, 1, listenRow)
	u.event(SocketOpen, 2, 2, nil)
	u.event(SocketOpen, 3, 2, embryoRow)
	if diff := cmp.Diff([]string{"1 St 01", "2 St 01", "3 St 04"}, u.rows()); diff != "" {
		t.Errorf("while the connect waits (-want +got):\n%s", diff)
	}
	for range 2 {
		u.event(SocketConnect, 2, 2, connectRow)
		u.event(SocketConnect, 3, 2, madeRow)
	}
	if diff := cmp.Diff([]string{"1 St 01", "2 St 03", "3 St 02"}, u.rows()); diff != "" {
		t.Errorf("connected (-want +got):\n%s", diff)
	}
	u.event(SocketAccept, 3, 4, acceptedRow)
	u.event(SocketAccept, 3, 4, acceptedRow)
	u.event(SocketConnect, 3, 2, madeRow) // late: the row of before would be told
	u.want(t, `
		open 1 of 1
		bind 1 of 1 "\x00name"
		listen 1 of 1 "\x00name"
		open 2 of 2
		connect 2 of 2 to 3
		open 3 of 1? "\x00name" to 2
		accept 3 of 4 "\x00name" to 2
	`)
	for s := range u.table.All {
		if s.Cookie == 2 && (s.Unix.PeerInode != 103 || u.names[s.Unix.Peer] != 3) {
			t.Errorf("the client's peer is %+v", s.Unix)
		}
	}
	u.event(SocketClose, 3, 4, acceptedRow)
	u.event(SocketClose, 2, 5, func(e *SocketEvent) { connectRow(e); e.Exiting = true })
	u.event(SocketConnect, 3, 2, madeRow) // of one that is gone
	u.event(SocketClose, 1, 1, listenRow)
	u.want(t, `
		close 3 of 4 "\x00name" to 2 close
		close 2 of 2 to 3 exit
		close 1 of 1 "\x00name" close
	`)
	if n := len(u.rows()); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestUnixRefused tells nothing of the socket that a refused connect has made.
func TestUnixRefused(t *testing.T) {
	u := newUnixScene()
	u.listen()
	u.told = nil
	u.event(SocketOpen, 3, 2, embryoRow)
	u.event(SocketClose, 3, 2, embryoRow)
	u.event(SocketClose, 2, 2, nil)
	u.want(t, `close 2 of 2 close`)
}

// TestUnixAcceptFirst has accept() told before connect(), on another CPU.
func TestUnixAcceptFirst(t *testing.T) {
	u := newUnixScene()
	u.listen()
	u.told = nil
	u.event(SocketOpen, 3, 2, embryoRow)
	u.event(SocketAccept, 3, 4, acceptedRow)
	u.event(SocketConnect, 2, 2, connectRow)
	u.event(SocketConnect, 3, 2, func(e *SocketEvent) { acceptedRow(e); e.Other = true })
	u.want(t, `
		open 3 of 4 "\x00name" to 2
		accept 3 of 4 "\x00name" to 2
		connect 2 of 2 to 3
	`)
}

// TestUnixDatagrams follows a datagram socket from peer to peer.
func TestUnixDatagrams(t *testing.T) {
	u := newUnixScene()
	dgram := func(e *SocketEvent) { e.Type = unixDgram }
	to := func(peer uint64) func(*SocketEvent) {
		return func(e *SocketEvent) {
			e.Type, e.Unix.Peer, e.Unix.PeerInode = unixDgram, peer, uint32(100+peer)
			e.State = snapshot.Established
		}
	}
	target := func(e *SocketEvent) { dgram(e); e.State, e.Other = snapshot.Established, true }
	for cookie := uint64(1); cookie < 4; cookie++ {
		u.event(SocketOpen, cookie, uint32(cookie), dgram)
	}
	u.told = nil
	u.event(SocketConnect, 1, 1, to(2))
	u.event(SocketConnect, 2, 1, target)
	u.want(t, "connect 1 of 1 to 2\nconnect 2 of 2")
	// It connects elsewhere: the hook sees the former peer before the kernel closes that.
	u.event(SocketLostPeer, 2, 1, target)
	u.event(SocketConnect, 1, 1, to(3))
	u.event(SocketConnect, 3, 1, target)
	u.want(t, "disconnect 2 of 2\nconnect 1 of 1 to 3\nconnect 3 of 3")
	// The peer goes, and a send() finds out.
	u.event(SocketClose, 3, 3, func(e *SocketEvent) { dgram(e); e.State = snapshot.Established })
	u.event(SocketLostPeer, 1, 1, dgram)
	u.want(t, "close 3 of 3 close\nlost_peer 1 of 1")
	// AF_UNSPEC of one whose former peer has a peer of its own.
	u.event(SocketConnect, 1, 1, to(2))
	u.event(SocketConnect, 2, 1, target)
	u.event(SocketConnect, 2, 2, to(1))
	u.event(SocketLostPeer, 2, 1, func(e *SocketEvent) { to(1)(e); e.Other = true })
	u.event(SocketConnect, 1, 1, dgram)
	u.want(t, `
		connect 1 of 1 to 2
		connect 2 of 2
		connect 2 of 2 to 1
		disconnect 1 of 1
	`)
	u.event(SocketClose, 2, 0, func(e *SocketEvent) { to(1)(e); e.Kernel = true })
	u.want(t, "close 2 of 2 to 1 collected")
}

// TestUnixRows merges a pass: it lists what was there, adds what no event told, brings no
// socket back that is gone, and knows a peer that has got its cookie since.
func TestUnixRows(t *testing.T) {
	u := newUnixScene()
	row := func(cookie uint64, with func(*SocketEvent)) {
		u.event(SocketSeen, cookie, 0, func(e *SocketEvent) { with(e); e.Row, e.Other = true, false })
	}
	all := func(snapshot.Protocol) bool { return true }
	everywhere := func(uint32) bool { return true }
	u.table.BeginPass(u.now, all, true, false)
	u.event(SocketOpen, 2, 2, func(e *SocketEvent) { e.Cookie = 0 })
	u.event(SocketClose, 9, 2, nil)
	row(9, func(*SocketEvent) {})
	row(1, listenRow)
	row(3, madeRow)
	u.table.EndPass(u.now, everywhere)
	u.table.CompleteInitial()
	var listed []string
	for s := range u.table.InitialRows {
		listed = append(listed, fmt.Sprintf("%d %v", s.Cookie, s.State))
	}
	slices.Sort(listed)
	u.table.EndInitial()
	if diff := cmp.Diff([]string{"1 LISTEN", "3 ESTABLISHED"}, listed); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	u.event(SocketConnect, 2, 2, func(e *SocketEvent) { connectRow(e); e.Cookie, e.Unix.Peer = 0, 1<<63|3 })
	u.want(t, "open 0 of 2\nconnect 0 of 2 to 3")
	for range 3 {
		u.table.BeginPass(u.now, all, false, true)
		row(2, connectRow)
		row(3, madeRow)
		u.table.EndPass(u.now, everywhere)
	}
	u.want(t, `close 1 "\x00name" inferred unknown`)
}

// TestUnixAddresses has no hook tell the end of sockets, and addresses used again: what the
// connects of two processes tell must not become one socket.
func TestUnixAddresses(t *testing.T) {
	const a, b = 1<<63 | 64, 1<<63 | 128
	u := newUnixScene()
	told := make(map[uint64]*Socket)
	u.table.report = func(c *SocketChange) {
		s := *c.Socket
		end := *s.Unix
		s.Unix = &end
		told[s.ID] = &s
	}
	connect := func(client, made uint64, inode uint32, task uint32) {
		u.event(SocketConnect, 0, task, func(e *SocketEvent) {
			connectRow(e)
			e.Sock, e.Inode, e.Unix.Peer = client, inode, made
		})
		u.event(SocketConnect, 0, task, func(e *SocketEvent) {
			madeRow(e)
			e.Sock, e.Inode, e.Unix.Peer, e.Unix.PeerInode, e.Unix.Listener = made, 0, client, inode, 0
			e.Unix.PeerPID = task
		})
	}
	connect(a, b, 101, 2)
	connect(b, a, 103, 3)
	connect(b, a, 105, 4)
	ends := 0
	for _, s := range told {
		if s.Owner.Process == nil {
			continue
		}
		ends++
		peer := told[s.Unix.Peer]
		if peer == nil || peer.Unix.Peer != s.ID || peer.Owner.Process != nil || peer.Unix.PeerPID != uint32(s.Owner.Process.PID) {
			t.Errorf("%+v with %+v has the peer %+v", s.Head, s.Unix, peer)
		}
	}
	if ends != 3 || len(told) != 6 {
		t.Errorf("%d sockets were told, %d of them with an owner", len(told), ends)
	}
	if n := len(u.rows()); n != 2 {
		t.Errorf("%d rows are left", n)
	}
}

// TestUnixPeerOfBefore lists a datagram socket before its peer, which has no cookie then,
// and is closed. That the peer has got one is no other peer.
func TestUnixPeerOfBefore(t *testing.T) {
	u := newUnixScene()
	all := func(snapshot.Protocol) bool { return true }
	connected := func(peer uint64, row bool) func(*SocketEvent) {
		return func(e *SocketEvent) {
			e.Type, e.State, e.Unix.Peer, e.Row = unixDgram, snapshot.Established, peer, row
		}
	}
	u.table.BeginPass(u.now, all, true, false)
	u.event(SocketSeen, 1, 0, connected(1<<63|2, true))
	u.event(SocketSeen, 2, 0, connected(0, true))
	u.table.EndPass(u.now, func(uint32) bool { return true })
	u.table.CompleteInitial()
	u.table.EndInitial()
	u.event(SocketClose, 2, 2, connected(0, false))
	u.event(SocketClose, 1, 1, connected(2, false))
	u.want(t, "close 2 close\nclose 1 to 2 close")
}

// TestUnixMayBe asks of rows without a cookie whether an event at their address may be of
// the same socket.
func TestUnixMayBe(t *testing.T) {
	client := SocketEvent{Protocol: snapshot.Unix, Inode: 101, Unix: UnixEvent{HasSocket: true}}
	made := SocketEvent{Protocol: snapshot.Unix, Unix: UnixEvent{
		Name: []byte("\x00name"), Named: true, Peer: 1<<63 | 64, PeerInode: 101,
	}}
	for name, test := range map[string]struct {
		first SocketEvent
		then  func(*SocketEvent)
		want  bool
	}{
		"the same":            {client, func(*SocketEvent) {}, true},
		"it binds":            {client, named, true},
		"another inode":       {client, func(e *SocketEvent) { e.Inode = 102 }, false},
		"one that waits":      {client, func(e *SocketEvent) { e.Inode, e.Unix.HasSocket = 0, false }, false},
		"an open file":        {client, func(e *SocketEvent) { *e = SocketEvent{Inode: 101} }, true},
		"another one's file":  {client, func(e *SocketEvent) { *e = SocketEvent{Inode: 102} }, false},
		"accepted":            {made, func(e *SocketEvent) { e.Inode, e.Unix.HasSocket = 103, true }, true},
		"of another client":   {made, func(e *SocketEvent) { e.Unix.PeerInode = 105 }, false},
		"without a name":      {made, func(e *SocketEvent) { e.Unix.Name, e.Unix.Named = nil, false }, false},
		"of another listener": {made, func(e *SocketEvent) { e.Unix.Name = []byte("\x00other") }, false},
	} {
		u := newUnixScene()
		first := test.first
		first.Kind, first.Sock, first.Time = SocketConnect, 1<<63|128, u.now
		u.table.Apply(&first)
		row := u.table.index.at(first.Sock)
		then := test.first
		test.then(&then)
		if got := row.mayBe(&then); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

// TestUnixFileOfLater shows an open file at the address of a socket whose inode is not known.
// Where no hook tells the end of sockets, it may be that of a later one: the process is
// nobody's owner then.
func TestUnixFileOfLater(t *testing.T) {
	for _, ends := range []bool{true, false} {
		u := newUnixScene()
		u.table.cfg.Closes = func(snapshot.Protocol) bool { return ends }
		const sock = 1<<63 | 128
		for _, inode := range []uint32{0, 107} {
			made := SocketEvent{Kind: SocketConnect, Protocol: snapshot.Unix, Sock: sock, Time: u.now, Inode: inode, Unix: UnixEvent{HasSocket: inode != 0}}
			u.table.Apply(&made)
			row := u.table.index.at(sock)
			row.Owner = snapshot.Owner{}
			want := ends || inode != 0
			if got := u.table.UseFile(&Event{Sock: sock, Inode: 107, Task: 7}); got != want || (row.Owner.Process != nil) != want {
				t.Errorf("ends are told: %t, inode %d: the file is its own: %t, owner %+v, want %t", ends, inode, got, row.Owner, want)
			}
			row.Inode = uint64(inode)
		}
	}
}
