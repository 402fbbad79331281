package tracer

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

const (
	// A mini-socket whose timer stopped is either gone, or its timer starts again
	// or its child appears within one softirq. Silence for this long decides.
	dyingGrace = uint64(50 * time.Millisecond)
	// A row read this soon after an event of its socket may have been read before
	// the kernel stored the state that the event announced (5.10 reads without
	// the socket's lock).
	rowGrace = uint64(2 * time.Millisecond)
)

// tuple is what identifies a mini-socket that has no cookie.
type tuple struct {
	local, remote netip.AddrPort
	netns         uint32
}

func (c *Conn) tuple() tuple  { return tuple{c.Local, c.Remote, c.Netns} }
func (e *Event) tuple() tuple { return tuple{e.Local, e.Remote, e.Netns} }

// hash gives a number to find a tuple by; one in 2^64 pairs shares it. The hash
// of Go's maps takes several times as long, for netip.Addr has a pointer in it.
func (t tuple) hash() uint64 {
	half := func(a netip.AddrPort) uint64 {
		b := a.Addr().As16()
		h := mix64(binary.NativeEndian.Uint64(b[:8]) + uint64(a.Port()))
		return mix64(h ^ binary.NativeEndian.Uint64(b[8:]))
	}
	return mix64(half(t.local)*3 + half(t.remote) + uint64(t.netns)<<32)
}

// looseOf gives the row that is known by a tuple only, or nil.
func (t *Table) looseOf(of tuple) *Conn {
	if len(t.loose) == 0 {
		return nil
	}
	c := t.loose[of.hash()]
	if c == nil || c.tuple() != of {
		return nil
	}
	return c
}

// port is where listeners are looked up.
type port struct {
	netns uint32
	port  uint16
}

// Table keeps every TCP socket that is traced: the snapshot and the events
// merged. It is fed by one goroutine, in the order of the ring buffer.
//
// Full sockets are found by their cookie, request and timewait sockets by their
// address, and by their 4-tuple until they are tied to a full socket.
type Table struct {
	tell  func(*Change) // gets every change; the Change is valid during the call
	procs *processes

	socks      map[uint64]*Conn // by Event.key
	minis      map[uint64]*Conn // by address of the request or timewait socket
	loose      map[uint64]*Conn // by tuple.hash, no cookie yet: requests, unclaimed timewait sockets, rows of /proc
	listeners  map[port][]*Conn
	dying      []*Conn // their timer stopped; see dyingGrace
	learning   bool    // the births of timewait sockets are not seen yet
	seekOwners bool    // no hook tells who accepts
	unaccepted []unacceptedRow
	unclaimed  []heldRow // timewait sockets before the end of their full socket
	held       []heldRow // their first transition waits for the local port
	holdPorts  bool      // a hook tells the port
	refresh    bool
	finWait2   []heldRow // timewait sockets in FIN_WAIT2, whose switch to TIME_WAIT is looked for
	free       []*Conn
	fresh      []Conn // never used
	ends       []*Closed

	pass       uint32              // number of the pass over the kernel's table under way, or of the last one
	passStart  uint64              // its time; 0: none is under way
	snapshotAt uint64              // time of the end of the first pass
	procAt     uint64              // time of the end of the first pass when /proc was read for it
	initial    bool                // the first pass is under way
	polled     bool                // there are no events, only passes
	listed     []listedRow         // the initial table
	parked     []*Conn             // of the initial table, and ended before it was told
	gone       map[uint64]struct{} // mini-sockets that ended during the pass
	resync     Resync

	missed   []Event          // ends that only sock_ops saw
	doubted  map[uint64]*Conn // by key: ended, perhaps to a timewait socket
	ended    recent
	canPass  bool // the kernel's table can be read
	wantPass bool // and has to be

	nextID, seed uint64
	change       Change
	stats        TableStats
}

// TableStats counts what happened to the table.
type TableStats struct {
	Open   int    // sockets in the table
	Opened uint64 // connections and listeners begun
	Closed uint64 // ended
	Failed uint64 // ended without ever being established
	Told   uint64 // changes told
}

// Resync is what comparing the table with the kernel's found.
type Resync struct {
	Added, Removed, Changed int
}

// newTable makes an empty table. Changes go to tell.
func newTable(procs *processes, tell func(*Change)) *Table {
	return &Table{
		tell:      tell,
		procs:     procs,
		socks:     make(map[uint64]*Conn),
		minis:     make(map[uint64]*Conn),
		loose:     make(map[uint64]*Conn),
		listeners: make(map[port][]*Conn),
		gone:      make(map[uint64]struct{}),
		doubted:   make(map[uint64]*Conn),
		seed:      rand.Uint64(),
	}
}

// Stats gives the counters.
func (t *Table) Stats() TableStats {
	s := t.stats
	s.Open = t.Len()
	return s
}

// Len gives the number of sockets.
func (t *Table) Len() int {
	n := len(t.socks) + len(t.doubted)
	for _, c := range t.minis {
		if c.key == 0 {
			n++
		}
	}
	for _, c := range t.loose {
		if c.key == 0 && c.mini == 0 {
			n++
		}
	}
	return n
}

// All yields every socket, in no order.
func (t *Table) All(yield func(*Conn) bool) {
	for _, c := range t.socks {
		if !yield(c) {
			return
		}
	}
	for _, c := range t.doubted {
		if !yield(c) {
			return
		}
	}
	for _, c := range t.minis {
		if c.key == 0 && !yield(c) {
			return
		}
	}
	for _, c := range t.loose {
		if c.key == 0 && c.mini == 0 && !yield(c) {
			return
		}
	}
}

// apply merges one event into the table.
func (t *Table) apply(e *Event) {
	switch e.Kind {
	case EventState:
		t.applyState(e)
	case EventMissed:
		t.applyMissed(e)
	case EventPort:
		if c := t.socks[e.key()]; c != nil {
			t.setLocal(c, e)
			if row := t.procRowOf(e); row != nil {
				t.giveRow(row, c)
			}
			t.tellHeld(c)
		}
	case EventAccept:
		if c := t.socks[e.key()]; c != nil {
			t.setOwner(c, e, OwnerSocket)
			c.Inode = uint64(e.Inode)
			c.last = e.Time
		}
	case EventRelease:
		if c := t.socks[e.key()]; c != nil && c.State != snapshot.Listen {
			c.Inode = 0
		}
	case EventMiniBorn:
		t.applyMiniBorn(e)
	case EventMiniGone:
		t.applyMiniGone(e)
	case EventMiniState:
		if c := t.minis[e.Sock]; c != nil && c.isMini(e) {
			t.setMiniState(c, e.New, e.Time, false)
		}
	case EventRow:
		t.applyRow(e)
	case EventFile:
		t.applyFile(e)
	case EventProcess:
		t.procs.set(e.Process)
	}
}

func (t *Table) applyState(e *Event) {
	c := t.socks[e.key()]
	if c == nil && e.New == snapshot.Close && t.ended.has(e.key()) {
		return // both copies of the program saw the end
	}
	if c == nil {
		c = t.firstEvent(e)
	}
	if c.State == e.New {
		c.last = e.Time // seen by both copies of the program, or in the row already
		t.useOwner(c, e)
		return
	}
	if c.listed && c.State != e.Old && e.New != snapshot.Close && e.Time < t.procAt {
		return // the row of /proc was read after this event
	}
	if begins(e.Old, e.New) && c.State != e.Old {
		// The end of a former life was missed: the socket connects again, or its
		// address is used again.
		t.endMissed(c, e.Time)
		c = t.firstEvent(e)
	}
	if e.Local.Port() != 0 {
		t.setLocal(c, e)
	}
	if c.State != e.Old && e.Old != 0 && c.State != 0 {
		t.transition(c, e.Old, e.Time, true)
	}
	if e.New == e.Old { // close() after shutdown() sets the state anew
		t.useOwner(c, e)
		return
	}
	if e.New == snapshot.Close {
		t.endFull(c, e)
		return
	}
	switch {
	case e.Old == snapshot.Close && e.PID != 0:
		t.setOwner(c, e, OwnerSocket)
		c.Inode = uint64(e.Inode)
	default:
		t.useOwner(c, e)
	}
	t.transition(c, e.New, e.Time, false)
	if e.Old == snapshot.SynRecv && t.seekOwners {
		t.unaccepted = append(t.unaccepted, unacceptedRow{heldRow{c, c.ID}, e.Time + uint64(acceptGrace)})
	}
}

// begins tells the transitions with which the life of a socket can begin.
func begins(from, to snapshot.State) bool {
	switch from {
	case snapshot.Close:
		return to == snapshot.SynSent || to == snapshot.Listen
	case snapshot.Listen:
		return to == snapshot.SynRecv
	}
	return false
}

// firstEvent gives the row for the first event of a socket: that of its request
// socket, one found without a cookie, or a new one.
func (t *Table) firstEvent(e *Event) *Conn {
	if e.Old != snapshot.Close {
		if c := t.looseOf(e.tuple()); c != nil && c.key == 0 && (c.mini == 0 || c.miniState == snapshot.SynRecv) {
			t.miniGone(c.mini) // its timer stops about now
			t.dropLoose(c)
			t.dropMini(c)
			t.addSock(c, e)
			return c
		}
	}
	c := t.newConn(e)
	c.State = e.Old
	c.StartKnown = begins(e.Old, e.New) || e.Old == snapshot.SynRecv
	c.firstSeen = e.Old
	if c.StartKnown {
		t.stats.Opened++
	} else {
		c.History.Add(e.Old)
	}
	switch {
	case e.Old == snapshot.Close && e.New == snapshot.SynSent, e.Old == snapshot.SynSent:
		c.Direction = Outgoing
	case e.Old == snapshot.Listen, e.Old == snapshot.SynRecv:
		t.inherit(c)
	}
	t.addSock(c, e)
	if e.Old == snapshot.SynRecv {
		// No request socket (SYN cookies), or one that was not seen. The kernel
		// made this transition just before, with no addresses to tell it by.
		c.State, c.firstSeen = snapshot.Listen, snapshot.Listen
		t.transition(c, snapshot.SynRecv, e.Time, false)
	}
	return c
}

func (t *Table) addSock(c *Conn, e *Event) {
	c.key = e.key()
	c.Cookie = e.Cookie
	t.socks[c.key] = c
	t.ended.remove(c.key)
}

// endFull ends the full socket of c. What is left is a timewait socket or nothing.
func (t *Table) endFull(c *Conn, e *Event) {
	t.useOwner(c, e)
	t.ended.add(c.key)
	delete(t.socks, c.key)
	c.key = 0
	if c.mini == 0 { // no cookies: the timewait socket is known by its addresses
		if tw := t.looseOf(e.tuple()); tw != nil && tw != c && tw.key == 0 && tw.miniState != snapshot.SynRecv && tw.mini != 0 {
			mini, state, dying := tw.mini, tw.miniState, tw.dying
			t.dropLoose(tw)
			t.dropMini(tw)
			tw.unclaimed = false
			t.release(tw)
			t.setMini(c, mini, state)
			if dying != 0 { // it is over already
				t.stopMini(c, dying)
			}
		}
	}
	if c.mini == 0 && t.learning && e.Err == 0 && (c.State == snapshot.FinWait2 || c.State == snapshot.Closing) {
		t.doubt(c, e) // it may have left a timewait socket, whose birth nobody can see yet
		return
	}
	t.conclude(c, e)
	if c.mini == 0 {
		t.end(c, e.Time, false)
		return
	}
	c.Inode = 0
	t.setMiniState(c, c.miniState, e.Time, false)
}

// end tells the last transition of c and its close, and takes it out.
func (t *Table) end(c *Conn, at uint64, inferred bool) {
	last := c.State
	t.transition(c, snapshot.Close, at, inferred)
	if last != snapshot.TimeWait && last != snapshot.Listen {
		t.tellClose(c, at, inferred)
	}
	t.remove(c)
}

func (t *Table) tellClose(c *Conn, at uint64, inferred bool) {
	closed := t.endOf(c)
	closed.ClosedBy = c.closedBy
	if closed.Outcome == OutcomeUnknown && c.Established == 0 && c.Direction == Incoming && c.StartKnown {
		closed.Outcome = HandshakeDropped
	}
	t.stats.Closed++
	if c.Established == 0 && c.StartKnown {
		t.stats.Failed++
	}
	t.emit(Change{Kind: ChangeClose, Time: at, Conn: c, Close: closed, Inferred: inferred})
	c.ended = nil
	t.ends = append(t.ends, closed)
}

// endOf gives the place for what is known of the end of c. Few connections have
// one at a time, and it is a fifth of a row.
func (t *Table) endOf(c *Conn) *Closed {
	if c.ended != nil {
		return c.ended
	}
	if n := len(t.ends); n > 0 {
		c.ended, t.ends = t.ends[n-1], t.ends[:n-1]
		*c.ended = Closed{}
	} else {
		c.ended = new(Closed)
	}
	return c.ended
}

func (t *Table) remove(c *Conn) {
	if c.key != 0 {
		delete(t.socks, c.key)
		c.key = 0
	}
	t.dropMini(c)
	t.dropLoose(c)
	if c.listening() {
		t.dropListener(c)
	}
	t.release(c)
}

func (t *Table) newConn(e *Event) *Conn {
	var c *Conn
	if n := len(t.free); n > 0 {
		c, t.free = t.free[n-1], t.free[:n-1]
		*c = Conn{}
	} else {
		if len(t.fresh) == 0 {
			t.fresh = make([]Conn, 124) // just below 32 KiB: a tenth less than one by one
		}
		c, t.fresh = &t.fresh[0], t.fresh[1:]
	}
	t.nextID++
	c.ID = mix64(t.seed + t.nextID)
	c.Cookie, c.Netns = e.Cookie, e.Netns
	c.Local, c.Remote = e.Local, e.Remote
	c.UID, c.Inode, c.CgroupID = e.UID, uint64(e.Inode), e.CgroupID
	c.Start, c.last = e.Time, e.Time
	return c
}

// release gives the row back, once the list of the dying and the initial table do
// not hold it either.
func (t *Table) release(c *Conn) {
	switch {
	case c.queued:
		c.dead = true
	case c.listed && t.listed != nil:
		t.parked = append(t.parked, c)
	default:
		t.free = append(t.free, c)
	}
}

// mix64 is the finalizer of SplitMix64: a bijection, so ids do not collide.
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// transition moves c to a state and tells it. The first one of a socket that has
// no local port yet waits for the port, which the kernel chooses next.
func (t *Table) transition(c *Conn, to snapshot.State, at uint64, inferred bool) {
	t.tellHeld(c)
	from := c.State
	c.State = to
	c.last = at
	c.History.Add(to)
	switch to {
	case snapshot.Established:
		if c.StartKnown {
			c.Established = at
		}
	case snapshot.FinWait1:
		c.firstToClose(Local)
	case snapshot.CloseWait:
		c.firstToClose(Remote)
	case snapshot.Listen:
		t.addListener(c)
	}
	if t.holdPorts && from == snapshot.Close && !inferred && c.Local.Port() == 0 {
		c.held = true
		t.held = append(t.held, heldRow{c, c.ID})
		return
	}
	t.emit(Change{Kind: ChangeState, Time: at, Conn: c, Old: from, New: to, Inferred: inferred})
}

// tellHeld tells the transition that waited for the local port.
func (t *Table) tellHeld(c *Conn) {
	if c.held {
		c.held = false
		t.emit(Change{Kind: ChangeState, Time: c.Start, Conn: c, Old: snapshot.Close, New: c.State})
	}
}

// heldRow names a row while its id is the same: rows are used again.
type heldRow struct {
	conn *Conn
	id   uint64
}

// settleHeld tells what has waited for a port too long: a connect that the first
// write completes (TCP_FASTOPEN_CONNECT), or a port that was never told.
func (t *Table) settleHeld(now uint64) {
	kept := t.held[:0]
	for _, h := range t.held {
		switch {
		case h.conn.ID != h.id || !h.conn.held:
		case now < h.conn.Start+dyingGrace:
			kept = append(kept, h)
		default:
			t.tellHeld(h.conn)
		}
	}
	t.held = kept
}

func (t *Table) emit(ch Change) {
	t.change = ch
	t.stats.Told++
	t.tell(&t.change)
}

func (c *Conn) firstToClose(s Side) {
	if c.closedBy == SideUnknown {
		c.closedBy = s
	}
}

func (t *Table) setLocal(c *Conn, e *Event) {
	if c.Local.Port() == e.Local.Port() || e.Local.Port() == 0 {
		return
	}
	if c.listening() {
		t.dropListener(c)
		defer t.addListener(c)
	}
	c.Local = netip.AddrPortFrom(c.Local.Addr(), e.Local.Port())
}
