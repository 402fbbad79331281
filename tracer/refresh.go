package tracer

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nettrace/nettrace/tracer/table"
)

// refreshInterval is how often timewait sockets are asked whether they left
// FIN_WAIT2. Where nothing else happens it is quietRefresh: what is asked for then is
// told as early as all that silence decides.
const (
	refreshInterval = 10 * time.Millisecond
	quietRefresh    = 40 * time.Millisecond
)

// refresher asks timewait sockets in FIN_WAIT2 whether they have left it, where no
// hook reports that. A program of ours looks at the sockets named in a map; what
// it finds comes by the ring buffer.
type refresher struct {
	program *ebpf.Program // nil: a hook reports it
	sockets *ebpf.Map
	next    uint64 // time of the next look

	refs []streamMiniRef // buffers of look
	keys []uint32
}

func newRefresher(h *hooks) refresher {
	if h.chosen[Substate] != refreshHook {
		return refresher{}
	}
	return refresher{program: h.programs[streamProgMiniRefresh], sockets: h.maps.Maps[streamMapMiniRefs]}
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

// look has the program look at as many of the table's sockets as the map holds,
// those first that were not looked at for longest.
func (r *refresher) look(t *table.Table) error {
	if r.program == nil || t.FinWait2() == 0 {
		return nil
	}
	r.refs = r.refs[:0]
	t.NextFinWait2(int(r.sockets.MaxEntries()), func(sock, cookie uint64) {
		r.refs = append(r.refs, streamMiniRef{Sk: sock, Cookie: cookie})
	})
	if len(r.refs) == 0 {
		return nil
	}
	r.keys = r.keys[:0]
	for i := range r.refs {
		r.keys = append(r.keys, uint32(i))
	}
	if _, err := r.sockets.BatchUpdate(r.keys, r.refs, nil); err != nil {
		return fmt.Errorf("name the timewait sockets to look at: %w", err)
	}
	args := streamRefreshArgs{Count: uint32(len(r.refs))}
	if _, err := r.program.Run(&ebpf.RunOptions{Context: args}); err != nil {
		return fmt.Errorf("look at timewait sockets: %w", err)
	}
	return nil
}

// rounds returns how many looks all of the table's sockets take, at least one.
func (r *refresher) rounds(t *table.Table) int {
	if r.program == nil {
		return 1
	}
	return t.FinWait2()/int(r.sockets.MaxEntries()) + 1
}
