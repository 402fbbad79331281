package tracer

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/tracer/table"
)

// refreshInterval is how often timewait sockets are asked whether they left
// FIN_WAIT2. Where nothing else happens it is quietRefresh: what is asked for then is
// told as early as all that silence decides.
const (
	refreshInterval = 10 * time.Millisecond
	quietRefresh    = 40 * time.Millisecond

	// refreshParts is how many looks very many timewait sockets take, one each interval.
	refreshParts = 8
)

// refresher asks timewait sockets in FIN_WAIT2 whether they have left it, where no
// hook reports that. A program of ours looks at the sockets named in a map; what
// it finds comes by the ring buffer.
type refresher struct {
	program *ebpf.Program // nil: a hook reports it
	next    uint64        // time of the next look

	memory []byte          // of the map
	refs   []streamMiniRef // what is in it
}

// openRefresher maps the names of the sockets.
func openRefresher(h *hooks) (refresher, error) {
	if h.chosen[Substate] != refreshHook {
		return refresher{}, nil
	}
	m := h.maps.Maps[streamMapMiniRefs]
	memory, err := mapArray(m)
	if err != nil {
		return refresher{}, fmt.Errorf("map the names of timewait sockets: %w", err)
	}
	refs := unsafe.Slice((*streamMiniRef)(unsafe.Pointer(&memory[0])), m.MaxEntries())
	return refresher{program: h.programs[streamProgMiniRefresh], memory: memory, refs: refs}, nil
}

// mapArray maps an array whose values are multiples of 8 bytes: the kernel rounds them up.
func mapArray(m *ebpf.Map) ([]byte, error) {
	page := os.Getpagesize()
	size := (int(m.MaxEntries()*m.ValueSize()) + page - 1) / page * page
	return unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func (r *refresher) close() error {
	if r.memory == nil {
		return nil
	}
	return unix.Munmap(r.memory)
}

// due reports whether the time of the next look has come, and sets the one after. busy
// says that something happens.
func (r *refresher) due(now uint64, busy bool) bool {
	if r.program == nil || now < r.next {
		return false
	}
	interval := refreshInterval
	if !busy {
		interval = quietRefresh
	}
	r.next = now + uint64(interval)
	return true
}

// look has the program look at some of the table's sockets, those first that were not
// looked at for longest.
func (r *refresher) look(t *table.Table) error {
	if r.program == nil || t.FinWait2() == 0 {
		return nil
	}
	n := 0
	var failed error
	t.NextFinWait2(r.most(t), func(sock, cookie uint64) {
		r.refs[n] = streamMiniRef{Sk: sock, Cookie: cookie}
		if n++; n == len(r.refs) {
			failed = errors.Join(failed, r.run(n))
			n = 0
		}
	})
	return errors.Join(failed, r.run(n))
}

// run has the program look at the first n sockets of the map.
func (r *refresher) run(n int) error {
	if n == 0 {
		return nil
	}
	args := streamRefreshArgs{Count: uint32(n)}
	if _, err := r.program.Run(&ebpf.RunOptions{Context: args}); err != nil {
		return fmt.Errorf("look at timewait sockets: %w", err)
	}
	return nil
}

// most returns how many sockets are looked at at once: as many as the map holds, and of
// very many a part.
func (r *refresher) most(t *table.Table) int { return max(len(r.refs), t.FinWait2()/refreshParts) }

// rounds returns how many looks all of the table's sockets take, at least one.
func (r *refresher) rounds(t *table.Table) int {
	if r.program == nil {
		return 1
	}
	return t.FinWait2()/r.most(t) + 1
}
