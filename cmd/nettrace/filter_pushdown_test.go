package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// TestFilterPushdown runs each filter twice beside the same load: once decided in
// the kernel as far as that can, once in user space alone. Both tell the same.
func TestFilterPushdown(t *testing.T) {
	for _, expression := range []string{
		"sport >= 40000",
		"dport < 40000 and not dst [::1]",
		"sport = 20003 or sport = 20017 or dport in {1, 20005, 20009, 20013, 20021, 20027}",
		"not src 127.0.0.0/8 or dport = 1",
	} {
		t.Run(expression, func(t *testing.T) {
			netns := newNetns(t)
			decided := []*tracing{
				trace(t, netns, "", "--ring-size", "64M", "--filter", expression),
				trace(t, netns, "", "--ring-size", "64M", "--filter", expression, "--filter-in-user-space"),
			}
			p := startLoad(t, load.Churn(7, 300*time.Millisecond), netns)
			if err := p.Go(); err != nil {
				t.Fatal(err)
			}
			if err := p.Done(); err != nil {
				t.Fatal(err)
			}
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			var told []map[string]int
			for _, tr := range decided {
				tr.quiet()
				tr.resync()
				tr.quiet()
				told = append(told, countTold(tr.stop()))
			}
			compareTold(t, told[0], told[1])
		})
	}
}

// countTold counts what records say, but for when and by which tracer. What depends
// on when each tracer looked is left out: the end of FIN_WAIT2 where no hook tells it,
// and of TIME_WAIT, and who accepted where no hook tells that.
func countTold(records []record) map[string]int {
	told := make(map[string]int)
	accepts := stockKernel()
	for _, r := range records {
		if r.ConnID == "" || r.OldState == "FIN_WAIT2" || r.OldState == "TIME_WAIT" || r.Event == "socket" {
			continue
		}
		if r.Direction == "incoming" && !accepts {
			r.Comm, r.PID = "", 0
		}
		told[fmt.Sprintf("%s %s:%d %s:%d %s>%s %s %s %s pid %d", r.Event, r.LocalAddr, r.LocalPort,
			r.RemoteAddr, r.RemotePort, r.OldState, r.NewState, r.Direction, r.Outcome, r.Comm, r.PID)]++
	}
	return told
}

func compareTold(t *testing.T, kernel, user map[string]int) {
	t.Helper()
	sum, differ := 0, 0
	for what, n := range user {
		if sum += n; kernel[what] != n {
			differ++
			t.Errorf("%s: %d times in user space, %d times in the kernel", what, n, kernel[what])
		}
	}
	for what, n := range kernel {
		if user[what] == 0 {
			differ++
			t.Errorf("%s: %d times in the kernel alone", what, n)
		}
	}
	if sum < 100 {
		t.Errorf("%d records are too few to compare", sum)
	}
	t.Logf("%d records compared, %d differ", sum, differ)
}
