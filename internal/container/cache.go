package container

import (
	"iter"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nettrace/nettrace/internal/clock"
	"github.com/nettrace/nettrace/snapshot"
)

// Cache answers for a stream. Of reads nothing and waits for nobody: what it does not
// know is looked up by a goroutine, for the next time that it is asked.
//
// All cgroups that there are at the start are known before anybody asks, and new ones as
// soon as they are made, where the kernel tells (see watch). So a container is known before its
// first process is in it. What cgroups and processes have ended is remembered until
// others need the place.
//
// Of, Begin and Settle are for one goroutine.
type Cache struct {
	cgroups   generations[uint64]
	processes generations[*snapshot.Process]
	now       uint64 // clock.Now at the last Settle
	last      *entry // of cgroups
	revisits  revisits
	legacy    bool // version 1 is in use: ids of version 2 do not tell
	shelf     shelf
	worker    worker
}

// The bounds of a cache. An entry takes about half a kilobyte.
const (
	cgroupsMost   = 4096 // and as many that nobody asked for lately
	processesMost = 1024
	asksMost      = 256 // questions that wait; one more is asked again later
)

// settled is the age from which on a socket's process is looked at too: it may have moved
// to its container since, and those that live shorter are too many to look at.
const settled = uint64(time.Second)

// finder finds answers. All that it does reads files.
type finder interface {
	Cgroup(id uint64) Found
	Owner(p *snapshot.Process, at uint64) Found
	Named(Place) Found
	Cgroups() iter.Seq2[uint64, string]
}

// Start returns a cache for what a host knows. From now on the host is the cache's.
func Start(h *Host) *Cache {
	c := newCache(h, isLegacy(h.proc+"/self/cgroup"))
	go c.worker.run(newWatch(&h.cgroups))
	return c
}

func newCache(f finder, legacy bool) *Cache {
	c := &Cache{
		cgroups: newGenerations[uint64](cgroupsMost), processes: newGenerations[*snapshot.Process](processesMost),
		now: clock.Now(), legacy: legacy,
	}
	c.worker = worker{
		find: f, shelf: &c.shelf, asks: make(chan *entry, asksMost),
		primed: make(chan struct{}), done: make(chan struct{}), over: make(chan struct{}),
	}
	return c
}

// isLegacy reports whether a process is in hierarchies of version 1.
func isLegacy(path string) bool {
	text, _ := os.ReadFile(path) // without it there are none
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "0::") {
			return true
		}
	}
	return false
}

// Close ends the goroutine.
func (c *Cache) Close() {
	close(c.worker.done)
	<-c.worker.over
}

// Begin waits a moment for what is there at the start: for the cgroups, and for what a
// function asks.
func (c *Cache) Begin(ask func()) {
	const patience = 50 * time.Millisecond
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.worker.primed:
	case <-timer.C:
	}
	c.Settle()
	ask()
	for end := time.Now().Add(patience); c.worker.waiting.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// Settle takes over what was found. It is called when there is nothing else to do.
func (c *Cache) Settle() {
	c.now = clock.Now()
	for _, e := range c.shelf.take() {
		if c.cgroups.get(e.cgroup) == nil {
			c.cgroups.put(e.cgroup, e)
		}
	}
	c.revisit()
}

// Of returns what the owner of a socket runs in, or nil. began is when the socket was
// first seen. A container that the cgroup tells counts most: it is that of the call, or
// the one in which the socket was made. Else the process is looked at, which may be in one
// by now. Where it is known by its files alone, the cgroup is the socket's and tells
// nothing of the process: systemd makes sockets for services.
func (c *Cache) Of(h *snapshot.Head, began uint64) *snapshot.Workload {
	var made *snapshot.Workload
	if h.CgroupID != 0 {
		if a := c.ofCgroup(h.CgroupID); a != nil {
			if made = a.Workload; a.contained {
				return made
			}
		}
	}
	p := h.Owner.Process
	called := h.Owner.Source == snapshot.OwnerSocket || h.Owner.Source == snapshot.OwnerContext
	if p == nil || p.PID == 0 {
		return made
	}
	if called && c.now < began+settled {
		if c.expect(p, began); !c.legacy {
			return made
		}
	}
	if a := c.ofProcess(p, began); a != nil && a.Workload != nil {
		return a.Workload
	}
	if !called {
		return nil
	}
	return made
}

func (c *Cache) ofCgroup(id uint64) *answer {
	if last := c.last; last != nil && last.cgroup == id { // most records are of the one before
		return c.answer(last, 0)
	}
	e := c.cgroups.get(id)
	if e == nil {
		e = &entry{cgroup: id}
		c.cgroups.put(id, e)
	}
	c.last = e
	return c.answer(e, 0)
}

func (c *Cache) ofProcess(p *snapshot.Process, at uint64) *answer {
	e := c.processes.get(p)
	if e == nil {
		e = &entry{process: p}
		c.processes.put(p, e)
	}
	return c.answer(e, at)
}

// answer returns what is known, and has it looked up where that is due.
func (c *Cache) answer(e *entry, at uint64) *answer {
	a := e.answer.Load()
	if (a == nil || c.now >= a.due) && !e.asked.Load() {
		e.at = at
		c.worker.ask(e)
	}
	return a
}

// shelf is where entries wait that nobody asked for.
type shelf struct {
	mu      sync.Mutex
	entries []*entry
	some    atomic.Bool
}

func (s *shelf) add(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) < cgroupsMost {
		s.entries = append(s.entries, e)
		s.some.Store(true)
	}
}

func (s *shelf) take() []*entry {
	if !s.some.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.entries
	s.entries = nil
	s.some.Store(false)
	return taken
}
