package tracer

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nettrace/nettrace/tracer/table"
)

// TestCollectOnce has the reader take a request that ended, and then find the kernel side's own
// record of it behind the request that came next on that CPU: each is told once.
func TestCollectOnce(t *testing.T) {
	k := kept{lives: testLives(t, 64)}
	spec, err := loadCloses()
	if err != nil {
		t.Fatal(err)
	}
	k.stopped, err = ebpf.NewMap(spec.Maps[closesMapLastStopped])
	if err != nil {
		t.Fatal(err)
	}
	defer k.stopped.Close()
	var told []uint64
	procs := table.NewProcesses(10, startReader("/proc"), func(uint32) {})
	cfg := table.Config{Keeping: table.Keeping{Kept: func(uint64) bool { return false }}}
	to := table.New(cfg, procs, func(c *table.Change) {
		if c.Kind == table.ChangeClose {
			told = append(told, c.Time)
		}
	})
	stop := func(sk, gone uint64) streamDroppedEvent {
		d := streamDroppedEvent{Request: streamRequestEvent{Event: body(table.EventDropped)}, Gone: gone}
		d.Request.Event.Head.Sk, d.Request.Event.Head.Time = sk, gone-1
		cpus := make([]streamDroppedEvent, ebpf.MustPossibleCPU())
		cpus[0] = d
		if err := k.stopped.Put(uint32(0), cpus); err != nil {
			t.Fatal(err)
		}
		return d
	}
	collect := func(drained uint64) {
		if err := k.collect(drained, to); err != nil {
			t.Fatal(err)
		}
	}
	const first, second = uint64(time.Hour), uint64(time.Hour + time.Minute)
	d := stop(1<<63|8, first)
	collect(first + uint64(stoppedGrace) - 1) // something may follow
	if len(told) > 0 {
		t.Error("told before its grace was over")
	}
	collect(first + uint64(stoppedGrace))
	stop(1<<63|16, second)
	collect(second - 1) // the ring has the record of the first one, which was not read yet
	if is, err := k.handle(encode(t, d), to); !is || err != nil {
		t.Fatal(is, err)
	}
	collect(second + uint64(stoppedGrace))
	if len(told) != 2 || told[0] != first || told[1] != second {
		t.Errorf("told %d, want %d and %d", told, first, second)
	}
}
