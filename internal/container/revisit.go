package container

import (
	"slices"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// revisits are the processes whose call was seen outside of a container, and that may move
// into theirs: each is looked at when its socket has settled, and then again from time to
// time while it is there, so that the close finds the answer. Processes that live shorter
// have gone by then.
type revisits struct {
	last *snapshot.Process // that was expected, so that its next records cost nothing
	list []*revisit
	due  uint64 // when the list is gone through next
}

type revisit struct {
	*entry
	began uint64 // when it had a socket
	next  uint64
}

const (
	revisitsMost = 256
	revisitPause = uint64(100 * time.Millisecond) // between two goes through the list
	revisitAgain = uint64(10 * time.Second)
)

// expect notes a process that had a socket at a time. One too many is not noted: its
// sockets have it looked at when they have settled.
func (c *Cache) expect(p *snapshot.Process, began uint64) {
	r := &c.revisits
	if p == r.last {
		return
	}
	r.last = p
	if len(r.list) >= revisitsMost || c.processes.get(p) != nil {
		return
	}
	e := &entry{process: p}
	c.processes.put(p, e)
	r.list = append(r.list, &revisit{e, began, max(began, c.now) + settled})
}

// revisit has those looked at whose time has come.
func (c *Cache) revisit() {
	r := &c.revisits
	if c.now < r.due {
		return
	}
	r.due = c.now + revisitPause
	r.list = slices.DeleteFunc(r.list, func(v *revisit) bool {
		if c.now < v.next || v.asked.Load() {
			return false
		}
		if a := v.answer.Load(); a != nil && (a.contained || !a.Whole) { // it has arrived, or is gone
			return true
		}
		v.at, v.next = v.began, c.now+revisitAgain
		c.worker.ask(v.entry)
		return false
	})
}
