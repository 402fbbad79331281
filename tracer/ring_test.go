package tracer

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

// fakeRing is a ring in ordinary memory, with the kernel's side of it.
type fakeRing struct {
	*ring
	size uint64
}

func newFakeRing(size int) *fakeRing {
	control := make([]byte, os.Getpagesize())
	mapped := make([]byte, os.Getpagesize()+size)
	return &fakeRing{newRing(control, mapped), uint64(size)}
}

// put writes bytes at a position.
func (r *fakeRing) put(position uint64, b []byte) {
	for i, c := range b {
		r.data[(position+uint64(i))%r.size] = c
	}
}

// reserve makes a record that is busy; false if there is no room for it.
func (r *fakeRing) reserve(n int) (position uint64, ok bool) {
	position = *r.producer
	next := position + (ringHeader+uint64(n)+7)&^7
	if next-atomic.LoadUint64(r.consumer) > r.size-1 {
		return 0, false
	}
	r.put(position, binary.NativeEndian.AppendUint32(nil, uint32(n)|ringBusy))
	atomic.StoreUint64(r.producer, next)
	return position, true
}

// submit completes a record that was reserved.
func (r *fakeRing) submit(position uint64, record []byte, flags uint32) {
	r.put(position+ringHeader, record)
	r.put(position, binary.NativeEndian.AppendUint32(nil, uint32(len(record))|flags))
}

// TestRing writes and reads at random: what is read is what was submitted, in order.
func TestRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newFakeRing(4096)
		var want, got [][]byte
		read := func() {
			limit := rapid.IntRange(0, 40).Draw(t, "limit")
			n := 0
			err := r.drain(func(record []byte) bool {
				got = append(got, bytes.Clone(record))
				n++
				return n != limit
			})
			if err != nil {
				t.Fatal(err)
			}
			if limit == 0 && r.queued() != 0 {
				t.Fatalf("%d bytes are left", r.queued())
			}
			if *r.consumer != r.position {
				t.Fatalf("given back until %d, read until %d", *r.consumer, r.position)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				record := rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "record")
				position, ok := r.reserve(len(record))
				if !ok {
					t.Skip("full")
				}
				if rapid.IntRange(0, 9).Draw(t, "discard") == 0 {
					r.submit(position, record, ringDead)
					return
				}
				r.submit(position, record, 0)
				want = append(want, bytes.Clone(record))
			},
			"read": func(*rapid.T) { read() },
		})
		for r.queued() > 0 {
			read()
		}
		if !slices.EqualFunc(want, got, bytes.Equal) {
			t.Fatalf("%d records read, %d written, or others", len(got), len(want))
		}
	})
}

// TestRingBusy has a record that is submitted while the reader waits for it, and
// one before it that must not be read twice.
func TestRingBusy(t *testing.T) {
	r := newFakeRing(4096)
	first, _ := r.reserve(3)
	r.submit(first, []byte("one"), 0)
	second, _ := r.reserve(3)
	go func() {
		time.Sleep(10 * time.Millisecond)
		copy(r.data[second+ringHeader:], "two")
		header := r.data[second:][:4]
		atomic.StoreUint32((*uint32)(unsafe.Pointer(&header[0])), 3)
	}()
	var got []string
	err := r.drain(func(record []byte) bool {
		got = append(got, string(record))
		return true
	})
	if want := []string{"one", "two"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q and %v, want %q", got, err, want)
	}
}

// TestRingTorn has a length that the writer's position contradicts.
func TestRingTorn(t *testing.T) {
	r := newFakeRing(4096)
	position, _ := r.reserve(8)
	r.submit(position, make([]byte, 8), 0)
	r.put(position, binary.NativeEndian.AppendUint32(nil, 4000))
	if err := r.drain(func([]byte) bool { t.Error("a record"); return true }); err == nil {
		t.Error("no error")
	}
}

// TestRingGivesBack reads a batch that is larger than what is kept from the writers.
func TestRingGivesBack(t *testing.T) {
	r := newFakeRing(4 * releaseEvery)
	for {
		position, ok := r.reserve(1000)
		if !ok {
			break
		}
		r.submit(position, make([]byte, 1000), 0)
	}
	err := r.drain(func([]byte) bool {
		if kept := r.position - *r.consumer; kept > releaseEvery+2000 {
			t.Fatalf("%d bytes were read and not given back", kept)
		}
		return true
	})
	if err != nil || *r.consumer != *r.producer {
		t.Errorf("read until %d of %d: %v", *r.consumer, *r.producer, err)
	}
}

// TestRingAllocs reads the same records again and again, over the end of the ring too.
func TestRingAllocs(t *testing.T) {
	r := newFakeRing(1 << 16)
	from := r.size - 100*50 - 48 // so that a record is cut
	*r.producer, *r.consumer, r.position = from, from, from
	for range 100 {
		position, _ := r.reserve(90)
		r.submit(position, make([]byte, 90), 0)
	}
	allocs := testing.AllocsPerRun(10, func() {
		r.position = from
		n := 0
		if err := r.drain(func([]byte) bool { n++; return true }); err != nil || n != 100 {
			t.Errorf("%d records: %v", n, err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if r.joined == nil {
		t.Error("no record reached over the end")
	}
}
