package table_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestTimerStops has the timer of a timewait or a request socket stop on CPU 1. Its
// end is reported before what that CPU reports next, and after what others report
// meanwhile. It is none where the timer starts again or the child follows.
func TestTimerStops(t *testing.T) {
	const mini = 0x2000
	other := table.Event{
		Kind: table.EventState, Sock: 0x3000, Cookie: 7, Netns: 1, Old: snapshot.Close, New: snapshot.SynSent,
		Local: netip.MustParseAddrPort("127.0.0.1:2000"), Remote: netip.MustParseAddrPort("127.0.0.1:81"),
	}
	born := table.Event{
		Kind: table.EventMiniBorn, Sock: mini, Netns: 1,
		Local: netip.MustParseAddrPort("127.0.0.1:80"), Remote: netip.MustParseAddrPort("127.0.0.1:1000"),
	}
	child := born
	child.Kind, child.Sock, child.Cookie = table.EventState, 0x4000, 8
	child.Old, child.New = snapshot.SynRecv, snapshot.Established
	gone := table.Event{Kind: table.EventMiniGone, Sock: mini, Netns: 1}
	on := func(cpu uint16, e table.Event) table.Event { e.CPU = cpu; return e }
	for _, c := range []struct {
		name   string
		state  snapshot.State
		real   bool
		events []table.Event
		want   []string
	}{
		{"timewait", snapshot.TimeWait, false, []table.Event{on(1, gone), on(1, other)}, []string{"TIME_WAIT -> CLOSE", "CLOSE -> SYN_SENT"}},
		{"another CPU", snapshot.TimeWait, false, []table.Event{on(1, gone), on(2, other)}, []string{"CLOSE -> SYN_SENT"}},
		{"which CPU is not known", snapshot.TimeWait, false, []table.Event{gone, other}, []string{"CLOSE -> SYN_SENT"}},
		{"another end", snapshot.TimeWait, false, []table.Event{on(1, gone), on(1, gone)}, []string{"TIME_WAIT -> CLOSE"}},
		{"started again", snapshot.TimeWait, false, []table.Event{on(1, gone), on(1, born), on(1, other)}, []string{"CLOSE -> SYN_SENT"}},
		{"request", snapshot.SynRecv, false, []table.Event{on(1, gone), on(1, other)}, []string{"SYN_RECV -> CLOSE", "CLOSE -> SYN_SENT"}},
		{"its child", snapshot.SynRecv, false, []table.Event{on(1, gone), on(2, other), on(1, child)}, []string{"CLOSE -> SYN_SENT", "SYN_RECV -> ESTABLISHED"}},
		{"PREEMPT_RT", snapshot.SynRecv, true, []table.Event{on(1, gone), on(1, other), on(1, child)}, []string{"CLOSE -> SYN_SENT", "SYN_RECV -> ESTABLISHED"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			merged := table.New(table.Config{RealTime: c.real}, noProcesses(), func(c *table.Change) {
				if c.Kind == table.ChangeState {
					got = append(got, fmt.Sprintf("%v -> %v", c.Old, c.New))
				}
			})
			clock := uint64(1_000_000_000)
			first := born
			first.New, first.Time, first.CPU = c.state, clock, 1
			merged.Apply(&first)
			if c.state == snapshot.TimeWait { // what it was before nobody saw
				clock += 3 * grace
				merged.Settle(clock)
			}
			got = nil
			for _, e := range c.events {
				clock += 1000
				e.Time = clock
				if e.Kind == table.EventMiniBorn {
					e.New = c.state
				}
				merged.Apply(&e)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("reported %v, want %v", got, c.want)
			}
			if err := merged.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}
