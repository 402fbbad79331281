package table

import (
	"math/rand/v2"
	"unsafe"
)

// store is the memory of rows. A row that is given back is used again for another
// socket, with another id; see rowRef.
type store struct {
	free       []*row
	fresh      []row // never used
	keepListed bool  // rows of the initial table are not used again until freeListed
	listed     []*row
	made, seed uint64
}

func newStore() store { return store{seed: rand.Uint64()} }

// take returns an empty row with an id of its own.
func (s *store) take() *row {
	r := s.empty()
	s.made++
	r.ID = mix64(s.seed + s.made)
	return r
}

// empty returns an empty row.
func (s *store) empty() (r *row) {
	if n := len(s.free); n > 0 {
		r, s.free = s.free[n-1], s.free[:n-1]
		*r = row{}
	} else {
		if len(s.fresh) == 0 {
			const block = 32 << 10 // a tenth less memory than one by one
			s.fresh = make([]row, block/unsafe.Sizeof(row{}))
		}
		r, s.fresh = &s.fresh[0], s.fresh[1:]
	}
	return r
}

// giveBack takes a row that is in no index any more.
func (s *store) giveBack(r *row) {
	if r.listed && s.keepListed {
		s.listed = append(s.listed, r)
		return
	}
	s.free = append(s.free, r)
}

// freeListed lets rows of the initial table be used again.
func (s *store) freeListed() {
	s.free = append(s.free, s.listed...)
	s.listed, s.keepListed = nil, false
}

// mix64 is the finalizer of SplitMix64: a bijection, so ids do not collide.
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
