package table

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
)

// datagramModel is a kernel with a few UDP sockets, and the table that is told of them:
// each call by an event, twice at times, or not at all where it is lost. Passes read rows
// while calls go on, and hand them over later.
type datagramModel struct {
	t       *rapid.T
	script  *socketScript
	sockets map[uint64]*modelSocket
	made    uint64
	lossy   bool
	pending []*SocketEvent // rows of the pass that were read and not merged yet
	start   uint64         // of the pass; 0: none is under way
}

type modelSocket struct{ local, remote netip.AddrPort }

func (m *datagramModel) event(n uint64, kind SocketChangeKind) *SocketEvent {
	s := m.sockets[n]
	m.script.now++
	e := &SocketEvent{
		Kind: kind, Protocol: snapshot.UDP, Type: syscall.SOCK_DGRAM, State: snapshot.Close, Time: m.script.now,
		Sock: 1<<63 + n%4, Cookie: n, Netns: 1, Task: 1, Inode: uint32(n), Local: s.local, Remote: s.remote,
		Shown: s.local.Port() != 0,
	}
	if s.remote.Port() != 0 {
		e.State = snapshot.Established
	}
	return e
}

// tell tells of a call.
func (m *datagramModel) tell(n uint64, kind SocketChangeKind) {
	e := m.event(n, kind)
	if m.lossy && rapid.IntRange(0, 3).Draw(m.t, "lost") == 0 {
		return
	}
	for range rapid.IntRange(1, 2).Draw(m.t, "copies") {
		m.script.Apply(e)
	}
}

// any draws a socket; 0: there is none.
func (m *datagramModel) any() uint64 {
	var numbers []uint64
	for n := range m.sockets {
		numbers = append(numbers, n)
	}
	if len(numbers) == 0 {
		m.t.Skip("there is no socket")
	}
	slices.Sort(numbers)
	return rapid.SampledFrom(numbers).Draw(m.t, "socket")
}

var noAddr = netip.MustParseAddrPort("0.0.0.0:0")

func (m *datagramModel) port() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(rapid.IntRange(1, 3).Draw(m.t, "port")))
}

func (m *datagramModel) open(*rapid.T) {
	for n := range m.sockets { // an address is that of one socket at a time
		if n%4 == (m.made+1)%4 {
			m.t.Skip("its address is in use")
		}
	}
	m.made++
	m.sockets[m.made] = &modelSocket{noAddr, noAddr}
	m.tell(m.made, SocketOpen)
}

func (m *datagramModel) bind(*rapid.T) {
	n := m.any()
	if s := m.sockets[n]; s.local.Port() == 0 {
		s.local = m.port()
		m.tell(n, SocketBind)
	}
}

func (m *datagramModel) connect(*rapid.T) {
	n := m.any()
	s := m.sockets[n]
	if s.local.Port() == 0 {
		s.local = m.port()
		m.tell(n, SocketBind)
	}
	s.remote = m.port()
	m.tell(n, SocketConnect)
}

func (m *datagramModel) disconnect(*rapid.T) {
	n := m.any()
	*m.sockets[n] = modelSocket{noAddr, noAddr}
	m.tell(n, SocketDisconnect)
}

func (m *datagramModel) close(*rapid.T) {
	n := m.any()
	m.tell(n, SocketClose)
	delete(m.sockets, n)
}

// begin begins a pass, read reads one of its rows, merge hands those over that were read.
func (m *datagramModel) begin(*rapid.T) {
	if m.start != 0 {
		m.t.Skip("one is under way")
	}
	m.script.now++
	m.start = m.script.now
	m.script.BeginPass(m.start, always, false, false)
}

func (m *datagramModel) read(*rapid.T) {
	if m.start == 0 {
		m.t.Skip("no pass is under way")
	}
	n := m.any()
	after := m.script.now
	if e := m.event(n, SocketSeen); e.Shown {
		m.script.now++
		e.After, e.Time, e.Sock, e.Task = after, m.script.now, 0, 0
		m.pending = append(m.pending, e)
	}
}

func (m *datagramModel) merge(*rapid.T) {
	for _, e := range m.pending {
		m.script.Apply(e)
	}
	m.pending = nil
}

// abandon ends the pass without a verdict on what it did not read.
func (m *datagramModel) abandon(t *rapid.T) {
	m.merge(t)
	m.script.AbandonPass()
	m.start = 0
}

// mend makes whole passes until there is nothing left to decide.
func (m *datagramModel) mend() {
	m.abandon(m.t)
	for again := true; again; {
		m.script.now++
		start := m.script.now
		m.script.BeginPass(start, always, false, true)
		for n := range m.sockets {
			if e := m.event(n, SocketSeen); e.Shown {
				m.script.now++
				e.After, e.Time, e.Sock, e.Task = start, m.script.now, 0, 0
				m.script.Apply(e)
			}
		}
		m.script.now++
		_, again = m.script.EndPass(m.script.now, everywhere)
	}
}

// compare wants the table's rows to be the kernel's.
func (m *datagramModel) compare(t *rapid.T) {
	var want, got []string
	for n, s := range m.sockets {
		if s.local.Port() != 0 {
			want = append(want, fmt.Sprint(n, s.local, s.remote))
		}
	}
	for s := range m.script.All {
		if s.Shown {
			got = append(got, fmt.Sprint(s.Cookie, s.Local, s.Remote))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-kernel +table):\n%s", diff)
	}
}

// TestDatagramModel wants the table to be the kernel's after each call where nothing is
// lost, whatever rows passes bring; and where events are lost, once it was mended.
func TestDatagramModel(t *testing.T) {
	for _, lossy := range []bool{false, true} {
		t.Run(fmt.Sprintf("lossy=%t", lossy), rapid.MakeCheck(func(t *rapid.T) {
			m := &datagramModel{t: t, script: newSocketScript(exactly), sockets: make(map[uint64]*modelSocket), lossy: lossy}
			m.script.now = 1
			actions := map[string]func(*rapid.T){
				"open": m.open, "bind": m.bind, "connect": m.connect, "disconnect": m.disconnect, "close": m.close,
				"begin": m.begin, "read": m.read, "merge": m.merge, "abandon": m.abandon,
			}
			if !lossy {
				actions[""] = m.compare
			}
			t.Repeat(actions)
			m.mend()
			m.compare(t)
		}))
	}
}
