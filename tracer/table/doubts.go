package table

import (
	"slices"

	"github.com/nettrace/nettrace/snapshot"
)

// What a scan leaves in doubt is asked for alone, socket by socket, until the answer is
// clear: rows that contradict the events, sockets that the table does not have, and those
// that it has and the scan did not show.

const (
	// goneTwice is how often a socket must not be there before its end, which no event
	// reported, is taken for true: the kernel takes a socket out of its table just
	// before it reports the end.
	goneTwice = 2
	// mostAsked is how often a socket is asked for in one scan.
	mostAsked = 8
	// mostDoubts bounds what Doubts returns.
	mostDoubts = 4096
)

// Question names a socket that the kernel is to be asked for alone: by its addresses in
// its namespace, and by its cookie if that is not 0.
type Question struct {
	snapshot.Head

	row   *row // nil: the table does not have it
	id    uint64
	asked int
	gone  int // how often it was not there
}

// Answer is what the kernel says to a question, between two readings of its clock.
type Answer struct {
	Known bool   // else the kernel could not be asked
	Row   *Event // EventRow, with the times; nil: there is no such socket
	After uint64 // before it was asked
	Time  uint64 // after it answered
}

func (s *scan) ask(q Question) { s.doubts = append(s.doubts, q) }

// Doubts returns the sockets that have to be asked for before EndScan. They are answered by
// Answer, which may lead to new ones: it has to be called until it returns none, some time
// apart. It is first called when all rows of the scan were applied.
func (t *Table) Doubts() []Question {
	if t.scan.state == scanInitial {
		return nil
	}
	if !t.scan.compared {
		t.merger.compareAll()
	}
	s := t.scan
	n := min(len(s.doubts), mostDoubts)
	doubts := slices.Clone(s.doubts[:n])
	s.doubts = slices.Delete(s.doubts, 0, n)
	for len(s.absent) > 0 && len(doubts) < mostDoubts {
		ref := s.absent[0]
		s.absent = s.absent[1:]
		if r := ref.row; r.ID == ref.id && r.stage != stageNone && s.judge(r, false) == absent {
			doubts = append(doubts, Question{Head: r.Head, row: r, id: r.ID})
		}
	}
	return doubts
}

// subject returns the row that a question is about; nil: it is gone, or the table never
// had it.
func (q *Question) subject() *row {
	if q.row == nil || q.row.ID != q.id || q.row.stage == stageNone {
		return nil
	}
	return q.row
}

// Answer takes the kernel's answer to a question. As with rows, all events up to its
// time have to be applied; those of later may be.
func (t *Table) Answer(q Question, a Answer) {
	if t.scan.state == scanNone {
		return
	}
	switch m := t.merger; {
	case !a.Known:
		if r := q.subject(); r != nil {
			m.unseen(r)
		}
	case a.Row == nil || a.Row.tuple() != (tuple{q.Local, q.Remote, q.Netns}):
		m.answerGone(q, a) // or a listener that such a connection would go to
	default:
		m.prepare(a.Row)
		m.answerRow(q, a)
	}
}

// answerRow handles the row of a socket that was asked for.
func (m *merger) answerRow(q Question, a Answer) {
	if a.Row.tornDown() { // its last event is about to come
		m.askAgain(q)
		return
	}
	r := m.rows.ofRow(a.Row)
	if r == nil && !m.cfg.keeps(a.Row) && !m.scan.outdated(a.Row, m.cfg.LateCookies) && m.rows.undecided[a.Row.Cookie] == nil {
		m.addRow(a.Row)
	}
	if r != nil {
		switch rel := m.relate(r, a.Row); {
		case rel != contradicts:
			m.see(r, a.Row, rel)
		case r.recent(a.Row), m.scan.endings.has(a.Row.Cookie): // its end may not have been tied to r
			m.askAgain(q)
			return
		default:
			m.believe(r, a.Row)
		}
	}
	if q.subject() != nil && q.subject() != r { // another one is in its place
		m.answerGone(q, a)
	}
}

// answerGone handles that there is no such socket.
func (m *merger) answerGone(q Question, a Answer) {
	r := q.subject()
	switch {
	case r == nil, r.dying != 0, r.stage == stageUndecided, r.stage == stagePending:
	case r.last+rowGrace >= a.After: // events came meanwhile
		if q.asked < mostAsked {
			m.askAgain(q)
		}
	case r.bound(), r.Local.Port() == 0: // of several at one place the kernel shows one; or the place is not known
		m.unseen(r)
	default:
		if q.gone++; q.gone < goneTwice {
			m.askAgain(q)
			return
		}
		m.vanish(r, a.Time)
	}
}

// askAgain has a question be asked once more.
func (m *merger) askAgain(q Question) {
	if q.asked++; q.asked > mostAsked {
		m.scan.again = true
		return
	}
	m.scan.ask(q)
}

// unseen handles a socket that the scan did not show and that cannot be asked for. It has
// ended when two scans running did not show it: a scan may step over a socket while others
// come and go.
func (m *merger) unseen(r *row) {
	switch {
	case r.stage == stagePending:
	case r.scan == m.scan.number: // it was shown, in another state
		m.scan.again = true
	case r.absent:
		m.vanish(r, m.scan.start)
	default:
		r.absent, m.scan.again = true, true
	}
}
