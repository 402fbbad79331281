package tracer

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	livesNear   = 16         // LIVES_NEAR in bpf/lives.h
	lifeClaimed = ^uint64(0) // no cookie: a program writes the place
)

// lives are the connections that the kernel side keeps. bpf/lives.h says how they are found.
// The cookies are mapped, the connections are read by place.
type lives struct {
	memory  []byte
	cookies []uint64 // by place
	mask    uint64   // the bits of a cookie that say where its connection lies
	places  *ebpf.Map
}

// openLives maps the cookies. most is how many connections there may be.
func openLives(index, places *ebpf.Map, most uint32) (*lives, error) {
	memory, err := mapArray(index)
	if err != nil {
		return nil, fmt.Errorf("map the cookies of what is kept: %w", err)
	}
	cookies := unsafe.Slice((*uint64)(unsafe.Pointer(&memory[0])), int(most)+livesNear-1)
	return &lives{memory: memory, cookies: cookies, mask: uint64(most) - 1, places: places}, nil
}

// close has nothing be kept any more, for the reader.
func (l *lives) close() error {
	if l == nil || l.memory == nil {
		return nil
	}
	memory := l.memory
	l.memory, l.cookies, l.mask = nil, nil, 0
	return unix.Munmap(memory)
}

// find returns the place of a connection; false: it is not kept.
func (l *lives) find(cookie uint64) (place int, ok bool) {
	at := int(cookie & l.mask)
	for place = at; place < min(at+livesNear, len(l.cookies)); place++ {
		if atomic.LoadUint64(&l.cookies[place]) == cookie {
			return place, cookie != 0
		}
	}
	return 0, false
}

// has reports whether a connection is kept.
func (l *lives) has(cookie uint64) bool {
	_, ok := l.find(cookie)
	return ok
}

// read reads what a place has, and reports whether that is a connection's still.
func (l *lives) read(place int, cookie uint64, into *streamLife) (ok bool, err error) {
	if err := l.places.Lookup(uint32(place), into); err != nil {
		return false, fmt.Errorf("read what is kept: %w", err)
	}
	return atomic.LoadUint64(&l.cookies[place]) == cookie, nil
}

// take reads what is kept of a connection and forgets it; false: it is not kept, or
// could not be read.
func (l *lives) take(cookie uint64, into *streamLife) bool {
	place, ok := l.find(cookie)
	if !ok {
		return false
	}
	if _, err := l.read(place, cookie, into); err != nil {
		return false
	}
	return atomic.CompareAndSwapUint64(&l.cookies[place], cookie, 0)
}

// each calls f for every connection. What comes or goes meanwhile may be left out.
func (l *lives) each(f func(cookie uint64, life *streamLife)) error {
	all := func(int, uint64) bool { return true }
	return l.visit(all, func(_ int, cookie uint64, life *streamLife) { f(cookie, life) })
}

// visit does the same for those that are wanted, with their places.
func (l *lives) visit(wanted func(place int, cookie uint64) bool, f func(place int, cookie uint64, life *streamLife)) error {
	var life streamLife
	for place := range l.cookies {
		cookie := atomic.LoadUint64(&l.cookies[place])
		if cookie == 0 || cookie == lifeClaimed || !wanted(place, cookie) {
			continue
		}
		ok, err := l.read(place, cookie, &life)
		if err != nil {
			return err
		}
		if ok {
			f(place, cookie, &life)
		}
	}
	return nil
}

// rehearse reads a place, as a run will.
func (l *lives) rehearse() error {
	_, err := l.read(0, 0, new(streamLife))
	return err
}
