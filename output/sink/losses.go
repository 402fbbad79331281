package sink

import (
	"sync"
	"sync/atomic"
	"time"
)

// Class is how much a line is worth when the queue is full.
type Class uint8

// The classes. The newest lines of a class are those that are left out.
const (
	Transition Class = iota // has a place while the queue is less than half full
	Row                     // of a table: has a place while the queue is not full
	Close                   // the end of a connection: has a place while the queue is not full
	Service                 // what the run says of itself: has a place beyond the others
)

// serviceRoom is how much Service lines take beyond the limit: hours of them. A place
// that is gone for weeks must not take all memory.
const serviceRoom = 4 << 20

// limit returns how many bytes may wait before a line of a class has no place.
func (c Class) limit(of int) int64 {
	switch c {
	case Transition:
		return int64(of) / 2
	case Service:
		return int64(of) + serviceRoom
	}
	return int64(of)
}

// tellInterval is the least time between two reports of losses of a stage.
const tellInterval = time.Second

// losses counts what was not admitted, and remembers what of it was not told yet.
type losses struct {
	mu      sync.Mutex
	total   [stages]Dropped
	untold  [stages]Loss
	told    [stages]time.Time // when a loss was told last
	pending atomic.Bool       // something is not told
	warned  time.Time         // when a person was told
}

// drop counts a line that was not admitted. It reports whether it is time to tell a
// person.
func (l *losses) drop(stage Stage, class Class) (warn bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	loss := &l.untold[stage]
	if loss.Records == 0 {
		loss.Stage, loss.Since = stage, now
	}
	loss.Until = now
	loss.count(class)
	l.total[stage].count(class)
	l.pending.Store(true)
	if now.Sub(l.warned) < noticeInterval {
		return false
	}
	l.warned = now
	return true
}

func (d *Dropped) count(class Class) {
	d.Records++
	switch class {
	case Transition:
		d.States++
	case Close:
		d.Closes++
	}
}

// due takes the losses that may be told now, or all that are not told.
func (l *losses) due(all bool) []Loss {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Loss
	left := false
	for i := range l.untold {
		loss := &l.untold[i]
		if loss.Records == 0 {
			continue
		}
		if !all && now.Sub(l.told[i]) < tellInterval {
			left = true
			continue
		}
		loss.Total = l.total[i].Records
		list = append(list, *loss)
		*loss, l.told[i] = Loss{}, now
	}
	l.pending.Store(left)
	return list
}

// totals returns what was not admitted so far.
func (l *losses) totals() [stages]Dropped {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}
