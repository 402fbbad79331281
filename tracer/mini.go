package tracer

import (
	"cmp"

	"github.com/nettrace/nettrace/snapshot"
)

// Request sockets (SYN_RECV) and timewait sockets: what the kernel keeps of a
// connection before and after its full socket.

func (t *Table) applyMiniBorn(e *Event) {
	if c := t.minis[e.Sock]; c != nil {
		if c.isMini(e) {
			c.dying = 0 // its timer was started again
			c.last = e.Time
			t.setMiniState(c, e.New, e.Time, false)
			return
		}
		t.end(c, cmp.Or(c.dying, e.Time), c.dying == 0)
	}
	if e.New == snapshot.SynRecv {
		if t.procRowOf(e) != nil {
			return // that of its child
		}
		c := t.newConn(e)
		c.State, c.firstSeen, c.StartKnown = snapshot.Listen, snapshot.Listen, true
		t.stats.Opened++
		t.inherit(c)
		t.setMini(c, e.Sock, e.New)
		t.setLoose(c)
		t.transition(c, e.New, e.Time, false)
		return
	}
	if c := t.socks[e.key()]; c != nil && e.Cookie != 0 {
		t.setLocal(c, e)
		t.setMini(c, e.Sock, e.New)
		return
	}
	if c := t.doubted[e.Cookie]; c != nil && e.Cookie != 0 { // neither its full socket's end nor its birth was seen
		delete(t.doubted, e.Cookie)
		t.setMini(c, e.Sock, e.New)
		t.setMiniState(c, e.New, e.Time, false)
		return
	}
	// Its full socket goes to CLOSE next; then it is claimed by its addresses.
	c := t.newConn(e)
	c.State, c.firstSeen = e.New, e.New
	c.unclaimed = true
	t.unclaimed = append(t.unclaimed, heldRow{c, c.ID})
	t.setMini(c, e.Sock, e.New)
	t.setLoose(c)
}

// settleUnclaimed tells the timewait sockets whose full socket was never seen.
func (t *Table) settleUnclaimed(now uint64) {
	kept := t.unclaimed[:0]
	for _, h := range t.unclaimed {
		switch c := h.conn; {
		case c.ID != h.id || !c.unclaimed:
		case now < c.Start+dyingGrace:
			kept = append(kept, h)
		default:
			c.unclaimed = false
			t.dropLoose(c)
			c.History.Add(c.State)
			if t.initial || c.Start < t.snapshotAt {
				continue // it was there before the tracer
			}
			t.emit(Change{Kind: ChangeState, Time: c.Start, Conn: c, Old: snapshot.Close, New: c.State, Inferred: true})
		}
	}
	t.unclaimed = kept
}

// isMini tells whether e is about c's mini-socket and not about a later one at
// the same address.
func (c *Conn) isMini(e *Event) bool {
	if c.dying != 0 && e.Time > c.dying+dyingGrace {
		return false
	}
	sameCookie := c.Cookie == 0 || e.Cookie == 0 || c.Cookie == e.Cookie
	return sameCookie && (e.Kind != EventMiniBorn || c.tuple() == e.tuple())
}

func (t *Table) applyMiniGone(e *Event) {
	t.miniGone(e.Sock)
	if c := t.minis[e.Sock]; c != nil && c.dying == 0 {
		t.stopMini(c, e.Time)
	}
}

// miniGone keeps in mind that a mini-socket ended during a pass: the iterator
// takes a whole bucket at once, and may show it yet.
func (t *Table) miniGone(sock uint64) {
	if t.passStart != 0 {
		t.gone[sock] = struct{}{}
	}
}

func (t *Table) stopMini(c *Conn, at uint64) {
	c.dying = at
	if !c.queued {
		c.queued = true
		t.dying = append(t.dying, c)
	}
}

// settle decides what silence decides. now is the kernel's clock at a moment when
// the ring buffer was dry.
func (t *Table) settle(now uint64) {
	t.settleMissed()
	t.settleHeld(now)
	t.settleUnclaimed(now)
	t.settleDying(now)
}

// settleDying ends the mini-sockets whose timer stopped for good.
func (t *Table) settleDying(now uint64) {
	kept := t.dying[:0]
	for _, c := range t.dying {
		if c.dying != 0 && now < c.dying+dyingGrace {
			kept = append(kept, c)
			continue
		}
		c.queued = false
		switch {
		case c.dead:
			t.release(c)
		case c.dying != 0: // else alive after all, or a child took over
			t.end(c, c.dying, false)
		}
	}
	t.dying = kept
}

// setMiniState tells a timewait socket's state, and with TIME_WAIT the close:
// the connection is over, though its timewait socket lives another minute.
func (t *Table) setMiniState(c *Conn, state snapshot.State, at uint64, inferred bool) {
	c.miniState = state
	if c.key != 0 { // the full socket still speaks for itself
		return
	}
	if c.unclaimed { // it will, once it is known
		c.State = state
		return
	}
	if state == snapshot.FinWait2 && t.refresh {
		t.finWait2 = append(t.finWait2, heldRow{c, c.ID})
	}
	if c.State == state {
		return
	}
	t.transition(c, state, at, inferred)
	if state != snapshot.TimeWait {
		return
	}
	if closed := t.endOf(c); closed.Outcome == OutcomeUnknown {
		closed.Outcome = Finished
	}
	t.tellClose(c, at, inferred)
}

// nextFinWait2 appends to refs up to most timewait sockets in FIN_WAIT2, those
// not looked at for longest first.
func (t *Table) nextFinWait2(refs []streamMiniRef, most int) []streamMiniRef {
	n := len(t.finWait2)
	for i := 0; i < n && len(refs) < most; i++ {
		h := t.finWait2[i]
		if c := h.conn; c.ID == h.id && c.mini != 0 && c.State == snapshot.FinWait2 && c.key == 0 {
			refs = append(refs, streamMiniRef{Sk: c.mini, Cookie: c.Cookie})
			t.finWait2 = append(t.finWait2, h) // to the end of the line
		}
		t.finWait2[i].conn = nil
	}
	looked := 0
	for looked < n && t.finWait2[looked].conn == nil {
		looked++
	}
	t.finWait2 = append(t.finWait2[:0], t.finWait2[looked:]...)
	return refs
}

func (t *Table) setMini(c *Conn, mini uint64, state snapshot.State) {
	c.mini, c.miniState, c.dying = mini, state, 0
	t.minis[mini] = c
}

func (t *Table) dropMini(c *Conn) {
	if c.mini != 0 {
		delete(t.minis, c.mini)
		c.mini, c.miniState, c.dying = 0, 0, 0
	}
}

func (t *Table) setLoose(c *Conn) {
	c.loose = true
	t.loose[c.tuple().hash()] = c
}

func (t *Table) dropLoose(c *Conn) {
	if c.loose {
		if hash := c.tuple().hash(); t.loose[hash] == c {
			delete(t.loose, hash)
		}
		c.loose = false
	}
}
