package container

import (
	"sync/atomic"
	"time"

	"github.com/nettrace/nettrace/internal/clock"
)

// worker answers the questions of a cache, in its own goroutine.
type worker struct {
	find   finder
	shelf  *shelf
	asks   chan *entry
	primed chan struct{} // closed when all cgroups of the start are on the shelf
	done   chan struct{} // closed to end it
	over   chan struct{} // closed when it has ended

	waiting atomic.Int64 // questions that were not answered yet
}

// ask puts a question, if there is room for it. It does not wait.
func (w *worker) ask(e *entry) {
	e.asked.Store(true)
	w.waiting.Add(1)
	select {
	case w.asks <- e:
	default:
		w.waiting.Add(-1)
		e.asked.Store(false)
	}
}

func (w *worker) run(news *watch) {
	defer close(w.over)
	defer news.close()
	news.begin()
	w.prime(news)
	close(w.primed)
	pace := paceMost
	for {
		idle := time.Now()
		var work func()
		select {
		case <-w.done:
			return
		case e := <-w.asks:
			work = func() { w.answer(e) }
		case batch := <-news.events:
			work = func() { w.made(news, batch) }
		}
		start := time.Now()
		work()
		if !w.rest(pace.after(start.Sub(idle), time.Since(start))) {
			return
		}
	}
}

// pace keeps the worker to a tenth of a processor, but for a little at once: it is how long
// the worker may work before it rests.
type pace time.Duration

const (
	paceShare = 10
	paceMost  = pace(50 * time.Millisecond)
)

// after returns how long to rest after some time without work and some with it.
func (p *pace) after(idle, work time.Duration) time.Duration {
	*p = min(*p+pace(idle/paceShare), paceMost) - pace(work)
	if *p >= 0 {
		return 0
	}
	d := time.Duration(-*p) * paceShare
	*p = 0
	return d
}

func (w *worker) rest(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.done:
		return false
	case <-timer.C:
		return true
	}
}

// answer answers a question.
func (w *worker) answer(e *entry) {
	defer w.waiting.Add(-1)
	defer e.asked.Store(false)
	before := e.answer.Load()
	var f Found
	if e.process != nil {
		f = w.find.Owner(e.process, e.at)
	} else {
		f = w.find.Cgroup(e.cgroup)
	}
	if before != nil && f.Workload == nil && !f.Whole && before.Place.Contained() {
		f = w.find.Named(before.Place) // it has ended; its names may be there yet
	}
	e.answer.Store(next(before, f, clock.Now()))
}

// prime puts all cgroups that there are on the shelf.
func (w *worker) prime(news *watch) {
	left := cgroupsMost
	for id, path := range w.find.Cgroups() {
		select {
		case <-w.done:
			return
		default:
		}
		w.known(news, id, path)
		if left--; left == 0 {
			return
		}
	}
}

// known puts a cgroup on the shelf.
func (w *worker) known(news *watch, id uint64, path string) {
	news.add(path)
	e := &entry{cgroup: id}
	e.answer.Store(next(nil, w.find.Named(ParsePath(path)), clock.Now()))
	w.shelf.add(e)
}
