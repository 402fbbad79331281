package tracer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

const (
	// inetPoll is how often UDP and raw sockets are read where no hook tells all that may
	// change of them.
	inetPoll = time.Second
	// unixPoll is the same of Unix sockets, of which the rows may be all that tells.
	unixPoll = 100 * time.Millisecond
	// pollRest times the length of a pass is the least time to the next one, up to pollLimit.
	pollRest  = 20
	pollLimit = time.Second
	// filesPause is between two looks at open files.
	filesPause = time.Second
	// againPoll is how long after a pass the next one is made that decides what is gone.
	againPoll = 50 * time.Millisecond
)

// sockets are the sockets that are traced beside TCP's. The zero value traces none.
type sockets struct {
	want  Protocols // without TCP
	table *table.Sockets
	event table.SocketEvent // the one being handled
	polls []socketPoll
	looks socketRefresher
	began uint64 // the pass under way
	files unixFiles
}

// socketPoll reads the sockets of some protocols again and again.
type socketPoll struct {
	protocols Protocols
	every     time.Duration
	next      uint64
	under     bool // it is under way
}

// newSockets makes the table of what is traced beside TCP.
func newSockets(h *hooks, procs *table.Processes, out *delivery) (s sockets) {
	if s.want = h.set.protocols.Others(); s.want == 0 {
		return s
	}
	polls := socketPolls(s.want, h.chosen)
	s.polls = polls
	s.table = table.NewSockets(table.SocketConfig{
		Closes: func(p snapshot.Protocol) bool { return p != snapshot.Unix && h.chosen[SocketClose] != "" },
		Polled: func(p snapshot.Protocol) bool {
			return slices.ContainsFunc(polls, func(poll socketPoll) bool { return poll.protocols.Covers(p) })
		},
		Waiting: h.chosen[UnixRows] != "",
		Family:  h.set.family,
	}, procs, out.socket)
	s.looks = newSocketRefresher(h)
	return s
}

// socketPolls says what has to be read again and again, because no hook tells it.
func socketPolls(want Protocols, chosen map[Capability]string) (polls []socketPoll) {
	exact := func(c Capability) bool {
		return chosen[c] != "" && !strings.HasPrefix(chosen[c], "cgroup/")
	}
	whole := exact(SocketBind) && exact(SocketPeer) && exact(SocketFamily) && chosen[SocketOpen] != "" && chosen[SocketClose] != ""
	if want.Has(Raw) {
		whole = whole && exact(RawBind)
	}
	if want.Has(inet) && !whole {
		polls = append(polls, socketPoll{protocols: want & inet, every: inetPoll})
	}
	if want.Has(Unix) && !unixWhole(chosen) {
		polls = append(polls, socketPoll{protocols: Unix, every: unixPoll})
	}
	return polls
}

// chooseSockets chooses the hooks of the sockets that are traced beside TCP's.
func chooseSockets(h *hooks) {
	want := h.set.protocols
	if want.Has(inet) {
		h.choose(SocketOpen, SocketBind, SocketPeer, SocketClose, SocketFamily)
	}
	if want.Has(Raw) {
		h.choose(RawBind)
	}
	if want.Has(Unix) {
		chooseUnix(h)
	}
	if want.Others() != 0 && h.set.pids.whole && !h.set.noOwners {
		h.choose(SocketFiles)
	}
}

// Sockets returns the table of UDP, raw and Unix sockets, or nil where none is traced.
// While Run runs, only its handler may use it.
func (t *Tracer) Sockets() *table.Sockets { return t.sockets.table }

// handle handles a record of such a socket. only is the network namespace that is traced;
// 0: all are.
func (s *sockets) handle(raw []byte, only uint32) error {
	if s.table == nil {
		return nil
	}
	if err := decodeSocket(raw, &s.event); err != nil {
		return err
	}
	if only != 0 && s.event.Netns != only { // a cgroup program may not know it
		return nil
	}
	s.table.Apply(&s.event)
	return nil
}

// merge merges the rows of a part.
func (s *sockets) merge(p *rowPart) {
	for row := range p.batch.Rows {
		read := row.Socket(p.of)
		e := socketRow(&read, p.netns)
		e.CgroupID, e.After, e.Time = row.CgroupID(), p.batch.After, p.batch.Before
		s.table.Apply(&e)
	}
	for i := range p.sockets {
		s.table.Apply(&p.sockets[i])
	}
}

// begin begins the part of a scan that is not of TCP, and returns what is to be read. lost
// says that events were.
func (s *sockets) begin(kind scanKind, now uint64, lost bool) Protocols {
	if s.table == nil {
		return 0
	}
	read := s.want
	if kind == scanPoll {
		read = 0
		for i := range s.polls {
			p := &s.polls[i]
			if p.under = now >= p.next; p.under {
				read |= p.protocols
			}
		}
	}
	s.began = now
	s.table.BeginPass(now, read.Covers, kind == scanInitial, lost && kind != scanPoll)
	return read
}

// end ends it.
func (s *sockets) end(kind scanKind, c *coverage, now uint64) (found table.Resync, again bool) {
	if s.table == nil {
		return found, false
	}
	found, again = s.table.EndPass(now, func(netns uint32) bool { return c.visited[netns] })
	for i := range s.polls {
		p := &s.polls[i]
		if kind == scanPoll && !p.under {
			continue
		}
		pause := p.every
		if again {
			pause = min(againPoll, pause)
		}
		rest := min(pollRest*(now-s.began), uint64(pollLimit))
		p.under, p.next = false, now+max(uint64(pause), rest)
	}
	return found, again
}

// abandon ends a pass that failed. It is made again at its next time.
func (s *sockets) abandon(now uint64) {
	if s.table == nil {
		return
	}
	s.table.AbandonPass()
	for i := range s.polls {
		s.polls[i].under, s.polls[i].next = false, now+uint64(s.polls[i].every)
	}
}

// unixFiles is when open files are looked at, for the owners of Unix sockets that no hook
// told.
type unixFiles struct {
	began uint64 // the last time
	due   uint64 // the next one, not before
}

// start reports whether it is time, and takes it as such.
func (f *unixFiles) start(s *sockets, now uint64) bool {
	if now < f.due || !s.table.OwnersDue(f.began) {
		return false
	}
	f.began = now
	return true
}

// end sets the next time.
func (f *unixFiles) end(now uint64) {
	f.due = now + max(uint64(filesPause), ownScanRest*(now-f.began))
}

// trim forgets what is remembered of sockets that are gone.
func (s *sockets) trim(now uint64) {
	if s.table != nil {
		s.table.Trim(now)
	}
}

// nextPoll is when the next poll is due, or table.Never.
func (s *sockets) nextPoll() uint64 {
	due := table.Never
	for i := range s.polls {
		due = min(due, s.polls[i].next)
	}
	return due
}

// nextDue is when there is something to do though nothing happens, or table.Never.
func (s *sockets) nextDue() uint64 {
	if s.table == nil {
		return table.Never
	}
	due := s.nextPoll()
	if s.looks.program != nil {
		due = min(due, s.table.NextLook())
	}
	return due
}

// socketRefresher has a program of ours look at sockets whose connect was told before it
// was made. What it finds comes by the ring buffer.
type socketRefresher struct {
	program *ebpf.Program // nil: connects are told afterwards
	sockets *ebpf.Map

	refs []socketsSocketRef // buffers of look
	keys []uint32
}

func newSocketRefresher(h *hooks) socketRefresher {
	if h.chosen[SocketPeer] != lookHook {
		return socketRefresher{}
	}
	return socketRefresher{program: h.programs[socketsProgSocketRefresh], sockets: h.maps.Maps[socketsMapSocketRefs]}
}

// look looks at the sockets whose time has come.
func (s *sockets) look(now uint64) error {
	r := &s.looks
	if r.program == nil || s.table.NextLook() > now {
		return nil
	}
	r.refs, r.keys = r.refs[:0], r.keys[:0]
	s.table.Looks(now, int(r.sockets.MaxEntries()), func(sock, cookie uint64) {
		r.keys = append(r.keys, uint32(len(r.refs)))
		r.refs = append(r.refs, socketsSocketRef{Sk: sock, Cookie: cookie})
	})
	if len(r.refs) == 0 {
		return nil
	}
	return r.run()
}

// run runs the program on r.refs.
func (r *socketRefresher) run() error {
	if _, err := r.sockets.BatchUpdate(r.keys, r.refs, nil); err != nil {
		return fmt.Errorf("name the sockets to look at: %w", err)
	}
	args := socketsSocketRefsArgs{Count: uint32(len(r.refs))}
	if _, err := r.program.Run(&ebpf.RunOptions{Context: args}); err != nil {
		return fmt.Errorf("look at sockets: %w", err)
	}
	return nil
}

// rehearse runs the program on no socket.
func (r *socketRefresher) rehearse() error {
	if r.program == nil {
		return nil
	}
	r.keys, r.refs = []uint32{0}, make([]socketsSocketRef, 1)
	defer func() { r.refs = r.refs[:0] }()
	return r.run()
}

// endPoll ends a phase of a poll. What it has found has no owner: open files show whose
// that is.
func endPoll(t *Tracer) {
	s, files := &t.scan, &t.sockets.files
	now := monotonic()
	if s.phase == phaseRows {
		s.coverage = s.result.coverage
		if t.hooks.chosen[SocketFiles] != "" && files.start(&t.sockets, now) {
			s.next(phaseFiles, func() scanResult { return scanResult{err: t.hooks.runIter(socketsProgSocketFiles)} })
			return
		}
	} else {
		t.sockets.began += now - files.began // they have a rest of their own
		files.end(now)
	}
	s.state = scanIdle
	t.sockets.end(scanPoll, &s.coverage, now)
}
