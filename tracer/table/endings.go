package table

// endings remembers what ended while rows of the kernel's table are read: a row may be
// applied after the end of its socket, and must not bring it back. The numbers are cookies
// and places, which do not collide: a cookie is small. The complement of a cookie is the
// end of a timewait socket's FIN_WAIT2.
//
// What ended before a row was read does not matter to it. So there are two generations,
// and the older one is forgotten once rows are applied that were read after it.
type endings struct {
	latest, older     map[uint64]struct{}
	latestAt, olderAt uint64 // no ending of the generation is later
}

// open begins to remember.
func (e *endings) open() {
	*e = endings{latest: make(map[uint64]struct{}), older: make(map[uint64]struct{})}
}

func (e *endings) close() { *e = endings{} }

// add remembers a socket that ended at a time, during a scan.
func (e *endings) add(number, at uint64) {
	if e.latest != nil && number != 0 {
		e.latest[number] = struct{}{}
		e.latestAt = max(e.latestAt, at)
	}
}

func (e *endings) has(number uint64) bool {
	if number == 0 {
		return false
	}
	_, latest := e.latest[number]
	_, older := e.older[number]
	return latest || older
}

// forget says that only rows that were read after a time are applied from now on.
func (e *endings) forget(after uint64) {
	if after <= e.olderAt+rowGrace || len(e.latest) == 0 {
		return
	}
	e.older, e.latest = e.latest, e.older
	e.olderAt, e.latestAt = e.latestAt, 0
	clear(e.latest)
}
