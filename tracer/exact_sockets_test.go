package tracer

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// socketSets are the hooks that are forced in turn where the kernel has them.
var socketSets = []struct {
	name  string
	kinds []string
	exact bool // no change has to be polled
}{
	{"best", nil, inMachine},
	{"kprobe", []string{"tp_btf", "kprobe", "kretprobe", "iter", "sock_diag", "syscall"}, true},
	{"cgroup", []string{"tp_btf", "cgroup", "iter", "sock_diag", "syscall"}, false},
}

// socketWatch is a watch that keeps what was told of UDP, raw and Unix sockets.
type socketWatch struct {
	*watch
	told map[uint64]*socketTold
}

// socketTold is what was told of one socket.
type socketTold struct {
	row    table.Socket
	kinds  []table.SocketChangeKind
	source []table.SocketSource
	listed bool
}

func watchSockets(t *testing.T, opts Options) *socketWatch {
	t.Helper()
	w := &socketWatch{watch: newWatch(t, opts), told: make(map[uint64]*socketTold)}
	w.runFor(w)
	return w
}

func (w *socketWatch) Sockets(rows iter.Seq[*table.Socket]) error {
	for row := range rows {
		if w.told[row.ID] != nil {
			w.wrong = append(w.wrong, fmt.Sprintf("listed twice: %v", row))
		}
		w.told[row.ID] = &socketTold{row: copyOf(row), listed: true}
	}
	return nil
}

func (w *socketWatch) Socket(c *table.SocketChange) error {
	k := w.told[c.Socket.ID]
	if k == nil {
		k = new(socketTold)
		w.told[c.Socket.ID] = k
	}
	if n := len(k.kinds); n > 0 && k.kinds[n-1] == table.SocketClose {
		w.wrong = append(w.wrong, fmt.Sprintf("%v after its close: %v", c.Kind, c.Socket))
	}
	k.row, k.kinds, k.source = copyOf(c.Socket), append(k.kinds, c.Kind), append(k.source, c.Source)
	return nil
}

// copyOf copies a row and what it points to.
func copyOf(s *table.Socket) table.Socket {
	row := *s
	if row.Unix != nil {
		end := *row.Unix
		row.Unix = &end
	}
	return row
}

func socketLine(p snapshot.Protocol, h *snapshot.Head) string {
	return fmt.Sprintf("%v %v %v %d inode %d uid %d", p, h.Local, h.Remote, h.State, h.Inode, h.UID)
}

// rows are those of the table that /proc should show.
func (w *socketWatch) rows() (rows []string) {
	w.t.Helper()
	w.read(func(*table.Table) {
		for s := range w.tracer.Sockets().All {
			if s.Shown && s.Protocol != snapshot.Unix {
				rows = append(rows, socketLine(s.Protocol, &s.Head))
			}
		}
	})
	slices.Sort(rows)
	return rows
}

// kernelSockets are the rows of /proc.
func kernelSockets(t *testing.T, netns string) (rows []string) {
	t.Helper()
	testnet.In(t, netns, func() {
		for _, p := range []snapshot.Protocol{snapshot.UDP, snapshot.UDPLite, snapshot.Raw} {
			for _, ipv6 := range []bool{false, true} {
				found, err := snapshot.ReadSockets("/proc/thread-self", p, ipv6)
				if errors.Is(err, fs.ErrNotExist) { // UDP-Lite, from 7.1 on
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				for s, err := range found {
					if err != nil {
						t.Error(err)
						continue
					}
					rows = append(rows, socketLine(p, &s.Head))
				}
			}
		}
	})
	slices.Sort(rows)
	return rows
}

// compareSockets compares the two tables at a moment when neither changes, and gives the
// number of rows.
func (w *socketWatch) compareSockets(netns string, exact bool) int {
	w.t.Helper()
	tries := 10
	if !exact {
		tries = 60 // a poll a second has to come
	}
	var diff string
	for range tries { // those that hold sockets end a moment after the load
		time.Sleep(50 * time.Millisecond)
		want := kernelSockets(w.t, netns)
		if diff = cmp.Diff(want, w.rows()); diff == "" {
			return len(want)
		}
	}
	w.t.Errorf("the table differs (-kernel +table):\n%.3000s", diff)
	return 0
}

// TestExactSockets lets several processes do anything to UDP, UDP-Lite and raw sockets,
// again and again, and wants the table to be the kernel's each time. Sockets were there
// before the tracer, and in every other round it is attached in the midst.
func TestExactSockets(t *testing.T) {
	for _, set := range socketSets {
		t.Run(set.name, func(t *testing.T) {
			skipSockets(t, set.kinds)
			netns := testnet.New(t)
			opts := Options{NetnsPath: netns, Hooks: set.kinds, Reconcile: -1, Protocols: inet}
			rounds, rows, changes, polled := 6, 0, 0, 0
			if inMachine { // a round takes half a minute there
				rounds = 4
			}
			for round := range rounds {
				var loads []*load.Process
				begin := func(seed int) {
					p, err := load.Start(load.Datagrams(uint64(seed), 400*time.Millisecond), netns)
					if err != nil {
						t.Fatal(err)
					}
					if err := p.Go(); err != nil {
						t.Fatal(err)
					}
					loads = append(loads, p)
				}
				begin(10 * round)
				begin(10*round + 1)
				if round%2 == 0 { // else in the midst
					for _, p := range loads {
						if err := p.Done(); err != nil {
							t.Fatal(err)
						}
					}
				}
				w := watchSockets(t, opts)
				begin(10*round + 2)
				begin(10*round + 3)
				for i, p := range loads {
					if round%2 == 0 && i < 2 {
						continue
					}
					if err := p.Done(); err != nil {
						t.Fatal(err)
					}
				}
				rows += w.compareSockets(netns, set.exact)
				for _, p := range loads {
					if err := p.Stop(); err != nil {
						t.Fatal(err)
					}
				}
				w.compareSockets(netns, set.exact)
				w.stop()
				changes += len(w.told)
				for _, k := range w.told {
					for _, s := range k.source {
						if s != table.SocketTold {
							polled++
						}
					}
				}
				if w.lost > 0 {
					t.Errorf("%d events were lost", w.lost)
				}
			}
			if rows == 0 || changes == 0 {
				t.Error("nothing was compared")
			}
			if set.exact && polled > 0 {
				t.Errorf("%d changes were polled", polled)
			}
			t.Logf("%d rows compared, %d sockets told, %d changes polled", rows, changes, polled)
		})
	}
}

// skipSockets skips a set that this kernel does not have.
func skipSockets(t *testing.T, kinds []string) {
	t.Helper()
	if slices.Contains(kinds, "kprobe") && haveKprobes(kprobeFiles) != nil {
		t.Skip("this kernel has no kprobes")
	}
	if slices.Contains(kinds, "cgroup") {
		skipSet(t, kinds)
	}
}
