package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
)

// TestSources wants the same bytes from the iterators as from /proc, for sockets
// in all states, with owners that share sockets.
func TestSources(t *testing.T) {
	netns := testnet.New(t)
	p, err := load.Start(load.Churn(21, 500*time.Millisecond), netns)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Go(); err != nil {
		t.Fatal(err)
	}
	if err := p.Done(); err != nil {
		t.Fatal(err)
	}
	for _, option := range []string{"-tan", "-tanp", "-tanpee", "-tln", "-t6n", "-anp", "-tanpW"} {
		t.Run(option, func(t *testing.T) {
			for range 20 { // timers go on: until nothing changes meanwhile
				before, _, _ := nettraceIn(t, netns, 0, option, "--source=proc")
				bpf, stderr, status := nettraceIn(t, netns, 0, option, "--source=bpf")
				after, _, _ := nettraceIn(t, netns, 0, option, "--source=proc")
				if status != 0 {
					if inMachine {
						t.Fatal(stderr)
					}
					t.Skip("this machine cannot load iterators: ", stderr)
				}
				if before != after {
					time.Sleep(100 * time.Millisecond)
					continue
				}
				if diff := cmp.Diff(after, bpf); diff != "" {
					t.Errorf("(-proc +bpf):\n%.3000s", diff)
				}
				return
			}
			t.Error("the sockets do not come to rest")
		})
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}
