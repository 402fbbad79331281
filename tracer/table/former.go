package table

import (
	"cmp"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// formerGrace is how long listeners are remembered that ended, for the stories of their
// connections.
const formerGrace = uint64(time.Second)

// former is a listener that ended.
type former struct {
	row        // no index has it
	at  uint64 // when it ended
}

// remember keeps a listener that ended.
func (l *listeners) remember(r *row, at uint64) {
	if l.former != nil && r.Cookie != 0 {
		l.former[r.Cookie] = &former{*r, at}
	}
}

// forgetFormer forgets the listeners whose connections have ended.
func (l *listeners) forgetFormer(now uint64) {
	for key, f := range l.former {
		if now >= f.at+formerGrace {
			delete(l.former, key)
		}
	}
}

// began returns when a listener began; 0: before the tracer.
func (r *row) began() uint64 {
	if !r.StartKnown {
		return 0
	}
	return r.Start
}

// ofThen returns the listener that a connection came in through at a time, and when it
// ended (Never: it did not). nil: there is none, or several can be it that are not of one
// process.
func (l *listeners) ofThen(r *row, at uint64) (found *row, until uint64) {
	until = Never
	for _, bound := range l.byPort[r.port()] {
		switch {
		case !bound.canAccept(r) || bound.began() > at:
		case found != nil && !sameHolder(found, bound):
			return nil, Never
		default:
			found = bound
		}
	}
	for _, f := range l.former {
		switch {
		case f.port() != r.port() || !f.canAccept(r) || f.began() > at || f.at <= at:
		case found != nil && !sameHolder(found, &f.row):
			return nil, Never
		case found == nil:
			found, until = &f.row, f.at
		}
	}
	return found, until
}

// inheritThen gives r, which nobody was seen to accept, the owner of its listener as it was
// then: it may have ended since. moved and end are the times of the last transitions of r. The
// kernel closes what waits in the queue of a listener right after its end: what lived on is
// not known to be of its process (disinherit, settleHeirs).
func (o *Owners) inheritThen(r *row, key, moved, end uint64) {
	var l *row
	until := Never
	if key == 0 { // no request told which one it is
		o.disown(r)
		l, until = o.rows.listeners.ofThen(r, r.Start)
	} else if f := o.rows.listeners.former[key]; f != nil && r.Owner.Process == nil {
		l, until = &f.row, f.at
	}
	if l == nil || moved > until || until != Never && end >= until+dyingGrace {
		return
	}
	r.Owner, r.CgroupID = l.Owner, l.CgroupID
	if r.Owner.Process != nil {
		r.Owner.Source = snapshot.OwnerListener
	}
}

// foundOwners are the processes that open files lead to, of what the kernel side keeps, by
// cookie. A scan finds anew all that the last one did.
type foundOwners struct{ last, now map[uint64]*snapshot.Process }

func (f *foundOwners) add(cookie uint64, p *snapshot.Process) {
	if f.now == nil {
		f.now = make(map[uint64]*snapshot.Process)
	}
	f.now[cookie] = p
}

// endScan ends a scan, which may not have been about files.
func (f *foundOwners) endScan() {
	if f.now != nil {
		f.last, f.now = f.now, nil
	}
}

// take returns the process of a connection that ends; nil: none was found.
func (f *foundOwners) take(cookie uint64) *snapshot.Process {
	p := cmp.Or(f.now[cookie], f.last[cookie])
	if p != nil {
		delete(f.now, cookie)
		delete(f.last, cookie)
	}
	return p
}

// useFound makes the process the owner that was found by its open files while the
// connection was kept.
func (o *Owners) useFound(r *row) {
	if p := o.found.take(r.Cookie); p != nil && o.unsure(r) {
		r.Owner = snapshot.Owner{Process: p, Source: snapshot.OwnerFiles}
	}
}
