package container

import (
	"cmp"
	"sync/atomic"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// entry is what is known of a cgroup, or of a process.
//
// Who asks (one goroutine) reads answer and sets asked; who answers (another one) writes
// answer and then clears asked. at is written while asked is not set.
type entry struct {
	cgroup  uint64            // id of the cgroup; 0: the entry is of a process
	process *snapshot.Process // nil: it is of a cgroup
	at      uint64            // when the process had a socket
	answer  atomic.Pointer[answer]
	asked   atomic.Bool // the question waits, or is being answered
}

// answer is immutable.
type answer struct {
	Found
	contained bool
	due       uint64 // clock.Now from which on it is asked again
	tries     uint   // answers so far that were not whole
}

// How long answers stand: what is whole may change its name, what is not gets it soon or
// never.
const (
	wholeFor = uint64(time.Minute)
	firstTry = uint64(100 * time.Millisecond)
	lastTry  = uint64(time.Minute)
)

// next returns the answer after one. What was known stays known: a container that has
// ended keeps its names.
func next(before *answer, f Found, now uint64) *answer {
	a := &answer{Found: f}
	if before != nil {
		a.Found, a.tries = remembered(before.Found, f), before.tries
	}
	a.contained = a.Workload != nil && a.Place.Contained()
	if a.Whole {
		a.due, a.tries = now+wholeFor, 0
		return a
	}
	a.due = now + min(firstTry<<min(a.tries, 20), lastTry)
	a.tries++
	return a
}

// remembered returns what is known after an answer, with what was known before of the same
// container. Equal ones are the same object.
func remembered(before, now Found) Found {
	if before.Workload == nil {
		return now
	}
	if now.Workload == nil {
		if now.Whole { // it is somewhere else, where there is nothing to tell
			return now
		}
		before.Whole = false
		return before
	}
	w, old := *now.Workload, before.Workload
	if w.ContainerID != "" && w.ContainerID == old.ContainerID {
		w.ContainerName = cmp.Or(w.ContainerName, old.ContainerName)
	}
	if w.PodUID != "" && w.PodUID == old.PodUID {
		w.Pod, w.Namespace = cmp.Or(w.Pod, old.Pod), cmp.Or(w.Namespace, old.Namespace)
	}
	if before.Place.PodContainer != "" && before.Place.PodContainer == now.Place.PodContainer {
		w.PodContainer = cmp.Or(w.PodContainer, old.PodContainer)
	}
	if w == *before.Workload {
		now.Workload = before.Workload
	} else {
		now.Workload = &w
	}
	return now
}

// generations are entries by key. Of those that nobody asked for lately, the older half
// is forgotten when there are more than most: 2*most stay at the most.
type generations[K comparable] struct {
	most       int
	young, old map[K]*entry
}

func newGenerations[K comparable](most int) generations[K] {
	return generations[K]{most: most, young: map[K]*entry{}}
}

// get returns the entry of a key, or nil.
func (g *generations[K]) get(key K) *entry {
	if e := g.young[key]; e != nil {
		return e
	}
	e := g.old[key]
	if e != nil {
		g.put(key, e)
	}
	return e
}

func (g *generations[K]) put(key K, e *entry) {
	if len(g.young) >= g.most {
		g.old, g.young = g.young, make(map[K]*entry)
	}
	g.young[key] = e
}
