package tracer

import "github.com/nettrace/nettrace/snapshot"

// A pass reads the kernel's whole table, row by row, through the ring buffer.
// The first one is the snapshot; each later one heals what events did not tell.

// beginPass starts a pass. now is the kernel's clock before the first row is read.
func (t *Table) beginPass(now uint64, initial bool) {
	t.pass++
	t.passStart, t.initial = now, initial
	t.resync = Resync{}
	clear(t.gone)
	if initial {
		t.listed = make([]listedRow, 0, 64)
	}
}

func (t *Table) applyRow(e *Event) {
	if t.passStart == 0 {
		return // of a pass that was given up
	}
	if e.Mini {
		t.applyMiniRow(e)
		return
	}
	if e.New == snapshot.Close {
		return
	}
	c := t.socks[e.key()]
	if c != nil && !c.isRow(e) {
		t.resync.Removed++
		t.endMissed(c, e.Time)
		c = nil
	}
	if c == nil {
		c = t.newRow(e)
		t.addSock(c, e)
	}
	t.mergeRow(c, e)
}

// isRow tells whether a row is about c and not about a later socket with its
// address or cookie. The local port may not be known yet.
func (c *Conn) isRow(e *Event) bool {
	sameCookie := c.Cookie == 0 || e.Cookie == 0 || c.Cookie == e.Cookie
	samePort := c.Local.Port() == e.Local.Port() || c.Local.Port() == 0
	return sameCookie && samePort && c.Remote == e.Remote && c.Local.Addr() == e.Local.Addr()
}

// applyMiniRow takes the row of a request or timewait socket, read without a
// lock: the stream wins over it.
func (t *Table) applyMiniRow(e *Event) {
	if _, ended := t.gone[e.Sock]; ended {
		return
	}
	c := t.minis[e.Sock]
	if c != nil && !c.isRow(e) { // its end was missed, and its address is used again
		t.resync.Removed++
		t.end(c, e.Time, true)
		c = nil
	}
	if c == nil {
		c = t.claimMini(e)
	}
	if c == nil {
		c = t.newRow(e)
		t.setMini(c, e.Sock, e.New)
		if e.New == snapshot.SynRecv {
			t.setLoose(c)
		}
	}
	if c.Local.Port() == 0 {
		t.setLocal(c, e)
	}
	if c.key != 0 { // the full socket is about to go
		c.pass = t.pass
		if e.New == snapshot.TimeWait {
			c.miniState = e.New
		}
		return
	}
	if c.unclaimed && e.Time > c.Start+rowGrace { // it was there before: its timer was started again
		c.unclaimed = false
		c.History.Add(c.State)
		t.dropLoose(c)
	}
	if e.New == snapshot.SynRecv || c.State == snapshot.TimeWait {
		c.pass = t.pass
		t.list(c)
		return
	}
	t.mergeRow(c, e)
}

// claimMini finds the connection whose timewait socket was born unseen.
func (t *Table) claimMini(e *Event) *Conn {
	if e.New == snapshot.SynRecv {
		return nil
	}
	for key, c := range t.doubted {
		if e.Cookie != 0 && e.Cookie != key || !c.isRow(e) {
			continue
		}
		delete(t.doubted, key)
		t.setMini(c, e.Sock, e.New)
		t.setMiniState(c, e.New, c.last, false)
		return c
	}
	if e.Cookie == 0 {
		return nil
	}
	c := t.socks[e.Cookie]
	if c != nil {
		t.setMini(c, e.Sock, e.New)
	}
	return c
}

// newRow makes the row of a socket that no event has told of.
func (t *Table) newRow(e *Event) *Conn {
	c := t.newConn(e)
	c.State, c.firstSeen = e.New, e.New
	c.History.Add(e.New)
	if e.New == snapshot.Listen {
		t.addListener(c)
	}
	if !t.initial {
		t.resync.Added++
		t.emit(Change{Kind: ChangeState, Time: e.Time, Conn: c, Old: snapshot.Close, New: e.New, Inferred: true})
	}
	return c
}

func (t *Table) mergeRow(c *Conn, e *Event) {
	c.pass = t.pass
	c.RecvQ, c.SendQ = e.RecvQ, e.SendQ
	c.UID, c.Inode = e.UID, uint64(e.Inode)
	if e.CgroupID != 0 {
		c.CgroupID = e.CgroupID
	}
	if c.Local.Port() == 0 {
		t.setLocal(c, e)
	}
	if c.State != e.New && (e.Time > c.last+rowGrace || t.polled) {
		switch {
		case c.mini != 0 && c.key == 0 && t.refresh:
			t.setMiniState(c, e.New, e.Time, false) // as the refresh that was due finds it
		case c.mini != 0 && c.key == 0:
			t.resync.Changed++
			t.setMiniState(c, e.New, e.Time, true)
		default:
			t.resync.Changed++
			t.transition(c, e.New, e.Time, true)
		}
	}
	t.list(c)
}

// listedRow is a row of the initial table; the inode is from before what happened
// to the socket since.
type listedRow struct {
	conn  *Conn
	inode uint32
}

// list puts a socket that was there before the tracer in the initial table, in
// the state in which it was seen first: what happened to it since is told as
// changes, after the table.
func (t *Table) list(c *Conn) {
	if !t.initial || c.listed || c.StartKnown {
		return
	}
	c.listed = true
	t.listed = append(t.listed, listedRow{c, uint32(c.Inode)})
}

// initialRows yields the initial table. A row is valid until the next one.
func (t *Table) initialRows(yield func(*Conn) bool) {
	for _, l := range t.listed {
		row := *l.conn
		row.State, row.Inode = row.firstSeen, uint64(l.inode)
		if !yield(&row) {
			return
		}
	}
}

// initialTold ends the initial table.
func (t *Table) initialTold() {
	t.listed = nil
	t.free = append(t.free, t.parked...)
	t.parked = nil
}

// endPass ends a pass after its last row was applied. What the kernel did not
// show in two passes running, and no event has touched since, is gone: a pass
// of an old kernel may step over a socket while others come and go.
func (t *Table) endPass(now uint64) (r Resync, again bool) {
	if t.initial {
		for c := range t.All {
			t.list(c)
		}
		t.completeRows()
		t.snapshotAt = now
	}
	for key, c := range t.doubted {
		if c.last < t.passStart { // it left no timewait socket
			delete(t.doubted, key)
			t.end(c, c.last, false)
		}
	}
	var missing, replaced []*Conn
	for c := range t.All {
		switch {
		case c.key != 0 && c.mini != 0 && c.last < t.passStart && c.pass == t.pass:
			replaced = append(replaced, c) // by its timewait socket
		case c.pass == t.pass, c.last >= t.passStart && !t.polled, c.dying != 0:
			c.absent = false
		case !c.absent && !t.polled:
			c.absent, again = true, true
		default:
			missing = append(missing, c)
		}
	}
	for _, c := range replaced {
		t.resync.Changed++
		delete(t.socks, c.key)
		c.key, c.Inode = 0, 0
		t.setMiniState(c, c.miniState, now, true)
	}
	for _, c := range missing {
		t.resync.Removed++
		t.end(c, now, true)
	}
	t.passStart, t.initial = 0, false
	clear(t.gone)
	return t.resync, again
}

// abandonPass forgets a pass that did not come to its end.
func (t *Table) abandonPass() {
	t.passStart = 0
	clear(t.gone)
}

// completeRows adds to the initial table what is known only after its rows: that
// a connection is incoming when a listener holds its port.
func (t *Table) completeRows() {
	for _, l := range t.listed {
		if l.conn.firstSeen != snapshot.Listen && t.listenerOf(l.conn) != nil {
			l.conn.Direction = Incoming
		}
	}
}
