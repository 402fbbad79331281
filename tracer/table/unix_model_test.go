package table

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
)

// unixKernel does to Unix sockets what the kernel does (net/unix/af_unix.c, 6.1 on), and
// reports it as the programs of bpf/unix.c do: whole rows, at times twice. Without cookies
// a socket is known by its address, which the next one may get.
type unixKernel struct {
	t       *rapid.T
	table   *Sockets
	cookies bool
	now     uint64
	made    uint64
	live    []*unixSock
	told    map[uint64][]SocketChangeKind
}

// unixSock is one socket of it.
type unixSock struct {
	number, address uint64
	kind            uint8
	state           snapshot.State
	name            string
	backlog         uint32
	has             bool // a struct socket
	peer, listener  *unixSock
	dead            bool
}

func newUnixKernel(t *rapid.T, cookies bool) *unixKernel {
	k := &unixKernel{t: t, cookies: cookies, now: 1000, told: make(map[uint64][]SocketChangeKind)}
	procs := NewProcesses(100, func(*snapshot.Process, uint64) {}, func(uint32) {})
	never := func(snapshot.Protocol) bool { return false }
	always := func(snapshot.Protocol) bool { return true }
	cfg := SocketConfig{Closes: always, Polled: never, Waiting: true}
	k.table = NewSockets(cfg, procs, func(c *SocketChange) {
		if c.Source != SocketTold {
			t.Fatalf("%v of %d is %v", c.Kind, c.Socket.Inode, c.Source)
		}
		k.told[c.Socket.ID] = append(k.told[c.Socket.ID], c.Kind)
	})
	return k
}

func (s *unixSock) key(cookies bool) uint64 {
	switch {
	case s == nil:
		return 0
	case cookies:
		return s.number
	}
	return s.address
}

// event is the row of a socket as it is now.
func (k *unixKernel) event(s *unixSock, kind SocketChangeKind) SocketEvent {
	k.now++
	e := SocketEvent{
		Kind: kind, Protocol: snapshot.Unix, Type: s.kind, State: s.state, Time: k.now, Shown: true,
		Sock: s.address, Netns: 1,
		Unix: UnixEvent{
			Name: []byte(s.name), Named: s.name != "", HasSocket: s.has, Backlog: s.backlog,
			Peer: s.peer.key(k.cookies), Listener: s.listener.key(k.cookies),
		},
	}
	if k.cookies {
		e.Cookie = s.number
	}
	if s.has {
		e.Inode = uint32(s.number)
	}
	if s.peer != nil && s.peer.has {
		e.Unix.PeerInode = uint32(s.peer.number)
	}
	return e
}

// tell reports a row, by one copy of the program or by both.
func (k *unixKernel) tell(e SocketEvent) {
	for range rapid.IntRange(1, 2).Draw(k.t, "copies") {
		again := e
		k.table.Apply(&again)
	}
}

func (k *unixKernel) call(s *unixSock, kind SocketChangeKind) { k.tell(k.event(s, kind)) }

// ends reports a call on s that has changed its peer too.
func (k *unixKernel) ends(s *unixSock, other *unixSock) {
	e := k.event(s, SocketConnect)
	e.More = other != nil
	k.tell(e)
	if other != nil {
		e = k.event(other, SocketConnect)
		e.Other = true
		k.tell(e)
	}
}

// open makes a socket; the address may be that of one that is gone.
func (k *unixKernel) open(kind uint8, has bool) *unixSock {
	k.made++
	s := &unixSock{number: k.made, kind: kind, has: has, state: snapshot.Close}
	for s.address = 1 << 63; slices.ContainsFunc(k.live, func(l *unixSock) bool { return l.address == s.address }); {
		s.address += 64
	}
	k.live = append(k.live, s)
	k.call(s, SocketOpen)
	return s
}

// some draws a socket that fits, or nil.
func (k *unixKernel) some(fits func(*unixSock) bool) *unixSock {
	var found []*unixSock
	for _, s := range k.live {
		if fits(s) {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[rapid.IntRange(0, len(found)-1).Draw(k.t, "socket")]
}

func (k *unixKernel) bind() {
	if s := k.some(func(s *unixSock) bool { return s.has && s.name == "" }); s != nil {
		s.name = fmt.Sprintf("\x00%d", rapid.IntRange(0, 3).Draw(k.t, "name"))
		k.call(s, SocketBind)
	}
}

func (k *unixKernel) listen() {
	if s := k.some(func(s *unixSock) bool {
		return s.has && s.kind == unixStream && s.name != "" && s.state != snapshot.Established
	}); s != nil {
		s.state, s.backlog = snapshot.Listen, uint32(rapid.IntRange(1, 3).Draw(k.t, "backlog"))
		k.call(s, SocketListen)
	}
}

// connect connects a stream socket, or is refused.
func (k *unixKernel) connect() {
	client := k.some(func(s *unixSock) bool { return s.has && s.kind == unixStream && s.state == snapshot.Close })
	if client == nil {
		return
	}
	listener := k.some(func(s *unixSock) bool { return s.state == snapshot.Listen })
	made := k.open(0, false)
	if listener == nil || rapid.IntRange(0, 4).Draw(k.t, "refuse") == 0 {
		k.close(made)
		return
	}
	made.kind, made.name, made.state, made.peer, made.listener = unixStream, listener.name, snapshot.Established, client, listener
	client.state, client.peer = snapshot.Established, made
	if rapid.Bool().Draw(k.t, "accept first") { // on another CPU
		k.acceptOf(made)
	}
	k.ends(client, made)
}

func (k *unixKernel) acceptOf(s *unixSock) {
	s.has, s.listener = true, nil
	k.call(s, SocketAccept)
}

func (k *unixKernel) accept() {
	if s := k.some(func(s *unixSock) bool { return !s.has }); s != nil {
		k.acceptOf(s)
	}
}

func (k *unixKernel) pair() {
	kind := uint8(rapid.IntRange(unixStream, unixDgram).Draw(k.t, "type"))
	a, b := k.open(kind, true), k.open(kind, true)
	a.peer, b.peer, a.state, b.state = b, a, snapshot.Established, snapshot.Established
	k.ends(a, b)
}

// datagram connects a datagram socket, elsewhere, or to nobody.
func (k *unixKernel) datagram() {
	isDatagram := func(s *unixSock) bool { return s.kind == unixDgram }
	s := k.some(isDatagram)
	if s == nil {
		return
	}
	to, old := k.some(isDatagram), s.peer
	if rapid.IntRange(0, 3).Draw(k.t, "disconnect") == 0 {
		to = nil
	}
	if s.peer, s.state = to, snapshot.Close; to != nil {
		s.state, to.state = snapshot.Established, snapshot.Established
	}
	if old != nil && old != to {
		k.left(s, old)
	}
	k.ends(s, to)
}

// left reports that s has left its peer, before the kernel closes that.
func (k *unixKernel) left(s, old *unixSock) {
	if old.dead {
		k.call(s, SocketLostPeer)
		return
	}
	e := k.event(old, SocketLostPeer)
	e.Other = true
	k.tell(e)
	if old.peer == nil {
		old.state = snapshot.Close
	}
}

// send finds out that the peer of a datagram socket is gone.
func (k *unixKernel) send() {
	if s := k.some(func(s *unixSock) bool { return s.kind == unixDgram && s.peer != nil && s.peer.dead }); s != nil {
		old := s.peer
		s.peer, s.state = nil, snapshot.Close
		k.left(s, old)
	}
}

// close closes a socket, and of a listener what waits for accept().
func (k *unixKernel) close(s *unixSock) {
	k.call(s, SocketClose)
	s.dead = true
	k.live = slices.DeleteFunc(k.live, func(l *unixSock) bool { return l == s })
	for _, waits := range slices.Clone(k.live) {
		if waits.listener == s {
			k.close(waits)
		}
	}
}

// pass reads all rows, in the ring. One of a socket that is gone meanwhile may come after
// its end was told.
func (k *unixKernel) pass() {
	all := func(snapshot.Protocol) bool { return true }
	k.table.BeginPass(k.now, all, false, false)
	for _, s := range slices.Clone(k.live) {
		e := k.event(s, SocketSeen)
		e.Row = true
		if s.has && rapid.IntRange(0, 9).Draw(k.t, "close") == 0 {
			k.close(s)
		}
		k.now++
		e.Time = k.now
		k.table.Apply(&e)
	}
	k.table.EndPass(k.now, func(uint32) bool { return true })
}

// check compares the table with the kernel's, and what was told with what there is.
func (k *unixKernel) check() {
	var want, got []string
	for _, s := range k.live {
		want = append(want, fmt.Sprintf("%d %d %v %q %t", s.inode(), s.kind, s.state, s.name, s.has))
	}
	for s := range k.table.All {
		got = append(got, fmt.Sprintf("%d %d %v %q %t", s.Inode, s.Type, s.State, s.Unix.Name, s.Unix.HasSocket))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		k.t.Fatalf("the table differs (-kernel +table):\n%s", diff)
	}
	for id, kinds := range k.told {
		if kinds[0] != SocketOpen || slices.Index(kinds, SocketClose) >= 0 && slices.Index(kinds, SocketClose) != len(kinds)-1 ||
			slices.Contains(kinds[1:], SocketOpen) {
			k.t.Fatalf("of %x was told %v", id, kinds)
		}
	}
}

func (s *unixSock) inode() uint64 {
	if s.has {
		return s.number
	}
	return 0
}

// TestUnixModel has anything happen to Unix sockets, with and without cookies, and wants
// the table to be the kernel's after each step, and no change to be told by anything but
// its event.
func TestUnixModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newUnixKernel(t, rapid.Bool().Draw(t, "cookies"))
		t.Repeat(map[string]func(*rapid.T){
			"open":     func(t *rapid.T) { k.open(uint8(rapid.IntRange(unixStream, unixDgram).Draw(t, "type")), true) },
			"bind":     func(*rapid.T) { k.bind() },
			"listen":   func(*rapid.T) { k.listen() },
			"connect":  func(*rapid.T) { k.connect() },
			"accept":   func(*rapid.T) { k.accept() },
			"pair":     func(*rapid.T) { k.pair() },
			"datagram": func(*rapid.T) { k.datagram() },
			"send":     func(*rapid.T) { k.send() },
			"pass":     func(*rapid.T) { k.pass() },
			"close": func(*rapid.T) {
				if s := k.some(func(s *unixSock) bool { return s.has }); s != nil {
					k.close(s)
				}
			},
			"": func(*rapid.T) { k.check() },
		})
	})
}
