package tracer

import (
	"maps"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cilium/ebpf"
)

// testLives makes the maps with so many sets.
func testLives(t *testing.T, sets int) *lives {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes BPF maps")
	}
	raiseMemlock()
	spec, err := loadCloses()
	if err != nil {
		t.Fatal(err)
	}
	makeRoom(uint32(sets*livesWays), spec.Maps)
	made := make(map[string]*ebpf.Map)
	for _, name := range []string{closesMapLivesSets, closesMapLives} {
		if made[name], err = ebpf.NewMap(spec.Maps[name]); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { made[name].Close() })
	}
	l, err := openLives(made[closesMapLivesSets], made[closesMapLives])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// put keeps a connection as a program does; false: its set is full.
func (l *lives) put(t *testing.T, cookie uint64, life *streamLife) bool {
	t.Helper()
	set := int(cookie & uint64(len(l.sets)-1))
	for way := range livesWays {
		if *l.cookie(set, way) == 0 {
			if err := l.places.Put(l.place(set, way), life); err != nil {
				t.Fatal(err)
			}
			*l.cookie(set, way) = cookie
			return true
		}
	}
	return false
}

// TestLives compares what is kept with a map, while connections come and go.
func TestLives(t *testing.T) {
	l := testLives(t, 8)
	random := rand.New(rand.NewPCG(1, 2))
	want, full := make(map[uint64]uint64), 0
	for i := range 4000 {
		cookie := uint64(1 + random.IntN(300))
		_, known := want[cookie]
		if l.has(cookie) != known {
			t.Fatalf("cookie %d is kept: %v", cookie, !known)
		}
		var got streamLife
		switch taken := l.take(cookie, &got); {
		case taken != known, known && got.Start != want[cookie]:
			t.Fatalf("cookie %d taken: %v, began at %d; want %v, %d", cookie, taken, got.Start, known, want[cookie])
		case known:
			delete(want, cookie)
		case l.put(t, cookie, &streamLife{Start: uint64(i)}):
			want[cookie] = uint64(i)
		default:
			full++
		}
	}
	if full == 0 || len(want) == 0 {
		t.Errorf("%d connections had no room, %d are left: nothing was tested", full, len(want))
	}
	for cookie := range want {
		if cookie%8 == 3 {
			l.take(cookie, new(streamLife))
			delete(want, cookie)
		}
	}
	*l.cookie(3, 0) = lifeClaimed // by a program that is about to keep one
	got := make(map[uint64]uint64)
	if err := l.each(func(cookie uint64, life *streamLife) { got[cookie] = life.Start }); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("each: %v\nwant %v", got, want)
	}
	if l.has(0) {
		t.Error("what is free has a cookie")
	}
	if err := l.rehearse(); err != nil {
		t.Error(err)
	}
}
