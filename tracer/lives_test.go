package tracer

import (
	"maps"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cilium/ebpf"
)

// testLives makes the maps, for a number of connections.
func testLives(t *testing.T, most uint32) *lives {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes BPF maps")
	}
	raiseMemlock()
	spec, err := loadCloses()
	if err != nil {
		t.Fatal(err)
	}
	made := make(map[string]*ebpf.Map)
	for _, name := range []string{closesMapLivesIndex, closesMapLives} {
		if made[name], err = ebpf.NewMap(spec.Maps[name]); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { made[name].Close() })
	}
	l, err := openLives(made[closesMapLivesIndex], made[closesMapLives], most)
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

// put keeps a connection as a program does; false: there is no room near its place.
func (l *lives) put(t *testing.T, cookie uint64, life *streamLife) bool {
	t.Helper()
	at := cookie & l.mask
	for place := at; place < at+livesNear; place++ {
		if l.cookies[place] == 0 {
			if err := l.places.Put(uint32(place), life); err != nil {
				t.Fatal(err)
			}
			l.cookies[place] = cookie
			return true
		}
	}
	return false
}

// TestLives compares what is kept with a map, while connections come and go.
func TestLives(t *testing.T) {
	l := testLives(t, 64)
	random := rand.New(rand.NewPCG(1, 2))
	want, full := make(map[uint64]uint64), 0
	for i := range 4000 {
		cookie := uint64(1 + random.IntN(400))
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
		place, _ := l.find(cookie)
		l.take(cookie, new(streamLife))
		delete(want, cookie)
		l.cookies[place] = lifeClaimed // by a program that is about to keep one
		break
	}
	got := make(map[uint64]uint64)
	if err := l.each(func(cookie uint64, life *streamLife) { got[cookie] = life.Start }); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("each: %v\nwant %v", got, want)
	}
	search := ownerSearch{known: make([]sought, len(l.cookies))}
	look := func(f func(cookie uint64, life *streamLife)) {
		t.Helper()
		if err := l.visit(search.wants(1), func(_ int, cookie uint64, life *streamLife) { f(cookie, life) }); err != nil {
			t.Fatal(err)
		}
	}
	look(func(uint64, *streamLife) { t.Error("a connection was there before the first look") })
	const late = 1 << 20
	if !l.put(t, late, &streamLife{}) {
		t.Fatal("no room")
	}
	clear(got)
	look(func(cookie uint64, life *streamLife) { got[cookie] = life.Start })
	if !maps.Equal(got, want) {
		t.Errorf("the second look: %v\nwant %v", got, want)
	}
	if l.has(0) {
		t.Error("what is free has a cookie")
	}
	if err := l.rehearse(); err != nil {
		t.Error(err)
	}
	for cookie := range want {
		if err := l.close(); err != nil || l.has(cookie) {
			t.Errorf("closed: %v; it has a connection: %v", err, l.has(cookie))
		}
	}
}
