package table

const (
	// lookPause is between two looks at a socket whose call was told before it was made.
	lookPause = 5e6
	// lookTimes is how often it is looked at.
	lookTimes = 5
)

// socketLooks are the sockets to look at again, because a hook has told a call before it
// was made: what came of it the row shows.
type socketLooks struct {
	now  uint64
	list []look
}

type look struct {
	sock, cookie uint64
	due          uint64
	left         int
}

// intend remembers a call that is about to be made.
func (s *Sockets) intend(r *socketRow, e *SocketEvent) {
	r.intent = intent{}
	if e.Task != 0 && !e.Kernel {
		r.intent = intent{e.Task, e.TID, e.CgroupID, e.Thread}
	}
	s.looks.list = append(s.looks.list, look{e.Sock, e.Cookie, e.Time + lookPause, lookTimes})
}

// NextLook returns when the next look is due, or Never.
func (s *Sockets) NextLook() uint64 {
	due := Never
	for i := range s.looks.list {
		due = min(due, s.looks.list[i].due)
	}
	return due
}

// Looks passes the sockets whose look is due, at most as many as given.
func (s *Sockets) Looks(now uint64, most int, to func(sock, cookie uint64)) {
	kept := s.looks.list[:0]
	for _, l := range s.looks.list {
		if l.due > now || most == 0 {
			kept = append(kept, l)
			continue
		}
		if s.tombs.has(l.cookie) {
			continue
		}
		most--
		to(l.sock, l.cookie)
		if l.left--; l.left > 0 {
			l.due = now + lookPause
			kept = append(kept, l)
		}
	}
	s.looks.list = kept
}
