package table

import "github.com/nettrace/nettrace/snapshot"

// row is one connection or listener of the table: what is reported of it, and
// what the merge needs besides. The order of the fields leaves no gaps: a table
// may have hundreds of thousands of rows. What the lists of rows that wait look at is in the
// last of its four cache lines, from Conn.ID on.
//
// These hold at all times:
//   - stage says which indexes of rows hold the row.
//   - key is not 0 exactly in stageFull.
//   - mini is not 0 in stageRequest, stageUnclaimed and stageTimewait, and in
//     stageFull and stageProc between the birth of the timewait socket and the end of
//     the full one. miniState and dying are 0 without it.
//   - ending is set in stageUndecided and stagePending, and in any other stage from
//     the first event that says something of the end until the close is reported.
//   - listener is not 0 while the row is in listeners (bound), and while the owner is
//     inherited.
type row struct {
	Conn
	key       uint64         // Event.key of the full socket
	mini      uint64         // address of the request or timewait socket; its cookie until that is known
	dying     uint64         // when the mini-socket's timer stopped; 0: it runs
	last      uint64         // time of the last event
	ending    *ending        // what is known of its end
	scan      uint32         // the last scan that saw it
	listener  uint32         // number of the listener whose owner it has, or its own
	miniState snapshot.State // of the mini-socket
	firstSeen snapshot.State // shown in the initial table
	closedBy  Side
	stage     stage
	marks
}

// marks are what is true of a row now.
type marks struct {
	absent     bool // the scan before the last did not see it
	awaitsPort bool // its first transition is reported once the local port is known
	listed     bool // it is, or was, in the initial table
	account    account
}

// account says what a row is to Stats, and whether its end is one of a connection.
type account uint8

const (
	uncounted account = iota
	counted           // an open connection
	told              // what is left of a connection whose close was reported before a scan found it
)

// stage says what the kernel keeps of a connection. It decides which indexes
// hold the row:
//
//	               byKey  byMini   byTuple  pending  undecided
//	stageNone        -      -         -        -         -
//	stageFull       yes   (yes)       -        -         -
//	stageRequest     -     yes       yes       -         -
//	stageUnclaimed   -     yes       yes       -         -
//	stageTimewait    -     yes        -        -         -
//	stageProc        -    (yes)      yes       -         -
//	stagePending     -      -         -       yes        -
//	stageUndecided   -      -         -        -        yes
//
// (yes): if its timewait socket was born already. byTuple holds the latest row
// of a tuple: one before it may be missing there.
type stage uint8

const (
	stageNone      stage = iota // just made, or removed
	stageFull                   // a full socket
	stageRequest                // a request socket (SYN_RECV)
	stageUnclaimed              // a timewait socket whose full socket is not known yet
	stageTimewait               // a timewait socket whose full socket ended
	stageProc                   // a row of /proc that no event was tied to
	stagePending                // the full socket ended; the next scan shows if a timewait socket is left
	stageUndecided              // the full socket ended; the next event of it may say why
)

// byTuple reports whether the index of that name holds the rows of a stage.
func (s stage) byTuple() bool {
	return s == stageRequest || s == stageUnclaimed || s == stageProc
}

func (r *row) tuple() tuple { return tuple{r.Local, r.Remote, r.Netns} }

// onlyMini reports whether a mini-socket is all that is left, or there yet.
func (r *row) onlyMini() bool { return r.mini != 0 && r.stage != stageFull }

// hasAddress reports whether the address of r's mini-socket is known.
func (r *row) hasAddress() bool { return r.mini>>63 != 0 }

// open reports whether r is an open connection in the sense of Stats.
func (r *row) open() bool {
	switch r.State {
	case snapshot.Close, snapshot.Listen, snapshot.TimeWait:
		return false
	}
	return r.stage != stageUnclaimed && r.account != told
}

// sameMini reports whether e is about r's mini-socket and not about a later one
// at the same address.
func (r *row) sameMini(e *Event) bool {
	if r.dying != 0 && e.Time > r.dying+dyingGrace {
		return false
	}
	return r.sameCookie(e) && (e.Kind != EventMiniBorn || r.tuple() == e.tuple())
}

// sameSocket reports whether a row of the kernel's table is about r and not about
// a later socket with its address or cookie. The local port may not be known yet.
func (r *row) sameSocket(e *Event) bool {
	samePort := r.Local.Port() == e.Local.Port() || r.Local.Port() == 0
	return r.sameCookie(e) && samePort && r.Remote == e.Remote && r.Local.Addr() == e.Local.Addr()
}

// elsewhere reports whether e is about a connection to another peer than r is, or r to
// none, as a listener. The address of the same one may change its family
// (IPV6_ADDRFORM).
func (r *row) elsewhere(e *Event) bool {
	if r.Remote == e.Remote || e.Remote.Port() == 0 {
		return false
	}
	return r.Remote.Port() != e.Remote.Port() || r.Remote.Addr().Unmap() != e.Remote.Addr().Unmap()
}

func (r *row) sameCookie(e *Event) bool {
	return r.Cookie == 0 || e.Cookie == 0 || r.Cookie == e.Cookie
}

// setUID takes the user of e, if e knows one. A timewait socket has none in the
// kernel, nor has a socket without a file in /proc.
func (r *row) setUID(e *Event) {
	if e.HasUID {
		r.UID, r.HasUID = e.UID, true
	}
}

func (r *row) firstToClose(s Side) {
	if r.closedBy == SideUnknown {
		r.closedBy = s
	}
}
