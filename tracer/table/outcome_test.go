package table

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
)

// The states of a struct socket that these tests need besides.
const (
	connecting = 2 // SS_CONNECTING
	connected  = 3 // SS_CONNECTED
)

// TestOutcome has the last transition of a full socket decide how it ended. What
// the kernel does in each case is played by TestStreamEndings of cmd/nettrace.
func TestOutcome(t *testing.T) {
	type end struct {
		name      string
		last      snapshot.State
		direction Direction
		event     Event  // the facts of the transition
		known     ending // what other events have said
		timewait  bool
		missed    bool // sock_ops alone reported it

		outcome Outcome
		errno   syscall.Errno
		side    Side
	}
	for _, c := range []end{
		// Connects.
		{name: "no port", last: snapshot.SynSent, event: Event{SocketState: socketUnconnected, Owned: true}, outcome: NoLocalPort},
		{
			name: "no port, and its errno", last: snapshot.SynSent, event: Event{SocketState: socketUnconnected, Owned: true},
			known: ending{connect: shortErrno(syscall.EADDRNOTAVAIL)}, outcome: NoLocalPort, errno: syscall.EADDRNOTAVAIL,
		},
		{
			name: "no port, with an error of an earlier life", last: snapshot.SynSent,
			event: Event{SocketState: socketUnconnected, Owned: true, Err: syscall.ECONNRESET}, outcome: NoLocalPort,
		},
		{
			name: "no route in the end", last: snapshot.SynSent, event: Event{SocketState: socketUnconnected, Owned: true},
			known: ending{connect: shortErrno(syscall.ENETUNREACH)}, outcome: Unreachable, errno: syscall.ENETUNREACH,
		},
		{
			name: "SYN refused on its way out", last: snapshot.SynSent, event: Event{SocketState: socketUnconnected, Owned: true, SegsOut: 1},
			known: ending{connect: shortErrno(syscall.ECONNREFUSED)}, outcome: Rejected, errno: syscall.ECONNREFUSED,
		},
		{name: "given up", last: snapshot.SynSent, event: Event{SocketState: connecting, Owned: true, SegsOut: 1}, outcome: AbortedConnect},
		{
			name: "closed at once", last: snapshot.SynSent,
			event: Event{SocketState: socketUnconnected, RcvShutdown: true, SendShutdown: true, Owned: true, SegsOut: 1}, outcome: AbortedConnect,
		},
		{name: "closed by the kernel's own thread", last: snapshot.SynSent, event: Event{SocketState: connecting, SendShutdown: true, SegsOut: 1}, outcome: AbortedConnect},
		{name: "error taken", last: snapshot.SynSent, event: Event{SocketState: connecting, SegsOut: 1}, outcome: OutcomeUnknown},
		{name: "subflow without a socket", last: snapshot.SynSent, event: Event{Owned: true, SegsOut: 1}, outcome: OutcomeUnknown},
		{
			name: "ICMP error taken", last: snapshot.SynSent, event: Event{SocketState: connecting, Owned: true, SegsOut: 1},
			known: ending{icmp: shortErrno(syscall.ECONNREFUSED)}, outcome: Rejected, errno: syscall.ECONNREFUSED,
		},
		{
			name: "ICMP error not looked at", last: snapshot.SynSent,
			event: Event{SocketState: connecting, Owned: true, SegsOut: 1, ErrSoft: syscall.ECONNREFUSED},
			known: ending{icmp: shortErrno(syscall.ECONNREFUSED)}, outcome: AbortedConnect,
		},
		{
			name: "refused", last: snapshot.SynSent, event: Event{Err: syscall.ECONNREFUSED, SegsIn: 1},
			outcome: Refused, errno: syscall.ECONNREFUSED, side: Remote,
		},
		{name: "port unreachable", last: snapshot.SynSent, event: Event{Err: syscall.ECONNREFUSED, SegsOut: 1}, outcome: Rejected, errno: syscall.ECONNREFUSED},
		{name: "no answer", last: snapshot.SynSent, event: Event{Err: syscall.ETIMEDOUT}, outcome: TimeoutConnect, errno: syscall.ETIMEDOUT},
		{name: "no neighbour", last: snapshot.SynSent, event: Event{Err: syscall.EHOSTUNREACH}, outcome: Unreachable, errno: syscall.EHOSTUNREACH},
		{name: "destroyed", last: snapshot.SynSent, event: Event{Err: syscall.ECONNABORTED}, outcome: Destroyed, errno: syscall.ECONNABORTED},
		{
			name: "simultaneous open, reset", last: snapshot.SynRecv, direction: Outgoing, event: Event{Err: syscall.ECONNRESET, SegsOut: 2},
			outcome: Refused, errno: syscall.ECONNRESET, side: Remote,
		},
		{name: "handshake", last: snapshot.SynRecv, direction: Incoming, outcome: HandshakeDropped},
		{name: "given up, by sock_ops", last: snapshot.SynSent, missed: true, outcome: OutcomeUnknown},

		// After ESTABLISHED, before a FIN of this side.
		{
			name: "closed with data unread and an error pending", last: snapshot.Established,
			event: Event{RcvShutdown: true, SendShutdown: true, Err: syscall.EHOSTUNREACH, Owned: true}, outcome: ResetLocal, side: Local,
		},
		{name: "disconnected", last: snapshot.CloseWait, event: Event{Owned: true, SocketState: connected}, outcome: ResetLocal, side: Local},
		{name: "never accepted", last: snapshot.Established, outcome: ResetLocal, side: Local},
		{name: "out of memory", last: snapshot.Established, event: Event{SocketState: connected}, known: ending{resetSent: true}, outcome: ResetLocal, side: Local},
		{name: "error taken, established", last: snapshot.Established, event: Event{SocketState: connected}, outcome: OutcomeUnknown},
		{name: "reset", last: snapshot.Established, event: Event{Err: syscall.ECONNRESET}, outcome: ResetRemote, errno: syscall.ECONNRESET, side: Remote},
		{name: "reset in CLOSE_WAIT", last: snapshot.CloseWait, event: Event{Err: syscall.EPIPE}, outcome: ResetRemote, errno: syscall.EPIPE, side: Remote},
		{name: "silent", last: snapshot.Established, event: Event{Err: syscall.ETIMEDOUT}, outcome: Timeout, errno: syscall.ETIMEDOUT},
		{
			name: "keepalive", last: snapshot.Established, event: Event{Err: syscall.ETIMEDOUT}, known: ending{resetSent: true},
			outcome: Timeout, errno: syscall.ETIMEDOUT, side: Local,
		},
		{name: "host unreachable", last: snapshot.Established, event: Event{Err: syscall.EHOSTUNREACH}, outcome: Unreachable, errno: syscall.EHOSTUNREACH},
		{name: "port unreachable, established", last: snapshot.Established, event: Event{Err: syscall.ECONNREFUSED}, outcome: Rejected, errno: syscall.ECONNREFUSED},
		{name: "reset, by sock_ops", last: snapshot.Established, event: Event{Err: syscall.ECONNRESET}, missed: true, outcome: ResetRemote, errno: syscall.ECONNRESET, side: Remote},
		{name: "ended, by sock_ops", last: snapshot.Established, missed: true, outcome: OutcomeUnknown},

		// After it.
		{name: "last FIN acknowledged", last: snapshot.LastAck, event: Event{AllAcked: true, Err: syscall.EHOSTUNREACH}, outcome: Finished},
		{name: "last FIN lost", last: snapshot.LastAck, event: Event{Err: syscall.ETIMEDOUT}, outcome: Timeout, errno: syscall.ETIMEDOUT},
		{
			name: "late data", last: snapshot.FinWait1, event: Event{RcvShutdown: true, SendShutdown: true, Err: syscall.ECONNRESET},
			known: ending{resetSent: true}, outcome: ResetLocal, errno: syscall.ECONNRESET, side: Local,
		},
		{
			name: "RST that looks like late data", last: snapshot.FinWait1, event: Event{RcvShutdown: true, SendShutdown: true, Err: syscall.ECONNRESET},
			outcome: ResetRemote, errno: syscall.ECONNRESET, side: Remote,
		},
		{
			name: "FIN behind data", last: snapshot.FinWait1, event: Event{Err: syscall.ETIMEDOUT},
			outcome: Timeout, errno: syscall.ETIMEDOUT,
		},
		{
			name: "FIN sent", last: snapshot.FinWait1, event: Event{Err: syscall.ETIMEDOUT, AllSent: true},
			outcome: Timeout, errno: syscall.ETIMEDOUT, side: Local,
		},
		{name: "no FIN_WAIT2 allowed", last: snapshot.FinWait2, event: Event{Owned: true, RcvShutdown: true, SendShutdown: true}, known: ending{resetSent: true}, outcome: ResetLocal, side: Local},
		{name: "no memory for a timewait socket", last: snapshot.FinWait2, event: Event{GotFIN: true, AllAcked: true}, outcome: Finished},
		{name: "ended in FIN_WAIT2", last: snapshot.FinWait2, event: Event{AllAcked: true}, outcome: OutcomeUnknown},
		{name: "an error pending", last: snapshot.FinWait2, event: Event{Err: syscall.EHOSTUNREACH}, timewait: true, outcome: OutcomeUnknown},
		{name: "last FIN, by sock_ops", last: snapshot.LastAck, missed: true, outcome: Finished},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &row{Conn: Conn{Direction: c.direction}, ending: &c.known}
			r.State = c.last
			if c.last == snapshot.FinWait1 {
				r.closedBy = Local // until its end shows that the FIN was not sent
			}
			if c.timewait {
				r.mini = 1
			}
			c.event.HasStats = !c.missed
			new(life).conclude(r, &c.event)
			if got := r.ending.Closed; got.Outcome != c.outcome || got.Errno != c.errno || r.closedBy != c.side {
				t.Errorf("outcome %d, %v, by %d; want %d, %v, by %d", got.Outcome, got.Errno, r.closedBy, c.outcome, c.errno, c.side)
			}
		})
	}
}

// TestBytesSent counts data, and neither the SYN nor what was sent again.
func TestBytesSent(t *testing.T) {
	for _, c := range []struct {
		name      string
		direction Direction
		event     Event
		want      uint64
	}{
		{"connected", Outgoing, Event{BytesOut: 11, SegsOut: 3, BytesSent: 30, BytesRetrans: 20}, 10},
		{"accepted", Incoming, Event{BytesOut: 10, SegsOut: 3, BytesSent: 30, BytesRetrans: 20}, 10},
		{"there before", DirectionUnknown, Event{BytesOut: 10, BytesSent: 30, BytesRetrans: 20}, 10},
		{"nothing sent", Outgoing, Event{}, 0},
		{"no SYN sent", Outgoing, Event{BytesOut: 1}, 0},
		{"counted wrongly", DirectionUnknown, Event{BytesSent: 1, BytesRetrans: 2}, 0},
	} {
		if got := c.event.bytesSent(c.direction); got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, got, c.want)
		}
	}
}

// lifeOf applies transitions of one socket, 1 µs after another, and returns the last.
func lifeOf(t *Table, e Event, states ...snapshot.State) Event {
	for i := range len(states) - 1 {
		e.Time += 1000
		e.Old, e.New = states[i], states[i+1]
		e.HasStats = e.New == snapshot.Close
		t.Apply(&e)
	}
	return e
}

// TestUndecided holds an end until the event that says why, or until none came. The
// records of the connection stay in order, and a later life of the socket waits for
// those of the one before.
func TestUndecided(t *testing.T) {
	toFinWait1 := []snapshot.State{snapshot.Close, snapshot.SynSent, snapshot.Established, snapshot.FinWait1, snapshot.Close}
	late := Event{
		Kind: EventState, Time: 1e9, Cookie: 5, Sock: 0x1000, Netns: 1, CPU: 1, Err: syscall.ECONNRESET, RcvShutdown: true, SendShutdown: true,
		Local: netip.MustParseAddrPort("127.0.0.1:1000"), Remote: netip.MustParseAddrPort("127.0.0.1:80"),
	}
	for _, c := range []struct {
		name   string
		config Config
		then   func(*Table, Event)
		want   Outcome
	}{
		{"a RST follows", Config{Resets: true}, func(t *Table, e Event) {
			e.Kind, e.Cookie, e.CPU = EventPort, 6, 2 // another CPU
			t.Apply(&e)
			e.Kind, e.Cookie, e.CPU = EventResetSent, 5, 0
			t.Apply(&e)
		}, ResetLocal},
		{"none does", Config{Resets: true}, func(t *Table, e Event) { t.Settle(e.Time + dyingGrace) }, ResetRemote},
		{"its CPU goes on", Config{Resets: true}, func(t *Table, e Event) {
			e.Kind, e.Cookie = EventPort, 6
			t.Apply(&e)
		}, ResetRemote},
		{"the stream ends", Config{Resets: true}, func(t *Table, e Event) { t.Finish(e.Time) }, ResetRemote},
		{"it connects again", Config{Resets: true}, func(t *Table, e Event) { lifeOf(t, e, toFinWait1[:2]...) }, ResetRemote},
		{"there is no hook", Config{}, func(*Table, Event) {}, ResetRemote},
	} {
		t.Run(c.name, func(t *testing.T) {
			var closes []Outcome
			var states []snapshot.State
			procs := NewProcesses(10, func(*snapshot.Process, uint64) {}, func(uint32) {})
			sockets := New(c.config, procs, func(c *Change) {
				if c.Kind == ChangeClose {
					closes = append(closes, c.Close.Outcome)
				} else {
					states = append(states, c.New)
				}
			})
			last := lifeOf(sockets, late, toFinWait1...)
			sockets.Settle(last.Time + dyingGrace - 1)
			if held := len(closes) == 0; held != c.config.Resets || sockets.Len() == 0 == held {
				t.Errorf("before it is known: closes %v, %d sockets", closes, sockets.Len())
			}
			c.then(sockets, last)
			if len(closes) != 1 || closes[0] != c.want {
				t.Errorf("closes %v, want %v", closes, c.want)
			}
			for i, s := range toFinWait1[1:] {
				if states[i] != s {
					t.Errorf("reported %v, want %v first", states, toFinWait1[1:])
				}
			}
			if err := sockets.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestResetElsewhere sends a RST that ends nothing: in answer to a stray segment
// while the socket connects, and for a timewait socket that is over.
func TestResetElsewhere(t *testing.T) {
	var closes []Closed
	procs := NewProcesses(10, func(*snapshot.Process, uint64) {}, func(uint32) {})
	sockets := New(Config{Resets: true}, procs, func(c *Change) {
		if c.Kind == ChangeClose {
			closes = append(closes, *c.Close)
		}
	})
	e := Event{Kind: EventState, Time: 1e9, Cookie: 5, Sock: 0x1000, Netns: 1}
	e = lifeOf(sockets, e, snapshot.Close, snapshot.SynSent)
	e.Kind, e.Old = EventResetSent, snapshot.SynSent
	sockets.Apply(&e)
	e.Kind, e.AllAcked = EventState, true
	lifeOf(sockets, e, snapshot.SynSent, snapshot.Established, snapshot.CloseWait, snapshot.LastAck, snapshot.Close)
	if want := (Closed{Outcome: Finished, ClosedBy: Remote, HasStats: true}); len(closes) != 1 || closes[0] != want {
		t.Errorf("closes %+v, want %+v", closes, want)
	}
}
