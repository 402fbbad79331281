package table

import (
	"slices"

	"github.com/nettrace/nettrace/snapshot"
)

// listeners are the listening sockets. row.listener is their number, which no other has
// later.
type listeners struct {
	byPort   map[port][]*row
	byNumber map[uint32]*row
	last     uint32 // number
	ended    []endedListener
	former   map[uint64]*former // those that ended, by cookie; nil: nobody asks for them
}

// endedListener is a listener that ended a short time ago: its connections may have gone
// to another one.
type endedListener struct {
	number uint32
	at     uint64
}

type port struct {
	netns uint32
	port  uint16
}

func newListeners() listeners {
	return listeners{byPort: make(map[port][]*row), byNumber: make(map[uint32]*row)}
}

func (r *row) port() port { return port{r.Netns, r.Local.Port()} }

// add adds a listening socket, once. A connection is none, whatever states it was in.
func (l *listeners) add(r *row) {
	if r.bound() || r.Remote.Port() != 0 {
		return
	}
	l.last++
	r.listener = l.last
	l.byNumber[r.listener] = r
	l.byPort[r.port()] = append(l.byPort[r.port()], r)
}

// bound reports whether r is in listeners.
func (r *row) bound() bool { return r.listener != 0 && r.Remote.Port() == 0 }

// end drops a listener that ended.
func (l *listeners) end(r *row, at uint64) {
	if r.bound() {
		l.ended = append(l.ended, endedListener{r.listener, at})
		l.remember(r, at)
		l.drop(r)
	}
}

func (l *listeners) drop(r *row) {
	if !r.bound() {
		return
	}
	delete(l.byNumber, r.listener)
	r.listener = 0
	p := r.port()
	bound := l.byPort[p]
	if i := slices.Index(bound, r); i >= 0 {
		bound = slices.Delete(bound, i, i+1)
	}
	if len(bound) == 0 {
		delete(l.byPort, p)
		return
	}
	l.byPort[p] = bound
}

// canAccept reports whether a connection with the address of c may come in through r.
// Several listeners may share an address and a port (SO_REUSEPORT), and each may be
// bound to a device.
func (r *row) canAccept(c *row) bool {
	return r.Local.Addr().IsUnspecified() || r.Local.Addr().Unmap() == c.Local.Addr().Unmap()
}

// of returns the listener that a connection came in through. nil: there is none, or
// several can be it that are not of one process.
func (l *listeners) of(r *row) *row {
	var found *row
	for _, bound := range l.byPort[r.port()] {
		switch {
		case !bound.canAccept(r):
		case found != nil && !sameHolder(found, bound):
			return nil
		default:
			found = bound
		}
	}
	return found
}

// sameHolder reports whether two sockets are known to be of one process and user.
func sameHolder(a, b *row) bool {
	return sameProcess(a.Owner.Process, b.Owner.Process) && a.UID == b.UID && a.CgroupID == b.CgroupID
}

// sameProcess reports whether two records are known to be of one process.
func sameProcess(p, q *snapshot.Process) bool {
	return p != nil && q != nil && (p == q || p.PID == q.PID && p.PID != 0)
}
