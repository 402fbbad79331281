package tracer

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
)

// A model of the kernel makes sockets, walks them through their lives and says
// of each step what the BPF programs would. The table, fed with that, must end
// up with the model's sockets.

// modelSock is a socket of the model.
type modelSock struct {
	cookie        uint64
	sock, mini    uint64 // addresses; 0: there is none
	state         snapshot.State
	local, remote netip.AddrPort
	told          []snapshot.State // its states since the tracer was attached
	known         bool             // born since
	request       bool
}

type model struct {
	t       *rapid.T
	socks   []*modelSock
	ended   []*modelSock
	clock   uint64
	next    uint64
	cookies bool // the kernel tells cookies (5.12)
	early   bool // it tells of a child complete with its addresses (6.18)
	feed    func(Event)
}

func (m *model) address() uint64 {
	m.next++
	return 0xffff888000000000 + m.next<<10
}

func (m *model) event(kind EventKind, s *modelSock, from, to snapshot.State) Event {
	m.clock += 1000
	e := Event{
		Kind: kind, Time: m.clock, Old: from, New: to, Netns: 1,
		Sock: s.sock, Cookie: s.cookie, Local: s.local, Remote: s.remote,
	}
	if !m.cookies {
		e.Cookie = 0
	}
	return e
}

func (m *model) state(s *modelSock, to snapshot.State) {
	e := m.event(EventState, s, s.state, to)
	s.state = to
	s.told = append(s.told, to)
	m.feed(e)
}

// connect makes a socket of the active side.
func (m *model) connect() {
	m.next++
	s := &modelSock{
		cookie: m.next, sock: m.address(), state: snapshot.Close, known: true,
		local:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(32768+m.next%20000)),
		remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(m.next >> 8), byte(m.next)}), 80),
	}
	s.told = []snapshot.State{snapshot.Close}
	m.socks = append(m.socks, s)
	m.state(s, snapshot.SynSent)
	m.feed(m.event(EventPort, s, 0, 0))
}

// request makes a request socket of the passive side.
func (m *model) request() {
	m.next++
	s := &modelSock{
		mini: m.address(), state: snapshot.SynRecv, known: true, request: true,
		local:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(m.next >> 8), byte(m.next)}), 80),
		remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(32768+m.next%20000)),
	}
	s.told = []snapshot.State{snapshot.Listen, snapshot.SynRecv}
	m.socks = append(m.socks, s)
	m.miniEvent(EventMiniBorn, s)
}

func (m *model) miniEvent(kind EventKind, s *modelSock) {
	e := m.event(kind, s, 0, s.state)
	e.Sock = s.mini
	if s.request {
		e.Cookie = 0
	}
	m.feed(e)
}

func (m *model) remove(s *modelSock) {
	m.socks = slices.DeleteFunc(m.socks, func(o *modelSock) bool { return o == s })
	m.ended = append(m.ended, s)
}

// rearm stops and starts the timer of a mini-socket.
func (m *model) rearm(s *modelSock) {
	m.miniEvent(EventMiniGone, s)
	m.miniEvent(EventMiniBorn, s)
}

func (m *model) die(s *modelSock) {
	m.miniEvent(EventMiniGone, s)
	s.told = append(s.told, snapshot.Close)
	m.remove(s)
}

// accept turns a request socket into a full one, as inet_csk_complete_hashdance.
func (m *model) accept(s *modelSock) {
	m.next++
	s.cookie, s.sock = m.next, m.address()
	if m.early {
		m.feed(m.event(EventState, s, snapshot.Listen, snapshot.SynRecv))
	}
	request := *s
	s.mini, s.request = 0, false
	if rapid.Bool().Draw(m.t, "child first") {
		m.state(s, snapshot.Established)
		m.miniEvent(EventMiniGone, &request)
		return
	}
	m.miniEvent(EventMiniGone, &request)
	m.state(s, snapshot.Established)
}

// timewait replaces the full socket by a timewait socket.
func (m *model) timewait(s *modelSock, substate snapshot.State) {
	was := s.state
	s.mini = m.address()
	s.state = substate
	m.miniEvent(EventMiniBorn, s)
	m.feed(m.event(EventState, s, was, snapshot.Close))
	s.sock = 0
	if substate != was {
		s.told = append(s.told, substate)
	}
}

func (m *model) close(s *modelSock) {
	m.state(s, snapshot.Close)
	m.remove(s)
}

// step takes one socket one step further.
func (m *model) step(s *modelSock) {
	to := func(states ...snapshot.State) {
		next := rapid.SampledFrom(states).Draw(m.t, "next")
		if next == snapshot.Close {
			m.close(s)
			return
		}
		m.state(s, next)
	}
	switch {
	case s.request:
		rapid.SampledFrom([]func(*modelSock){m.accept, m.rearm, m.die}).Draw(m.t, "request")(s)
		return
	case s.mini != 0 && s.state == snapshot.FinWait2:
		if rapid.Bool().Draw(m.t, "fin") {
			s.state = snapshot.TimeWait
			s.told = append(s.told, snapshot.TimeWait)
			m.miniEvent(EventMiniState, s)
			return
		}
		m.die(s)
		return
	case s.mini != 0:
		rapid.SampledFrom([]func(*modelSock){m.rearm, m.die}).Draw(m.t, "timewait")(s)
		return
	}
	switch s.state {
	case snapshot.SynSent:
		to(snapshot.Established, snapshot.Close)
	case snapshot.Established:
		to(snapshot.FinWait1, snapshot.CloseWait, snapshot.Close)
	case snapshot.FinWait1:
		to(snapshot.FinWait2, snapshot.Closing, snapshot.Close)
	case snapshot.CloseWait:
		to(snapshot.LastAck, snapshot.Close)
	case snapshot.LastAck:
		to(snapshot.Close)
	case snapshot.FinWait2:
		m.timewait(s, rapid.SampledFrom([]snapshot.State{snapshot.FinWait2, snapshot.TimeWait}).Draw(m.t, "substate"))
	case snapshot.Closing:
		m.timewait(s, snapshot.TimeWait)
	}
}

// row tells a socket as the iterator finds it.
func (m *model) row(s *modelSock) Event {
	e := m.event(EventRow, s, 0, s.state)
	e.Time += rowGrace * 2 // well after the events before it
	m.clock = e.Time
	if s.mini != 0 {
		e.Sock, e.Mini = s.mini, true
	}
	if s.request {
		e.Cookie = 0
	}
	return e
}

func (m *model) table() []string {
	var rows []string
	for _, s := range m.socks {
		rows = append(rows, fmt.Sprintf("%v %v %v", s.local, s.remote, s.state))
	}
	slices.Sort(rows)
	return rows
}

// teller collects what the table tells.
type teller struct {
	walks  map[string][]snapshot.State // by addresses
	closes map[string]int
	wrong  int // inferred changes
}

func (w *teller) change(c *Change) {
	key := fmt.Sprintf("%v %v", c.Conn.Local, c.Conn.Remote)
	if c.Inferred {
		w.wrong++
	}
	if c.Kind == ChangeClose {
		w.closes[key]++
		return
	}
	if w.walks[key] == nil {
		w.walks[key] = []snapshot.State{c.Old}
	}
	w.walks[key] = append(w.walks[key], c.New)
}

func tableRows(t *Table) []string {
	var rows []string
	for c := range t.All {
		rows = append(rows, fmt.Sprintf("%v %v %v", c.Local, c.Remote, c.State))
	}
	slices.Sort(rows)
	return rows
}

func newModel(t *rapid.T) (*model, *Table, *teller) {
	w := &teller{walks: make(map[string][]snapshot.State), closes: make(map[string]int)}
	table := newTable(newProcesses(10, func(uint32) {}), w.change)
	table.holdPorts = true
	m := &model{t: t, clock: 1e9, cookies: rapid.Bool().Draw(t, "cookies"), early: rapid.Bool().Draw(t, "early")}
	m.feed = func(e Event) { table.apply(&e) }
	return m, table, w
}

func (m *model) run(steps int) {
	for range rapid.IntRange(0, steps).Draw(m.t, "steps") {
		switch k := rapid.IntRange(0, 9).Draw(m.t, "what"); {
		case k == 0 || len(m.socks) == 0:
			m.connect()
		case k == 1:
			m.request()
		default:
			m.step(rapid.SampledFrom(m.socks).Draw(m.t, "socket"))
		}
	}
}

// pass reads the model's table as the tracer reads the kernel's.
func (m *model) pass(table *Table, initial bool) (again bool) {
	m.clock += 1e9 // the mini-sockets whose timer stopped are settled
	table.settle(m.clock)
	table.beginPass(m.clock, initial)
	for _, s := range m.socks {
		e := m.row(s)
		table.apply(&e)
	}
	_, again = table.endPass(m.clock)
	return again
}

// Without losses every transition is told once and in order, each end once, and
// the table is the kernel's. Events that both copies of the program report, or
// that the row has already, change nothing.
func TestTableTellsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, table, w := newModel(t)
		apply := m.feed
		m.feed = func(e Event) {
			apply(e)
			if e.Kind == EventState && rapid.IntRange(0, 9).Draw(t, "twice") == 0 {
				apply(e)
			}
		}
		m.run(300)
		table.settle(m.clock + 1e9)
		if diff := cmp.Diff(m.table(), tableRows(table)); diff != "" {
			t.Fatalf("the table differs (-kernel +table):\n%s", diff)
		}
		if n := table.Len(); n != len(m.socks) {
			t.Fatalf("%d sockets counted, want %d", n, len(m.socks))
		}
		if w.wrong > 0 {
			t.Fatalf("%d changes were inferred", w.wrong)
		}
		for _, s := range slices.Concat(m.socks, m.ended) {
			key := fmt.Sprintf("%v %v", s.local, s.remote)
			if diff := cmp.Diff(s.told, w.walks[key]); diff != "" {
				t.Fatalf("%s: (-kernel +told):\n%s", key, diff)
			}
			want := 0
			if slices.Contains(m.ended, s) || s.state == snapshot.TimeWait {
				want = 1
			}
			if w.closes[key] != want {
				t.Fatalf("%s: closed %d times, want %d: %v", key, w.closes[key], want, s.told)
			}
		}
	})
}

// Attached in the middle, with the first pass in the middle of more events,
// every socket is listed or told from its birth, once, and the rest follows.
func TestTableSeamlessStart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, table, w := newModel(t)
		feed := m.feed
		m.feed = func(Event) {} // not attached yet
		m.run(200)
		for _, s := range m.socks {
			s.known, s.told = false, nil
		}
		m.ended = nil
		m.feed = feed
		m.clock += 1e9
		m.run(50)
		m.clock += 1e6
		table.beginPass(m.clock, true)
		read := make(map[*modelSock]bool)
		// Mini-sockets whose rows are told later than they were taken from the
		// table, as they are then or were in the end.
		type lateRow struct {
			sock  *modelSock
			taken modelSock
		}
		var late []lateRow
		for {
			i := slices.IndexFunc(m.socks, func(s *modelSock) bool { return !read[s] })
			if i < 0 {
				break
			}
			s := m.socks[i]
			read[s] = true
			e := m.row(s)
			if e.Mini && rapid.Bool().Draw(t, "late") {
				late = append(late, lateRow{s, *s})
			} else {
				table.apply(&e)
			}
			m.run(3)
		}
		for _, l := range late {
			if l.sock.mini == l.taken.mini {
				l.taken = *l.sock
			}
			e := m.row(&l.taken)
			table.apply(&e)
		}
		table.endPass(m.clock)
		listed := make(map[string]snapshot.State)
		for r := range table.initialRows {
			key := fmt.Sprintf("%v %v", r.Local, r.Remote)
			if _, twice := listed[key]; twice {
				t.Fatalf("%s is listed twice", key)
			}
			listed[key] = r.State
		}
		m.run(100)
		table.settle(m.clock + 1e9)
		if diff := cmp.Diff(m.table(), tableRows(table)); diff != "" {
			t.Fatalf("the table differs (-kernel +table):\n%s", diff)
		}
		if w.wrong > 0 {
			t.Fatalf("%d changes were inferred", w.wrong)
		}
		for _, s := range slices.Concat(m.socks, m.ended) {
			checkStart(t, s, listed, w)
		}
	})
}

func checkStart(t *rapid.T, s *modelSock, listed map[string]snapshot.State, w *teller) {
	key := fmt.Sprintf("%v %v", s.local, s.remote)
	first, isListed := listed[key]
	walk := w.walks[key]
	if s.known {
		if isListed {
			t.Fatalf("%s was born later and is listed", key)
		}
		if diff := cmp.Diff(s.told, walk); diff != "" {
			t.Fatalf("%s: (-kernel +told):\n%s", key, diff)
		}
		return
	}
	if len(walk) > 0 {
		if isListed && walk[0] != first {
			t.Fatalf("%s is listed as %v and goes on with %v", key, first, walk)
		}
		walk = walk[1:]
	} else if !isListed && len(s.told) == 0 {
		t.Fatalf("%s is neither listed nor told", key)
	}
	if !isListed && len(walk) > 0 && walk[0] == snapshot.SynRecv {
		walk = walk[1:] // of its request socket, which was there before: its child tells it
	}
	// What happened before the row was read, and was told by no event, is in the row.
	if !strings.HasSuffix(fmt.Sprint(s.told), strings.TrimPrefix(fmt.Sprint(walk), "[")) {
		t.Fatalf("%s: told %v, the kernel did %v", key, walk, s.told)
	}
}

// Whatever is lost, one or two passes mend the table.
func TestTableHeals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, table, _ := newModel(t)
		apply := m.feed
		m.feed = func(e Event) {
			if rapid.IntRange(0, 3).Draw(t, "lose") > 0 {
				apply(e)
			}
		}
		m.run(200)
		m.feed = apply
		if m.pass(table, false) {
			m.pass(table, false)
		}
		if diff := cmp.Diff(m.table(), tableRows(table)); diff != "" {
			t.Fatalf("the table differs (-kernel +table):\n%s", diff)
		}
		before := table.stats.Told
		if m.pass(table, false) || table.resync != (Resync{}) || table.stats.Told != before {
			t.Fatalf("a pass over a right table changed it: %+v", table.resync)
		}
		m.run(100)
		table.settle(m.clock + 1e9)
		if diff := cmp.Diff(m.table(), tableRows(table)); diff != "" {
			t.Fatalf("the table differs after it was mended (-kernel +table):\n%s", diff)
		}
	})
}

// A table in full use allocates for the processes that it meets only.
func TestTableAllocatesNothing(t *testing.T) {
	table := newTable(newProcesses(10, func(uint32) {}), func(*Change) {})
	e := Event{
		Kind: EventState, Cookie: 5, Netns: 1,
		Local: netip.MustParseAddrPort("127.0.0.1:1000"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
	}
	life := []snapshot.State{
		snapshot.Close, snapshot.SynSent, snapshot.Established, snapshot.CloseWait, snapshot.LastAck, snapshot.Close,
	}
	if n := testing.AllocsPerRun(1000, func() {
		for i := range len(life) - 1 {
			e.Time += 1000
			e.Old, e.New = life[i], life[i+1]
			table.apply(&e)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each connection", n)
	}
}

func BenchmarkTable(b *testing.B) {
	table := newTable(newProcesses(10, func(uint32) {}), func(*Change) {})
	e := Event{
		Kind: EventState, Netns: 1,
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
			table.apply(&e)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(life)-1), "ns/event")
}

// TestRecent has an end told a second time after hundreds of others.
func TestRecent(t *testing.T) {
	var r recent
	const first, others = 7, 500
	r.add(first)
	for key := uint64(100); key < 100+others; key++ {
		r.add(key)
	}
	if !r.has(first) || r.has(first+1) {
		t.Error("what ended is not known, or something else is")
	}
	if r.remove(first); r.has(first) {
		t.Error("what began again is still known as ended")
	}
}

// TestTableMissedTimewait has a connection whose full socket's end only sock_ops
// saw, and nobody the birth of its timewait socket: when the peer closes too, the
// timer that is started again shows both.
func TestTableMissedTimewait(t *testing.T) {
	w := &teller{walks: make(map[string][]snapshot.State), closes: make(map[string]int)}
	table := newTable(newProcesses(10, func(uint32) {}), w.change)
	table.canPass = true
	e := Event{
		Kind: EventState, Cookie: 5, Netns: 1, Sock: 0x1000,
		Local: netip.MustParseAddrPort("127.0.0.1:1000"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
	}
	life := []snapshot.State{snapshot.Close, snapshot.SynSent, snapshot.Established, snapshot.FinWait1, snapshot.FinWait2, snapshot.Close}
	for i := range len(life) - 1 {
		e.Time += 1000
		if e.Old, e.New = life[i], life[i+1]; e.New == snapshot.Close {
			e.Kind = EventMissed
		}
		table.apply(&e)
	}
	table.settle(e.Time + 2*dyingGrace)
	e.Kind, e.Sock, e.Old, e.New, e.Time = EventMiniBorn, 0x2000, 0, snapshot.TimeWait, e.Time+3*dyingGrace
	table.apply(&e)
	table.settle(e.Time + 2*dyingGrace)
	e.Kind, e.New, e.Time = EventMiniGone, 0, e.Time+3*dyingGrace
	table.apply(&e)
	table.settle(e.Time + 2*dyingGrace)

	key := fmt.Sprintf("%v %v", e.Local, e.Remote)
	want := append(slices.Clone(life[:len(life)-1]), snapshot.TimeWait, snapshot.Close)
	if got := w.walks[key]; !slices.Equal(got, want) || w.closes[key] != 1 || w.wrong != 0 {
		t.Errorf("told %v, %d closes, %d inferred changes, want %v, one and none", got, w.closes[key], w.wrong, want)
	}
	if table.Len() != 0 {
		t.Errorf("left: %v", tableRows(table))
	}
}

// TestWaitPass has a run that ends when the pass under way has been read already.
func TestWaitPass(t *testing.T) {
	tr := &Tracer{passing: true, passRead: true, passDone: make(chan error, 1)}
	tr.waitPass() // it would wait for ever, or read the ring that is not there
	tr = &Tracer{passing: true, passDone: make(chan error, 1)}
	tr.passDone <- os.ErrClosed
	if tr.waitPass(); tr.passing || !errors.Is(tr.err, os.ErrClosed) {
		t.Errorf("passing: %t, error %v", tr.passing, tr.err)
	}
}
