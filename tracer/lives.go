package tracer

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	livesWays   = len(closesLivesSet{}.Cookies) // places of a set
	lifeClaimed = ^uint64(0)                    // no cookie: a program writes the place
)

// lives are the connections that the kernel side keeps. bpf/lives.h says how they are found.
// The cookies are mapped, the connections are read by place.
type lives struct {
	memory []byte
	sets   []closesLivesSet
	places *ebpf.Map
}

// openLives maps the cookies.
func openLives(sets, places *ebpf.Map) (*lives, error) {
	n, page := int(sets.MaxEntries()), os.Getpagesize()
	size := (n*int(unsafe.Sizeof(closesLivesSet{})) + page - 1) / page * page
	memory, err := unix.Mmap(sets.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the cookies of what is kept: %w", err)
	}
	return &lives{memory: memory, sets: unsafe.Slice((*closesLivesSet)(unsafe.Pointer(&memory[0])), n), places: places}, nil
}

func (l *lives) close() error {
	if l == nil {
		return nil
	}
	return unix.Munmap(l.memory)
}

// cookie returns where the cookie of a place lies.
func (l *lives) cookie(set, way int) *uint64 { return &l.sets[set].Cookies[way] }

// place returns the number of a place among all connections.
func (l *lives) place(set, way int) uint32 { return uint32(way*len(l.sets) + set) }

// find returns where a connection is; false: it is not kept.
func (l *lives) find(cookie uint64) (set, way int, ok bool) {
	set = int(cookie & uint64(len(l.sets)-1))
	for way := range livesWays {
		if atomic.LoadUint64(l.cookie(set, way)) == cookie {
			return set, way, cookie != 0
		}
	}
	return 0, 0, false
}

// has reports whether a connection is kept.
func (l *lives) has(cookie uint64) bool {
	_, _, ok := l.find(cookie)
	return ok
}

// read reads what a place has, and reports whether that is a connection's still.
func (l *lives) read(set, way int, cookie uint64, into *streamLife) (ok bool, err error) {
	if err := l.places.Lookup(l.place(set, way), into); err != nil {
		return false, fmt.Errorf("read what is kept: %w", err)
	}
	return atomic.LoadUint64(l.cookie(set, way)) == cookie, nil
}

// take reads what is kept of a connection and forgets it; false: it is not kept, or
// could not be read.
func (l *lives) take(cookie uint64, into *streamLife) bool {
	set, way, ok := l.find(cookie)
	if !ok {
		return false
	}
	if _, err := l.read(set, way, cookie, into); err != nil {
		return false
	}
	return atomic.CompareAndSwapUint64(l.cookie(set, way), cookie, 0)
}

// each calls f for every connection. What comes or goes meanwhile may be left out.
func (l *lives) each(f func(cookie uint64, life *streamLife)) error {
	var life streamLife
	for set := range l.sets {
		for way := range livesWays {
			cookie := atomic.LoadUint64(l.cookie(set, way))
			if cookie == 0 || cookie == lifeClaimed {
				continue
			}
			ok, err := l.read(set, way, cookie, &life)
			if err != nil {
				return err
			}
			if ok {
				f(cookie, &life)
			}
		}
	}
	return nil
}

// rehearse reads a place, as a run will.
func (l *lives) rehearse() error {
	_, err := l.read(0, 0, 0, new(streamLife))
	return err
}

// makeRoom has maps of an object keep up to a number of connections.
func makeRoom(most uint32, maps map[string]*ebpf.MapSpec) {
	for name, n := range map[string]uint32{
		closesMapLives: most, closesMapLivesSets: most / uint32(livesWays), closesMapAcceptors: most,
	} {
		if m := maps[name]; m != nil {
			m.MaxEntries = n
		}
	}
}
