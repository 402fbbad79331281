package tracer

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
)

// someSockets is a condition that about half of the sockets of a churn fulfil: some
// because of a port that their connect is given late, some because of addresses.
func someSockets() *snapshot.Condition {
	loopback6 := netip.MustParseAddr("::1").As16()
	return &snapshot.Condition{
		Atoms: []snapshot.Atom{
			{Kind: snapshot.AtomLocalPort, Ports: []snapshot.PortRange{{Low: 20000, High: 20019}, {Low: 32768, High: 46000}}},
			{Kind: snapshot.AtomFamily, Number: 6},
			{Kind: snapshot.AtomRemoteAddr, Addr: loopback6, Bits: 128, OnlyIPv6: true},
		},
		Terms: []snapshot.Term{{Pos: 1 << 0}, {Pos: 1 << 1, Neg: 1 << 2}},
	}
}

// isWanted reports whether the condition has a socket of the kernel's table.
func isWanted(c *snapshot.Condition, s *snapshot.Head) bool {
	var unknown snapshot.Unknown
	if s.State == snapshot.Listen {
		unknown = snapshot.UnknownOfListener
	}
	return c == nil || c.Admits(s, unknown)
}

// TestExactCondition traces the sockets that fulfil a condition, beside a tracer of
// all. Its table must be that part of the kernel's, and what it reports of each
// connection what the other one does.
func TestExactCondition(t *testing.T) {
	for _, set := range hookSets {
		t.Run(set.name, func(t *testing.T) {
			skipSet(t, set.kinds)
			netns := testnet.New(t)
			every := startWatch(t, Options{NetnsPath: netns, Hooks: set.kinds, Reconcile: -1})
			some := startWatch(t, Options{NetnsPath: netns, Hooks: set.kinds, Reconcile: -1, Condition: someSockets()})
			rows := 0
			for seed := range 6 {
				p := churn(t, netns, uint64(seed), 300*time.Millisecond)
				if err := p.Done(); err != nil {
					t.Fatal(err)
				}
				if !inMachine {
					time.Sleep(100 * time.Millisecond)
					every.resync() // this kernel may not run tracing programs everywhere
					some.resync()
				}
				n := some.compare(netns)
				if n == 0 {
					t.Errorf("round %d failed", seed)
				}
				rows += n
				if err := p.Stop(); err != nil {
					t.Fatal(err)
				}
			}
			every.compare(netns) // the ends are over
			some.compare(netns)
			every.stop()
			some.stop()
			if every.lost+some.lost > 0 {
				t.Fatalf("%d and %d events were lost", every.lost, some.lost)
			}
			compareWalks(t, every, some)
			t.Logf("%d rows compared, %d of %d connections", rows, len(some.walks), len(every.walks))
		})
	}
}

// walked is what was reported of a connection.
type walked struct {
	local, remote netip.AddrPort
	states        string
}

// compareWalks wants some to have reported each connection of every that fulfils the
// condition, with the same transitions, and no other. It ran longer: a connection that
// ended after every was stopped has one more there.
func compareWalks(t *testing.T, every, some *watch) {
	t.Helper()
	left := countWalks(t, every, someSockets())
	for walk, n := range countWalks(t, some, nil) {
		left[walk] -= n
		if ended, ok := strings.CutSuffix(walk.states, " "+snapshot.Close.String()); ok && left[walk] < 0 {
			before := walked{walk.local, walk.remote, ended}
			left[before], left[walk] = left[before]+left[walk], 0
		}
	}
	for walk, n := range left {
		if n != 0 {
			t.Errorf("%v: %d times more without the condition", walk, n)
		}
	}
	if len(some.walks) < 100 || len(some.walks) > len(every.walks)*9/10 {
		t.Errorf("%d of %d connections: the condition does not part them", len(some.walks), len(every.walks))
	}
}

// countWalks counts the connections that fulfil the condition, by what was reported
// of them until TIME_WAIT, which may end any time; or until FIN_WAIT2 where each
// tracer looks by itself whether a timewait socket has left that.
func countWalks(t *testing.T, w *watch, c *snapshot.Condition) map[walked]int {
	t.Helper()
	counts := make(map[walked]int)
	for _, k := range w.walks {
		s := snapshot.Head{}
		s.Local, s.Remote, s.State = k.conn.Local, k.conn.Remote, k.conn.State
		if slices.Contains(k.states, snapshot.Listen) && k.states[0] == snapshot.Close {
			s.State = snapshot.Listen
		}
		if k.states[0] == 0 || s.Local.Port() == 0 || !isWanted(c, &s) {
			continue // connect failed at once: the condition does not decide that
		}
		states, last := k.states, snapshot.TimeWait
		if w.tracer.hooks.chosen[Substate] == refreshHook {
			last = snapshot.FinWait2
		}
		if i := slices.Index(states, last); i >= 0 {
			states = states[:i+1]
		}
		var names []string
		for _, state := range states {
			names = append(names, state.String())
		}
		counts[walked{s.Local, s.Remote, strings.Join(names, " ")}]++
	}
	return counts
}
