package table_test

import (
	"net/netip"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// A table in full use allocates for the processes that it meets only.
func TestTableAllocatesNothing(t *testing.T) {
	merged := table.New(table.Config{}, noProcesses(), func(*table.Change) {})
	e := table.Event{
		Kind: table.EventState, Cookie: 5, Netns: 1,
		Local: netip.MustParseAddrPort("127.0.0.1:1000"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
	}
	life := []snapshot.State{
		snapshot.Close, snapshot.SynSent, snapshot.Established, snapshot.CloseWait, snapshot.LastAck, snapshot.Close,
	}
	if n := testing.AllocsPerRun(1000, func() {
		for i := range len(life) - 1 {
			e.Time += 1000
			e.Old, e.New = life[i], life[i+1]
			merged.Apply(&e)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each connection", n)
	}
}

func BenchmarkTable(b *testing.B) {
	merged := table.New(table.Config{}, noProcesses(), func(*table.Change) {})
	e := table.Event{
		Kind: table.EventState, Netns: 1,
		Local: netip.MustParseAddrPort("127.0.0.1:1000"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
	}
	life := []snapshot.State{
		snapshot.Close, snapshot.SynSent, snapshot.Established, snapshot.CloseWait, snapshot.LastAck, snapshot.Close,
	}
	for b.Loop() {
		e.Cookie++
		for i := range len(life) - 1 {
			e.Time += 1000
			e.Old, e.New = life[i], life[i+1]
			merged.Apply(&e)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(life)-1), "ns/event")
}

// feeder feeds a table with the events of whole lives.
type feeder struct {
	merged *table.Table
	event  table.Event
	next   uint64
}

func newFeeder() *feeder {
	f := &feeder{merged: table.New(table.Config{ReportsPort: true}, noProcesses(), func(*table.Change) {}), next: 1 << 20}
	f.merged.EndInitial()
	f.merged.Apply(&table.Event{Kind: table.EventProcess, PID: 7, Process: &snapshot.Process{PID: 7, Comm: "life"}})
	return f
}

// socket begins a life: a cookie, and addresses of its own.
func (f *feeder) socket(port uint16) {
	f.next++
	n := byte(f.next)
	f.event = table.Event{
		Time: f.event.Time, Cookie: f.next, Sock: 0xffff888000000000 + f.next<<10, Netns: 1,
		Local:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port),
		Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, 1, n}), 80),
	}
}

func (f *feeder) feed(kind table.EventKind, from, to snapshot.State) {
	f.event.Kind, f.event.Old, f.event.New = kind, from, to
	f.event.Time += 1000
	e := f.event
	f.merged.Apply(&e)
}

// walk feeds the transitions between states.
func (f *feeder) walk(states ...snapshot.State) {
	for i := range len(states) - 1 {
		f.feed(table.EventState, states[i], states[i+1])
	}
}

// connect is a life of the active side, from a call of connect to a state.
func (f *feeder) connect(states ...snapshot.State) {
	f.socket(0)
	f.event.Task = 7
	f.walk(snapshot.Close, snapshot.SynSent)
	f.event.Task = 0
	f.event.Local = netip.AddrPortFrom(f.event.Local.Addr(), 40000+uint16(f.next%16384))
	f.feed(table.EventPort, 0, 0)
	f.feed(table.EventState, snapshot.SynSent, states[0])
	f.walk(states...)
}

// timewait replaces the full socket, and ends.
func (f *feeder) timewait() {
	full, mini := f.event.Sock, f.event.Sock+512
	f.event.Sock = mini
	f.feed(table.EventMiniBorn, 0, snapshot.TimeWait)
	f.event.Sock = full
	f.walk(snapshot.FinWait2, snapshot.Close)
	f.event.Sock = mini
	f.feed(table.EventMiniGone, 0, 0)
}

// accept is a life of the passive side.
func (f *feeder) accept() {
	f.socket(80)
	full, cookie := f.event.Sock, f.event.Cookie
	f.event.Sock, f.event.Cookie = full+512, 0
	f.feed(table.EventMiniBorn, 0, snapshot.SynRecv)
	f.event.Sock, f.event.Cookie = full, cookie
	f.walk(snapshot.SynRecv, snapshot.Established)
	f.event.Task = 7
	f.feed(table.EventAccept, 0, 0)
	f.event.Task = 0
	f.walk(snapshot.Established, snapshot.CloseWait)
	f.feed(table.EventRelease, 0, 0)
	f.walk(snapshot.CloseWait, snapshot.LastAck, snapshot.Close)
}

// lives feeds ten whole lives.
func (f *feeder) lives() {
	for range 3 {
		f.connect(snapshot.Established, snapshot.FinWait1, snapshot.FinWait2)
		f.timewait()
		f.accept()
	}
	f.connect(snapshot.Established, snapshot.CloseWait, snapshot.LastAck, snapshot.Close)
	f.connect(snapshot.Established, snapshot.Close)
	f.connect(snapshot.Close)
	f.accept()
	f.event.Time += 1e8
	f.merged.Settle(f.event.Time)
}

// TestTableLives has the lives that the benchmark feeds end, without an allocation.
func TestTableLives(t *testing.T) {
	f := newFeeder()
	if n := testing.AllocsPerRun(100, f.lives); n != 0 {
		t.Errorf("%v allocations for ten lives", n)
	}
	s := f.merged.Stats()
	if want := uint64(101 * 10); s.Open != 0 || s.Opened != want || s.Closed != want {
		t.Errorf("%+v, want %d opened and closed", s, want)
	}
}

// TestTableAllOfTimewaits goes through timewait sockets, which are no rows: a metric of them
// must not make one of each.
func TestTableAllOfTimewaits(t *testing.T) {
	f := newFeeder()
	const sockets = 100
	for range sockets {
		f.connect(snapshot.Established, snapshot.FinWait1, snapshot.FinWait2)
		full := f.event.Sock
		f.event.Sock += 512
		f.feed(table.EventMiniBorn, 0, snapshot.TimeWait)
		f.event.Sock = full
		f.walk(snapshot.FinWait2, snapshot.Close)
	}
	n := 0
	for c := range f.merged.All {
		if n++; c.State != snapshot.TimeWait || c.ID == 0 || c.Remote.Port() != 80 {
			t.Errorf("%+v", c)
		}
	}
	if n != sockets || f.merged.Len() != sockets {
		t.Errorf("%d sockets, counted as %d, want %d", n, f.merged.Len(), sockets)
	}
	if allocs := testing.AllocsPerRun(10, func() {
		for range f.merged.All {
		}
	}); allocs > sockets/10 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkTableLives(b *testing.B) {
	f := newFeeder()
	for b.Loop() {
		f.lives()
	}
}

// BenchmarkTableStories has both ends of connections told as stories: one that was accepted,
// and one that connected and leaves a timewait socket in FIN_WAIT2, as a busy host has them.
func BenchmarkTableStories(b *testing.B) {
	closes := 0
	merged := table.New(table.Config{
		ReportsPort: true, CanScan: true, Resets: true, RefreshMinis: true, OwnersByUse: true,
		Keeping: table.Keeping{Kept: func(uint64) bool { return false }},
	}, noProcesses(), func(*table.Change) { closes++ })
	merged.EndInitial()
	for task := range uint32(2) {
		merged.Apply(&table.Event{Kind: table.EventProcess, Task: 7 + task, Time: 1, Process: &snapshot.Process{PID: 7, Comm: "life"}})
	}
	story := func(n, at uint64, server, client netip.AddrPort) table.Story {
		return table.Story{
			Start: at, Established: at + 10, Caller: table.Event{Task: 7, Known: 1, TID: 7, CgroupID: 8},
			End: table.Event{
				Kind: table.EventState, Old: snapshot.LastAck, New: snapshot.Close, Time: at + 100, Cookie: n, Netns: 1,
				Sock: 1<<63 | n<<10, Local: server, Remote: client, UID: 7, HasUID: true, Task: 8, Known: 1,
				HasStats: true, AllAcked: true, AllSent: true, GotFIN: true, SegsOut: 4, SegsIn: 4, SocketState: 3,
			},
		}
	}
	accepted := []table.Step{{Old: snapshot.SynRecv, New: snapshot.Established}, {Old: snapshot.Established, New: snapshot.CloseWait}, {Old: snapshot.CloseWait, New: snapshot.LastAck}}
	connected := []table.Step{
		{Old: snapshot.Close, New: snapshot.SynSent},
		{Old: snapshot.SynSent, New: snapshot.Established},
		{Old: snapshot.Established, New: snapshot.FinWait1},
		{Old: snapshot.FinWait1, New: snapshot.FinWait2},
	}
	var minis []table.Event
	n, at := uint64(0), uint64(1e9)
	for b.Loop() {
		n, at = n+2, at+1000
		server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 80)
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(n >> 16), byte(n >> 8)}), uint16(n)|1)
		s := story(n, at, server, client)
		s.Incoming, s.Request, s.Used, s.Steps = true, true, at+90, accepted
		merged.ApplyStory(&s)
		s = story(n+1, at, client, server)
		s.Owned, s.Steps, s.Timewait, s.Substate = true, connected, 1<<63|(n<<10+512), snapshot.FinWait2
		s.End.Old = snapshot.FinWait2
		merged.ApplyStory(&s)
		if minis = append(minis, table.Event{Kind: table.EventMiniState, Sock: s.Timewait, Cookie: n + 1, Time: at + 200, New: snapshot.TimeWait}); len(minis) == 256 {
			for i := range minis {
				merged.Apply(&minis[i])
			}
			minis = minis[:0]
			merged.Settle(at)
			merged.NextFinWait2(256, func(uint64, uint64) {})
		}
	}
	if want := (int(n)/2 - len(minis)) * 2; closes < want {
		b.Errorf("%d closes told, want %d", closes, want)
	}
}
