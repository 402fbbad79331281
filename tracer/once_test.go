package tracer

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestEndsOnce wants each end to be sent once, by one of the copies of the state program,
// while the softirqs of other connections interrupt the tasks that end some.
func TestEndsOnce(t *testing.T) {
	if os.Getenv("NETTRACE_KERNEL") == "5.10" {
		t.Skip("needs socket cookies in tracing programs (Linux 5.12)")
	}
	type end struct {
		cookie uint64
		old    snapshot.State
	}
	sent, twice, last := 0, 0, make(map[end]uint64)
	netns, other := testnet.New(t), testnet.New(t)
	tr := startCloses(t, Options{NetnsPath: netns, onRecord: func(raw []byte) {
		if len(raw) < sizeHead || table.EventKind(raw[kindOffset]) != table.EventState {
			return
		}
		var e table.Event
		decodeHead(raw, &e)
		if e.Cookie == 0 || e.New != snapshot.Close {
			return
		}
		sent++
		key := end{e.Cookie, e.Old}
		if before, ok := last[key]; ok && e.Time-before < uint64(10*time.Millisecond) { // else it connected again
			twice++
		}
		last[key] = e.Time
	}})
	for seed := range uint64(12) {
		beside := churn(t, other, seed+100, 300*time.Millisecond)
		p := churn(t, netns, seed, 300*time.Millisecond)
		if err := errors.Join(p.Done(), p.Stop(), beside.Done(), beside.Stop()); err != nil {
			t.Fatal(err)
		}
	}
	tr.end()
	tr.stop()
	t.Logf("%d of %d ends were sent twice", twice, sent)
	if sent == 0 || twice > sent/10000 { // a task that is preempted may go on on another CPU
		t.Fail()
	}
}
