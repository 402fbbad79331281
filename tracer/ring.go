package tracer

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ring reads the kernel's ring buffer where it lies, a batch at a time. Package
// ringbuf copies each record and frees its place at once, which takes a cache line
// away from the processors that write; and it returns from waiting while there is
// anything to read, so that its batches are of a few records.
//
// The layout is that of kernel/bpf/ringbuf.c: a page with the reader's position,
// one with the writers', and the data. The kernel offers the data twice in a row, so
// that no record is cut in two. It is mapped once here, as each mapped page counts as
// resident; the record that reaches over the end is put together. Positions only grow.
type ring struct {
	consumer *uint64 // written by the reader alone
	producer *uint64
	data     []byte // a power of two, the ring's size
	joined   []byte // the last record that reached over the end
	position uint64 // read up to here; consumer follows

	drainedAt uint64 // all that was written before this time was read

	control, mapped []byte // what was mapped
	epoll           int
}

const (
	ringHeader = 8       // of a record: its length, and where it lies
	ringBusy   = 1 << 31 // in the length: not yet submitted
	ringDead   = 1 << 30 // in the length: discarded

	// releaseEvery is after how many bytes their place is freed, if the batch is
	// not over before.
	releaseEvery = 1 << 16
)

// openRing maps a ring buffer.
func openRing(m *ebpf.Map, b *bed) (*ring, error) {
	page, size := os.Getpagesize(), int(m.MaxEntries())
	control, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the reader's position: %w", err)
	}
	mapped, err := unix.Mmap(m.FD(), int64(page), page+size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map the data: %w", err), unix.Munmap(control))
	}
	r := newRing(control, mapped)
	r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the kernel: %w", err), r.unmap())
	}
	// Edge-triggered: it returns when somebody wakes the reader, not because
	// there is something to read.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	for _, fd := range []int{m.FD(), b.event} {
		if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return nil, errors.Join(fmt.Errorf("wait for the kernel: %w", err), r.close())
		}
	}
	return r, nil
}

// newRing reads a ring from its reader's page, and its writers' page with the data.
func newRing(control, mapped []byte) *ring {
	r := &ring{
		consumer: (*uint64)(unsafe.Pointer(&control[0])),
		producer: (*uint64)(unsafe.Pointer(&mapped[0])),
		data:     mapped[os.Getpagesize():],
		control:  control, mapped: mapped, epoll: -1,
	}
	r.position = atomic.LoadUint64(r.consumer)
	return r
}

// wait waits until somebody wakes the reader, but not longer than d.
func (r *ring) wait(d time.Duration) error {
	var events [1]unix.EpollEvent
	ms := (d + time.Millisecond - 1) / time.Millisecond
	_, err := unix.EpollWait(r.epoll, events[:], int(ms))
	if errors.Is(err, unix.EINTR) { // it waits again soon enough
		return nil
	}
	return err
}

// drain calls f with each record written until now, in the order of writing,
// until f returns false. A record is f's only until it returns.
func (r *ring) drain(f func(record []byte) bool) error {
	r.drainedAt = monotonic()
	end := atomic.LoadUint64(r.producer)
	defer r.release()
	size := uint64(len(r.data))
	for r.position < end {
		at := r.position & (size - 1)
		length := r.length(at)
		n := uint64(length &^ (ringBusy | ringDead))
		next := r.position + (ringHeader+n+7)&^7
		if next > end {
			return fmt.Errorf("a record of %d bytes reaches past the end of what was written", n)
		}
		r.position = next
		if length&ringDead == 0 && !f(r.record(at+ringHeader, n)) {
			return nil
		}
		if next-atomic.LoadUint64(r.consumer) >= releaseEvery {
			r.release()
		}
	}
	return nil
}

// record returns the n bytes from at on.
func (r *ring) record(at, n uint64) []byte {
	size := uint64(len(r.data))
	if at+n <= size {
		return r.data[at:][:n]
	}
	at &= size - 1 // a header may be the last that fits
	r.joined = append(r.joined[:0], r.data[at:min(at+n, size)]...)
	r.joined = append(r.joined, r.data[:n-uint64(len(r.joined))]...)
	return r.joined
}

// length reads a record's, once it was submitted: the writer is in the middle of
// it, or was interrupted there, so that this does not take long.
func (r *ring) length(at uint64) uint32 {
	header := (*uint32)(unsafe.Pointer(&r.data[at]))
	for tries := 0; ; tries++ {
		if n := atomic.LoadUint32(header); n&ringBusy == 0 {
			return n
		}
		if tries > 100 {
			time.Sleep(20 * time.Microsecond)
		} else {
			runtime.Gosched()
		}
	}
}

// release frees the place of what was read for the writers.
func (r *ring) release() { atomic.StoreUint64(r.consumer, r.position) }

// queued is the number of bytes that were not read yet.
func (r *ring) queued() int { return int(atomic.LoadUint64(r.producer) - r.position) }

func (r *ring) close() error { return errors.Join(unix.Close(r.epoll), r.unmap()) }

func (r *ring) unmap() error { return errors.Join(unix.Munmap(r.control), unix.Munmap(r.mapped)) }
