package table

import (
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// A scan reads the kernel's whole table, row by row. The first one is the
// snapshot. Each later one repairs what events did not report.

// rowGrace is how long after an event of its socket a row may still be older than the
// event: the kernel reports a state just before it stores it.
const rowGrace = uint64(2 * time.Millisecond)

// Resync is what comparing the table with the kernel's found.
type Resync struct {
	Added, Removed, Changed int
	Unread                  int // network namespaces that could not be read; their sockets are left as they are
}

// Found reports whether anything differed.
func (r Resync) Found() bool { return r.Added+r.Removed+r.Changed > 0 }

// scanState says whether a scan is under way.
type scanState uint8

const (
	scanNone    scanState = iota
	scanInitial           // the snapshot
	scanLater
)

// scan is the scan under way, or the last one.
type scan struct {
	state    scanState
	number   uint32
	start    uint64 // the clock before its first row
	endings  endings
	doubts   []Question // sockets to be asked for
	absent   []rowRef   // rows that the scan did not show, to be asked for too
	compared bool       // absent was filled
	found    Resync
	again    bool            // another scan has to decide the rest
	wanted   bool            // the table needs another one
	shown    map[uint64]bool // its rows by cookie, whether they are mini-sockets; where the kernel side keeps connections
	covered  map[uint32]bool // the namespaces that it read to their end; nil: all
}

func (s *scan) begin(now uint64, initial bool) {
	s.number++
	s.state, s.start = scanLater, now
	if initial {
		s.state = scanInitial
	}
	s.found, s.again, s.compared = Resync{}, false, false
	s.shown = make(map[uint64]bool)
	s.endings.open()
}

func (s *scan) end() {
	s.state = scanNone
	s.doubts, s.absent, s.covered, s.shown = nil, nil, nil, nil
	s.endings.close()
}

// fullEnded remembers a full socket that ended.
func (s *scan) fullEnded(r *row, at uint64) {
	if s.state == scanNone {
		return
	}
	s.endings.add(r.Cookie, at)
	s.endings.add(r.tuple().place(r.Inode), at)
}

// unknownEnded remembers the end of a full socket that the table does not have.
func (s *scan) unknownEnded(e *Event) {
	if s.state == scanNone {
		return
	}
	s.endings.add(e.Cookie, e.Time)
	s.endings.add(e.tuple().place(uint64(e.Inode)), e.Time)
}

// miniEnded remembers the end of the mini-socket of e; r is its row, or nil.
func (s *scan) miniEnded(r *row, e *Event) {
	s.endings.add(e.Cookie, e.Time)
	if r != nil {
		s.placeEnded(r.tuple(), e.Time)
	}
}

// leftFinWait2 remembers that a timewait socket that the table does not have went to
// TIME_WAIT: a row of it may be older.
func (s *scan) leftFinWait2(e *Event) {
	if e.Cookie != 0 {
		s.endings.add(^e.Cookie, e.Time)
	}
}

// movedOn reports whether a row shows FIN_WAIT2, which its timewait socket has left since.
func (s *scan) movedOn(e *Event) bool {
	return e.Mini && e.New == snapshot.FinWait2 && s.endings.has(^e.Cookie)
}

// placeEnded remembers that what had a 4-tuple has it no more, or is another kind of
// socket now.
func (s *scan) placeEnded(t tuple, at uint64) {
	if s.state != scanNone {
		s.endings.add(t.place(0), at)
	}
}

// outdated reports whether the socket of a row that the table does not have ended after
// the row may have been read. Where cookies tell full sockets apart, what else was in
// their place does not matter.
func (s *scan) outdated(e *Event, lateCookies bool) bool {
	if s.endings.has(e.Cookie) {
		return true
	}
	byCookie := e.Cookie != 0 && !e.Mini && !lateCookies
	return !byCookie && s.endings.has(e.tuple().place(uint64(e.Inode)))
}

// verdict is what a whole scan says of a row.
type verdict uint8

const (
	present  verdict = iota
	absent           // the scan did not show it
	vanished         // no event reported the end
)

// judge compares a row with the scan. A row that an event touched since the start
// counts as present, and so do one that Settle will end, and a row of a network
// namespace that the scan did not read.
func (s *scan) judge(r *row, scansOnly bool) verdict {
	switch {
	case r.scan == s.number, r.last >= s.start && !scansOnly, r.dying != 0, r.stage == stageUndecided,
		s.covered != nil && !s.covered[r.Netns]:
		return present
	case scansOnly:
		return vanished
	}
	return absent
}

// BeginScan starts a scan of the kernel's table, whose rows Apply takes. now is the
// kernel's clock before the first row is read. The initial scan fills InitialRows.
func (t *Table) BeginScan(now uint64, initial bool) {
	t.scan.begin(now, initial)
	t.rows.openPlaces(t.scan.number, t.cfg.LateCookies)
	if initial {
		t.initial.open()
	}
}

// AbandonScan forgets a scan that did not come to its end.
func (t *Table) AbandonScan() {
	t.scan.end()
	t.rows.closePlaces()
}

// Shown reports whether the scan under way has shown a socket, as a mini-socket or as a full
// one. Where the kernel side keeps no connections, none counts as shown.
func (t *Table) Shown(cookie uint64, mini bool) bool {
	as, shown := t.scan.shown[cookie]
	return shown && as == mini
}

// LimitScan says that the scan under way has read these network namespaces alone.
// Without it, a socket that was not seen counts as absent wherever it is. It comes
// before Doubts.
func (t *Table) LimitScan(netns map[uint32]bool) { t.scan.covered = netns }

// Namespaces yields the network namespaces that the table has sockets of.
func (t *Table) Namespaces(yield func(netns uint32) bool) {
	seen := make(map[uint32]bool)
	for r := range t.rows.all {
		seen[r.Netns] = true
	}
	for _, h := range t.rows.timewaits.shared.list {
		if h.users > 0 {
			seen[h.netns] = true
		}
	}
	for netns := range seen {
		if !yield(netns) {
			return
		}
	}
}

// EndScan ends a scan after its last row was applied and its Doubts were answered. now
// is the kernel's clock. It returns what differed, and whether another scan has to decide
// the rest.
func (t *Table) EndScan(now uint64) (found Resync, again bool) {
	initial := t.scan.state == scanInitial
	if !initial && !t.scan.compared {
		t.merger.compareAll()
	}
	if initial {
		t.initial.complete()
		t.life.countBefore()
	}
	t.owners.EndFiles(now)
	t.fulls.settlePending(t.scan.start)
	if initial && !t.cfg.ScansOnly {
		t.merger.dropListed()
	}
	again = t.scan.again || len(t.scan.doubts)+len(t.scan.absent) > 0
	found = t.scan.found
	t.AbandonScan()
	return found, again
}

// dropListed drops rows of mini-sockets that came from /proc, once they are listed: no
// event can be tied to them, so their end would never be seen.
func (m *merger) dropListed() {
	for _, r := range m.rows.byTuple {
		if r.stage == stageProc && (r.State == snapshot.TimeWait || r.State == snapshot.SynRecv) {
			m.life.uncount(r)
			m.rows.remove(r)
		}
	}
}

// compareAll looks for rows that the scan did not show.
func (m *merger) compareAll() {
	m.scan.compared = true
	var ended []*row
	for r := range m.rows.all {
		switch m.scan.judge(r, m.cfg.ScansOnly) {
		case present:
			r.absent = false
		case absent:
			m.scan.absent = append(m.scan.absent, rowRef{row: r, id: r.ID})
		case vanished:
			ended = append(ended, r)
		}
	}
	for _, r := range ended {
		m.vanish(r, m.scan.start)
	}
	m.compareTimewaits()
}

// compareTimewaits does the same for packed rows.
func (m *merger) compareTimewaits() {
	w := &m.rows.timewaits
	for number := range w.each {
		if m.scan.misses(w.at(number), w.tuple(number).netns) {
			r := m.rows.unpack(number)
			m.scan.absent = append(m.scan.absent, rowRef{row: r, id: r.ID})
		}
	}
}

// misses reports whether judge finds a packed row absent. Those that it finds present are
// marked so.
func (s *scan) misses(t *timewait, netns uint32) bool {
	if t.has(timewaitSeen) || t.last >= s.start || s.covered != nil && !s.covered[netns] {
		t.set(timewaitAbsent, false)
		return false
	}
	return true
}
