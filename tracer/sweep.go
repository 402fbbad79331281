package tracer

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/nettrace/nettrace/tracer/table"
)

// What the kernel side keeps is looked through from time to time: for the processes that it
// names, for connections whose owner has to be looked for, and for those whose end no
// program saw.

// sweepBatch is how many entries are read at once.
const sweepBatch = 1024

// eachAcceptor calls f for who accepted, by the cookie of what. What comes or goes meanwhile may
// be left out, or come twice.
func eachAcceptor(m *ebpf.Map, f func(cookie uint64, c *streamCaller)) error {
	var cursor ebpf.MapBatchCursor
	cookies, values := make([]uint64, sweepBatch), make([]streamCaller, sweepBatch)
	for {
		n, err := m.BatchLookup(&cursor, cookies, values, nil)
		for i := range n {
			f(cookies[i], &values[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("read what is kept: %w", err)
		}
	}
}

// named returns the processes that are named by what is kept.
func (k *kept) named() (map[table.ProcessRef]bool, error) {
	named := make(map[table.ProcessRef]bool)
	err := k.lives.each(func(_ uint64, l *streamLife) {
		named[table.ProcessRef{Task: l.By.Task, Known: l.By.Known}] = true
		named[table.ProcessRef{Task: l.Used, Known: l.UsedKnown}] = true
	})
	return named, errors.Join(err, eachAcceptor(k.acceptors, func(_ uint64, c *streamCaller) {
		named[table.ProcessRef{Task: c.Task, Known: c.Known}] = true
	}))
}

// sweepProcesses forgets what processes formerly were, where nothing that is kept names it.
func (k *kept) sweepProcesses(procs *table.Processes, drain func() error) error {
	if k.lives == nil || !procs.Crowded() {
		return nil
	}
	at := monotonic()
	named, err := k.named()
	if err == nil {
		err = drain() // what ended before it was read is in the ring
	}
	if err != nil {
		return err
	}
	procs.Sweep(at, named)
	return nil
}

// ownerSearch looks for accepted connections that are kept and whose owner no hook tells.
type ownerSearch struct {
	next  uint64   // time of the next look
	known []sought // what the last look found, by place
}

// sought is a connection that is kept.
type sought struct {
	cookie uint64
	due    uint64 // when its owner has to be looked for; 0: not known yet
}

// ownersDue reports whether the owner of some connection should be looked for: of one that
// was there at the last look already. Those that come and go in between, or wait to be
// accepted for a short time, are no reason to go through all open files. As in the table, the
// longer an owner stays unknown, the longer until it is looked for again.
func (k *kept) ownersDue(now uint64) (due bool, err error) {
	s := &k.search
	if k.lives == nil || !k.seekOwners || now < s.next {
		return false, nil
	}
	if s.known == nil {
		s.known = make([]sought, len(k.lives.cookies))
	}
	err = k.lives.visit(s.wants(now), func(place int, _ uint64, l *streamLife) {
		at := &s.known[place].due
		switch incoming := streamLifeFlag(l.Flags)&streamLifeFlagLIFE_INCOMING != 0; {
		case !incoming:
			*at = table.Never
		case l.Established != 0:
			due = true
			*at = now + 2*(now-l.Start)
		}
	})
	took := monotonic() - now
	s.next = now + max(uint64(ownScanInterval), ownScanRest*took)
	return due, err
}

// wants returns what tells which connections have to be read now: those that were there at the
// last look and are due.
func (s *ownerSearch) wants(now uint64) func(place int, cookie uint64) bool {
	return func(place int, cookie uint64) bool {
		k := &s.known[place]
		if k.cookie != cookie {
			*k = sought{cookie: cookie}
			return false
		}
		return now >= k.due
	}
}

// unended are connections that are kept and that a scan did not show.
type unended map[uint64]streamLife

// sweep ends what is kept of connections whose end no program saw: those that two scans
// running did not show as full sockets. visited are the network namespaces that the scan has
// read. It reports whether another scan has to decide.
func (k *kept) sweep(sockets *table.Table, began uint64, visited map[uint32]bool) (again bool, err error) {
	if k.lives == nil {
		return false, nil
	}
	absent := make(unended)
	err = k.lives.each(func(cookie uint64, l *streamLife) {
		told := streamLifeFlag(l.Flags)&streamLifeFlagLIFE_TOLD != 0 // its timewait socket is left
		if l.Start != 0 && l.Start < began && visited[l.Netns] && !sockets.Shown(cookie, told) {
			absent[cookie] = *l
		}
	})
	for cookie := range absent {
		if _, twice := k.absent[cookie]; !twice {
			again = true
			continue
		}
		k.end(sockets, cookie)
		delete(absent, cookie)
	}
	k.absent = absent
	return again, err
}

// end tells the close of a connection that is kept, and forgets it.
func (k *kept) end(sockets *table.Table, cookie uint64) {
	var l streamLife
	if !k.lives.take(cookie, &l) {
		return // it ended just now
	}
	decodeUnended(cookie, &l, &k.story)
	var by streamCaller
	if k.acceptors.Lookup(cookie, &by) == nil {
		_ = k.acceptors.Delete(cookie) // nobody else does
		decodeCaller(unsafe.Slice((*byte)(unsafe.Pointer(&by)), unsafe.Sizeof(by)), &k.story.Caller)
		k.story.Accepted = true
	}
	if streamLifeFlag(l.Flags)&streamLifeFlagLIFE_TOLD != 0 {
		return
	}
	sockets.ApplyUnended(&k.story, sockets.Shown(cookie, true), monotonic())
}
