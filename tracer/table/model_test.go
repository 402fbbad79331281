package table_test

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// A model of the kernel makes sockets, walks them through their lives and says
// of each step what the BPF programs would. The table, fed with that, must end
// up with the model's sockets.

// grace is how long the table waits before silence decides.
const grace = uint64(50e6)

// modelSock is a socket of the model.
type modelSock struct {
	cookie        uint64
	sock, mini    uint64 // addresses; 0: there is none
	state         snapshot.State
	local, remote netip.AddrPort
	walked        []snapshot.State // its states since the tracer was attached
	known         bool             // born since
	request       bool
	asked         bool          // somebody has asked for its cookie
	task          uint32        // of a listener's process
	listener      *modelSock    // that can accept it, and whose key the kernel named; nil: not known
	outcome       table.Outcome // how it ended
}

type model struct {
	t       *rapid.T
	socks   []*modelSock
	ended   []*modelSock
	clock   uint64
	next    uint64
	cpu     uint16 // that takes the step
	cookies bool   // the kernel reports cookies (5.12)
	early   bool   // it reports a child complete with its addresses (6.18)
	proc    bool   // rows come from /proc
	feed    func(table.Event)
}

func (m *model) address() uint64 {
	m.next++
	return 0xffff888000000000 + m.next<<10
}

func (m *model) event(kind table.EventKind, s *modelSock, from, to snapshot.State) table.Event {
	m.clock += 1000
	e := table.Event{
		Kind: kind, Time: m.clock, Old: from, New: to, Netns: 1,
		Sock: s.sock, Cookie: s.cookie, Local: s.local, Remote: s.remote,
	}
	if !s.asked && (!m.cookies || s.request) {
		e.Cookie = 0
	}
	switch kind {
	case table.EventMiniState, table.EventMiniExpired, table.EventResetSent, table.EventResetCame:
	default:
		e.CPU = m.cpu
	}
	return e
}

func (m *model) state(s *modelSock, to snapshot.State) {
	e := m.event(table.EventState, s, s.state, to)
	s.state = to
	s.walked = append(s.walked, to)
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
	m.begin(s)
}

// begin has a socket leave CLOSE for SYN_SENT, unless connect fails at once.
func (m *model) begin(s *modelSock) {
	if rapid.IntRange(0, 9).Draw(m.t, "no route") == 0 {
		e := m.event(table.EventConnectFailed, s, 0, snapshot.Close)
		e.Err = syscall.ENETUNREACH
		s.outcome = table.Unreachable
		m.ended = append(m.ended, s)
		m.feed(e)
		return
	}
	s.walked = []snapshot.State{snapshot.Close}
	m.socks = append(m.socks, s)
	m.state(s, snapshot.SynSent)
	m.feed(m.event(table.EventPort, s, 0, 0))
}

// request makes a request socket of the passive side.
func (m *model) request() {
	m.next++
	s := &modelSock{
		mini: m.address(), state: snapshot.SynRecv, known: true, request: true,
		local:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(m.next >> 8), byte(m.next)}), 80),
		remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(32768+m.next%20000)),
	}
	s.walked = []snapshot.State{snapshot.Listen, snapshot.SynRecv}
	listeners := slices.DeleteFunc(slices.Clone(m.socks), func(o *modelSock) bool { return o.state != snapshot.Listen })
	s.listener = rapid.SampledFrom(append(listeners, nil)).Draw(m.t, "listener")
	m.socks = append(m.socks, s)
	m.miniEvent(table.EventMiniBorn, s)
}

func (m *model) miniEvent(kind table.EventKind, s *modelSock) {
	e := m.event(kind, s, 0, s.state)
	e.Sock = s.mini
	if l := s.listener; s.request && l != nil && kind == table.EventMiniBorn {
		e.Listener = l.cookie
		if !m.cookies && !l.asked {
			e.Listener = l.sock
		}
	}
	m.feed(e)
}

// listen makes a listener of a process of its own.
func (m *model) listen() {
	m.next++
	s := &modelSock{
		cookie: m.next, sock: m.address(), state: snapshot.Close, known: true, task: uint32(m.next),
		local:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 2, byte(m.next >> 8), byte(m.next)}), 80),
		remote: netip.MustParseAddrPort("0.0.0.0:0"),
	}
	s.walked = []snapshot.State{snapshot.Close}
	m.socks = append(m.socks, s)
	process := m.event(table.EventProcess, s, 0, 0)
	process.Task, process.Process = s.task, &snapshot.Process{PID: int(s.task)}
	m.feed(process)
	e := m.event(table.EventState, s, snapshot.Close, snapshot.Listen)
	e.Task = s.task
	s.state = snapshot.Listen
	s.walked = append(s.walked, snapshot.Listen)
	m.feed(e)
}

// unlisten ends a listener. Another one takes over what waits in its queue.
func (m *model) unlisten(s *modelSock) {
	for _, o := range m.socks {
		if o.listener == s {
			o.listener = nil
		}
	}
	m.close(s)
}

// checkOwners wants each connection to be of the process whose listener can accept it,
// or of nobody; with exact of nobody only if the kernel has not named that listener.
func (m *model) checkOwners(merged *table.Table, exact bool) {
	of := make(map[string]*modelSock)
	for _, s := range m.socks {
		of[fmt.Sprint(s.local, s.remote)] = s
	}
	for c := range merged.All {
		s := of[fmt.Sprint(c.Local, c.Remote)]
		switch {
		case s == nil || s.state == snapshot.Listen:
		case c.Owner.Process == nil:
			if exact && s.known && s.listener != nil && s.listener.known {
				m.t.Fatalf("%v %v is of nobody, want %d", c.Remote, c.State, s.listener.task)
			}
		case s.listener == nil || c.Owner.Process.PID != int(s.listener.task):
			m.t.Fatalf("%v %v is of %d, by the listener %+v", c.Remote, c.State, c.Owner.Process.PID, s.listener)
		}
	}
}

func (m *model) remove(s *modelSock) {
	m.socks = slices.DeleteFunc(m.socks, func(o *modelSock) bool { return o == s })
	m.ended = append(m.ended, s)
}

// rearm stops and starts the timer of a mini-socket.
func (m *model) rearm(s *modelSock) {
	m.miniEvent(table.EventMiniGone, s)
	m.miniEvent(table.EventMiniBorn, s)
}

func (m *model) die(s *modelSock) {
	m.miniEvent(table.EventMiniGone, s)
	if s.request {
		s.outcome = table.HandshakeDropped
	}
	s.walked = append(s.walked, snapshot.Close)
	m.remove(s)
}

// dieEarly ends a timewait socket in FIN_WAIT2.
func (m *model) dieEarly(s *modelSock) {
	event := func(kind table.EventKind) {
		e := m.event(kind, s, snapshot.TimeWait, 0)
		e.Sock = s.mini
		m.feed(e)
	}
	s.outcome = rapid.SampledFrom([]table.Outcome{
		table.OutcomeUnknown, table.Timeout, table.ResetLocal, table.ResetRemote,
	}).Draw(m.t, "why")
	if s.outcome == table.ResetLocal { // its RST is sent first
		event(table.EventResetSent)
	}
	m.die(s)
	switch s.outcome {
	case table.Timeout:
		event(table.EventMiniExpired)
	case table.ResetRemote:
		event(table.EventResetCame)
	}
}

// accept turns a request socket into a full one, as inet_csk_complete_hashdance.
func (m *model) accept(s *modelSock) {
	request := *s
	m.next++
	s.sock, s.mini, s.request = m.address(), 0, false
	if !s.asked { // else the child has the cookie of its request
		s.cookie = m.next
	}
	if m.early {
		m.feed(m.event(table.EventState, s, snapshot.Listen, snapshot.SynRecv))
	}
	if rapid.Bool().Draw(m.t, "child first") {
		m.state(s, snapshot.Established)
		m.miniEvent(table.EventMiniGone, &request)
		return
	}
	m.miniEvent(table.EventMiniGone, &request)
	m.state(s, snapshot.Established)
}

// timewait replaces the full socket by a timewait socket.
func (m *model) timewait(s *modelSock, substate snapshot.State) {
	was := s.state
	s.mini = m.address()
	s.state = substate
	m.miniEvent(table.EventMiniBorn, s)
	m.feed(m.event(table.EventState, s, was, snapshot.Close))
	s.sock = 0
	if substate != was {
		s.walked = append(s.walked, substate)
	}
	if substate == snapshot.TimeWait {
		s.outcome = table.Finished
	}
}

// modelEnd is one way for a full socket to end: what its last transition shows, and
// what follows it.
type modelEnd struct {
	last      table.Event   // the facts of the transition
	resetSent bool          // a RST is sent next
	connect   syscall.Errno // connect() returns it next
	outcome   table.Outcome
}

// modelEnds are the ways to end in each state.
func modelEnds(s snapshot.State) []modelEnd {
	const unconnected, connecting, connected = 1, 2, 3
	if s == snapshot.Listen {
		return []modelEnd{{}} // a listener has no close
	}
	silent := modelEnd{last: table.Event{Err: syscall.ETIMEDOUT}, outcome: table.Timeout}
	reset := modelEnd{last: table.Event{Err: syscall.ECONNRESET, RcvShutdown: true}, outcome: table.ResetRemote}
	late := modelEnd{last: reset.last, resetSent: true, outcome: table.ResetLocal}
	switch s {
	case snapshot.SynSent:
		return []modelEnd{
			{last: table.Event{Task: 1, Owned: true, SocketState: connecting, SegsOut: 1}, outcome: table.AbortedConnect},
			{last: table.Event{Err: syscall.ECONNREFUSED, SegsIn: 1, SocketState: connecting}, outcome: table.Refused},
			{last: table.Event{Task: 1, Owned: true, SocketState: unconnected}, connect: syscall.EADDRNOTAVAIL, outcome: table.NoLocalPort},
			{last: table.Event{Task: 1, Owned: true, SocketState: unconnected, SegsOut: 1}, connect: syscall.ECONNREFUSED, outcome: table.Rejected},
		}
	case snapshot.Established, snapshot.CloseWait:
		reset.last.RcvShutdown = false
		return []modelEnd{
			silent, reset,
			{last: table.Event{Task: 1, Owned: true, SendShutdown: true, SocketState: connected}, resetSent: true, outcome: table.ResetLocal},
			{last: table.Event{Err: syscall.EHOSTUNREACH}, outcome: table.Unreachable},
		}
	case snapshot.LastAck:
		return []modelEnd{silent, reset, late, {last: table.Event{AllAcked: true}, outcome: table.Finished}}
	}
	return []modelEnd{silent, reset, late, {last: table.Event{Task: 1, Owned: true, SendShutdown: true}, resetSent: true, outcome: table.ResetLocal}}
}

// close ends a full socket that leaves nothing behind. The program may connect again
// with it, at once.
func (m *model) close(s *modelSock) {
	end := rapid.SampledFrom(modelEnds(s.state)).Draw(m.t, "end")
	e := m.event(table.EventState, s, s.state, snapshot.Close)
	e.HasStats, e.Task, e.Owned, e.Err = true, end.last.Task, end.last.Owned, end.last.Err
	e.RcvShutdown, e.SendShutdown = end.last.RcvShutdown, end.last.SendShutdown
	e.SocketState, e.AllAcked = end.last.SocketState, end.last.AllAcked
	e.SegsOut, e.SegsIn = end.last.SegsOut, end.last.SegsIn
	s.state, s.outcome = snapshot.Close, end.outcome
	s.walked = append(s.walked, snapshot.Close)
	m.remove(s)
	m.feed(e)
	if end.resetSent {
		m.feed(m.event(table.EventResetSent, s, snapshot.Close, 0))
	}
	if end.connect != 0 {
		e := m.event(table.EventConnectFailed, s, 0, snapshot.Close)
		e.Err = end.connect
		m.feed(e)
	}
	if rapid.IntRange(0, 3).Draw(m.t, "again") == 0 {
		m.next++
		again := modelSock{cookie: s.cookie, asked: s.asked, sock: s.sock, state: snapshot.Close, known: true, local: s.local, remote: s.remote}
		again.remote = netip.AddrPortFrom(s.remote.Addr(), uint16(1024+m.next%60000))
		m.begin(&again)
	}
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
			s.walked = append(s.walked, snapshot.TimeWait)
			s.outcome = table.Finished
			m.miniEvent(table.EventMiniState, s)
			return
		}
		m.dieEarly(s)
		return
	case s.state == snapshot.Listen:
		if rapid.IntRange(0, 3).Draw(m.t, "unlisten") == 0 {
			m.unlisten(s)
		}
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

// row returns a socket as sock_diag shows it, which gives it a cookie if it has none, or as
// /proc does.
func (m *model) row(s *modelSock) table.Event {
	if m.proc {
		return table.Event{
			Kind: table.EventRow, New: s.state, Netns: 1, Mini: s.mini != 0, Local: s.local, Remote: s.remote,
		}
	}
	if s.request && !s.asked {
		m.next++
		s.cookie = m.next
	}
	s.asked = true
	return table.Event{
		Kind: table.EventRow, New: s.state, Netns: 1, Mini: s.mini != 0,
		Cookie: s.cookie, Local: s.local, Remote: s.remote,
	}
}

func (m *model) table() []string {
	var rows []string
	for _, s := range m.socks {
		rows = append(rows, fmt.Sprintf("%v %v %v", s.local, s.remote, s.state))
	}
	slices.Sort(rows)
	return rows
}

// recorder collects what the table reports.
type recorder struct {
	walks  map[string][]snapshot.State // by addresses
	closes map[string]int
	ends   map[string]table.Outcome
	wrong  []string // inferred changes
	torn   int      // ends that the transition before the close did not carry, or carried otherwise
	before *table.Closed
}

func newRecorder() *recorder {
	return &recorder{
		walks: make(map[string][]snapshot.State), closes: make(map[string]int), ends: make(map[string]table.Outcome),
	}
}

func (w *recorder) change(c *table.Change) {
	key := fmt.Sprintf("%v %v", c.Conn.Local, c.Conn.Remote)
	if c.Inferred {
		w.wrong = append(w.wrong, fmt.Sprintf("%s %v -> %v after %v", key, c.Old, c.New, c.Conn.History.States()))
	}
	switch closes := c.Kind == table.ChangeClose; {
	case closes && w.before == nil:
		if len(c.Conn.History.States()) > 0 { // else a connect that failed at once: the close is alone
			w.torn++
		}
	case closes != (w.before != nil), closes && *w.before != *c.Close:
		w.torn++
	}
	if w.before = nil; c.Kind == table.ChangeState && c.Close != nil {
		before := *c.Close
		w.before = &before
	}
	switch c.Kind {
	case table.ChangeClose:
		w.closes[key]++
		w.ends[key] = c.Close.Outcome
		return
	case table.ChangeOwner:
		return
	}
	if w.walks[key] == nil {
		w.walks[key] = []snapshot.State{c.Old}
	}
	w.walks[key] = append(w.walks[key], c.New)
}

func tableRows(t *table.Table) []string {
	var rows []string
	for c := range t.All {
		rows = append(rows, fmt.Sprintf("%v %v %v", c.Local, c.Remote, c.State))
	}
	slices.Sort(rows)
	return rows
}

// noProcesses is a cache without a proc file system.
func noProcesses() *table.Processes {
	return table.NewProcesses(10, func(*snapshot.Process, uint64) {}, func(uint32) {})
}

func newModel(t *rapid.T) (*model, *table.Table, *recorder) {
	w := newRecorder()
	m := &model{t: t, clock: 1e9, cookies: rapid.Bool().Draw(t, "cookies"), early: rapid.Bool().Draw(t, "early")}
	cfg := table.Config{ReportsPort: true, CanScan: true, Resets: true, Connects: true, LateCookies: !m.cookies}
	merged := table.New(cfg, noProcesses(), w.change)
	m.feed = func(e table.Event) {
		merged.Apply(&e)
		if err := merged.Check(); err != nil {
			t.Fatal(err)
		}
	}
	return m, merged, w
}

func (m *model) run(steps int) {
	for range rapid.IntRange(0, steps).Draw(m.t, "steps") {
		m.cpu = uint16(rapid.IntRange(0, 3).Draw(m.t, "cpu"))
		switch k := rapid.IntRange(0, 9).Draw(m.t, "what"); {
		case k == 0 || len(m.socks) == 0:
			m.connect()
		case k == 1:
			m.request()
		case k == 2 && rapid.IntRange(0, 3).Draw(m.t, "listen") == 0:
			m.listen()
		default:
			m.step(rapid.SampledFrom(m.socks).Draw(m.t, "socket"))
		}
	}
}

// checkTotals compares the totals with the kernel's sockets and what was reported.
func (m *model) checkTotals(merged *table.Table, w *recorder) {
	open, closes := uint64(0), uint64(0)
	for _, s := range m.socks {
		if s.state != snapshot.TimeWait && s.state != snapshot.Listen {
			open++
		}
	}
	for _, n := range w.closes {
		closes += uint64(n)
	}
	s := merged.Stats()
	if s.Open != open || s.Closed != closes || s.Before+s.Opened != s.Closed+s.Open {
		m.t.Fatalf("counted %+v, but %d are open and %d closes were reported", s, open, closes)
	}
}

// scan reads the model's table as the tracer reads the kernel's: each row at a moment
// between two readings of the clock, with up to most steps before, between and after the
// rows of a batch.
func (m *model) scan(merged *table.Table, initial bool, most int) (found table.Resync, again bool) {
	if !initial {
		m.clock += 1e9 // the mini-sockets whose timer stopped are settled
		merged.Settle(m.clock)
	}
	merged.BeginScan(m.clock, initial)
	m.rows(merged, most)
	for round := 0; ; round++ {
		doubts := merged.Doubts()
		if len(doubts) == 0 {
			break
		}
		if round > 20 {
			m.t.Fatalf("%d sockets are in doubt for good", len(doubts))
		}
		m.clock += 10e6
		for _, q := range doubts {
			merged.Answer(q, m.answer(q, most))
			m.check(merged)
		}
	}
	found, again = merged.EndScan(m.clock)
	m.check(merged)
	return found, again
}

// rows reads every socket that is there from beginning to end, and some of those that are
// not.
func (m *model) rows(merged *table.Table, most int) {
	read := make(map[*modelSock]bool)
	for {
		var batch []table.Event
		after := m.clock
		for range rapid.IntRange(1, 5).Draw(m.t, "rows of a batch") {
			m.run(most)
			i := slices.IndexFunc(m.socks, func(s *modelSock) bool { return !read[s] })
			if i < 0 {
				break
			}
			read[m.socks[i]] = true
			batch = append(batch, m.row(m.socks[i]))
			if rapid.IntRange(0, 9).Draw(m.t, "stored late") == 0 {
				m.run(min(most, 1))
				after = m.clock // its state was reported, and not stored when it was read
			}
		}
		if len(batch) == 0 {
			return
		}
		m.run(most)
		before := m.clock
		m.run(most)
		for i := range batch {
			batch[i].After, batch[i].Time = after, before
			merged.Apply(&batch[i])
			m.check(merged)
		}
	}
}

// answer asks the model for one socket.
func (m *model) answer(q table.Question, most int) table.Answer {
	a := table.Answer{Known: !m.proc, After: m.clock}
	m.run(most)
	if m.proc { // of which nothing can be asked
		return a
	}
	if s := m.find(q); s != nil {
		row := m.row(s)
		a.Row = &row
	}
	m.run(most)
	a.Time = m.clock
	if a.Row != nil {
		a.Row.After, a.Row.Time = a.After, a.Time
	}
	m.run(most)
	return a
}

// find looks a socket up as inet_diag_find_one_icsk does: without a cookie it finds a
// listener where there is no connection.
func (m *model) find(q table.Question) *modelSock {
	for _, s := range m.socks {
		if s.local == q.Local && s.remote == q.Remote && (q.Cookie == 0 || q.Cookie == s.cookie) {
			return s
		}
	}
	if q.Cookie != 0 {
		return nil
	}
	i := slices.IndexFunc(m.socks, func(s *modelSock) bool { return s.state == snapshot.Listen })
	if i < 0 {
		return nil
	}
	return m.socks[i]
}

func (m *model) check(merged *table.Table) {
	if err := merged.Check(); err != nil {
		m.t.Fatal(err)
	}
}
