package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/load"
)

// story lists the transitions and the ending that each side of each connection of
// load.Story must have according to TCP.
var story = []string{
	"127.0.0.1: client CLOSE>SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT closed by local",
	"127.0.0.1: server LISTEN>SYN_RECV>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSE closed by remote",
	"127.0.0.2: client CLOSE>SYN_SENT>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSE closed by remote",
	"127.0.0.2: server LISTEN>SYN_RECV>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT closed by local",
	"127.0.0.3: client CLOSE>SYN_SENT>ESTABLISHED>CLOSE reset_local by local",
	"127.0.0.3: server LISTEN>SYN_RECV>ESTABLISHED>CLOSE reset_remote by remote",
	"127.0.0.4: client CLOSE>SYN_SENT>CLOSE refused by remote",
	"127.0.0.5: client CLOSE>SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT closed by local",
	"127.0.0.5: server LISTEN>SYN_RECV>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSE closed by remote",
	"::1: client CLOSE>SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT closed by local",
	"::1: server LISTEN>SYN_RECV>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSE closed by remote",
	"listener CLOSE>LISTEN>CLOSE",
	"listener CLOSE>LISTEN>CLOSE",
}

// TestStreamStory makes one connection of each kind. The records must be the same on
// every kernel and with every set of hooks.
func TestStreamStory(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			skipVariant(t, v.hooks)
			netns := newNetns(t)
			tr := trace(t, netns, v.hooks)
			pid := playStory(t, tr, netns)
			records := tr.stop()
			if diff := cmp.Diff(story, storyOf(t, lives(t, records), pid)); diff != "" {
				t.Errorf("the story differs (-want +told):\n%s\n%v", diff, records[0].Hooks)
			}
		})
	}
}

// TestStreamFamily traces the same connections with -4 and with -6. The BPF programs
// must not even report the other family to nettrace.
func TestStreamFamily(t *testing.T) {
	for _, v := range variants {
		for _, option := range []string{"-4", "-6"} {
			t.Run(v.name+option, func(t *testing.T) {
				skipVariant(t, v.hooks)
				var want []string
				listeners := 0
				for _, line := range story {
					switch {
					case strings.HasPrefix(line, "listener "): // one a family
						if listeners++; listeners == 1 {
							want = append(want, line)
						}
					case strings.HasPrefix(line, "::1: ") == (option == "-6"):
						want = append(want, line)
					}
				}
				netns := newNetns(t)
				tr := trace(t, netns, v.hooks, option)
				pid := playStory(t, tr, netns)
				records := tr.stop()
				if diff := cmp.Diff(want, storyOf(t, lives(t, records), pid)); diff != "" {
					t.Errorf("the story differs (-want +told):\n%s\n%v", diff, records[0].Hooks)
				}
				if last := records[len(records)-1]; last.Filtered != 0 {
					t.Errorf("%d changes were left out after the kernel had told them", last.Filtered)
				}
			})
		}
	}
}

// playStory makes the connections while they are traced and returns the id of their
// process.
func playStory(t *testing.T, tr *tracing, netns string) int {
	t.Helper()
	player := startLoad(t, load.Story(), netns)
	if err := errors.Join(player.Go(), player.Done()); err != nil {
		t.Fatal(err)
	}
	tr.quiet()
	if err := player.Stop(); err != nil {
		t.Error(err)
	}
	return player.PID()
}

func storyOf(t *testing.T, all map[string]*life, pid int) []string {
	t.Helper()
	var told []string
	for _, l := range all {
		walk := strings.Join(l.states, ">")
		if l.inferred > 0 {
			walk += " (inferred)"
		}
		if len(l.closes) == 0 {
			told = append(told, "listener "+walk)
			continue
		}
		c := l.closes[0]
		if c.PID != pid {
			t.Errorf("%s belongs to pid %d (%s), want %d", walk, c.PID, c.OwnerSrc, pid)
		}
		line := c.RemoteAddr + ": client "
		if c.Direction == "incoming" {
			line = c.LocalAddr + ": server "
		}
		told = append(told, line+walk+" "+c.Outcome+" by "+c.ClosedBy)
	}
	slices.Sort(told)
	return told
}
