package tracer

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// unixSets are the hooks that are forced in turn where the kernel has them.
var unixSets = []struct {
	name  string
	kinds []string
	exact bool // no change has to be polled
}{
	{"best", nil, inMachine},
	{"kprobe", []string{"tp_btf", "kprobe", "kretprobe", "iter", "sock_diag", "syscall"}, true},
	{"poll", []string{"tp_btf", "iter", "sock_diag", "syscall"}, false},
}

// unixText returns a name as ReadUnix reads it: "@" for NUL, up to white space.
func unixText(name string) string {
	text, _, _ := strings.Cut(strings.ReplaceAll(name, "\x00", "@"), " ")
	return text
}

func unixLine(u *snapshot.UnixSocket) string {
	return fmt.Sprintf("type %04x flags %08x St %02x inode %d %q", u.Type, u.Flags, u.State, u.Inode, u.Path)
}

// unixRows are those of the table.
func (w *socketWatch) unixRows() (rows []string) {
	w.t.Helper()
	w.read(func(*table.Table) {
		for s := range w.tracer.Sockets().All {
			if u := s.Row(); u.Inode != 0 || showsWaiting() {
				u.Path = unixText(u.Path)
				rows = append(rows, unixLine(&u))
			}
		}
	})
	slices.Sort(rows)
	return rows
}

// kernelUnix are the rows of /proc.
func kernelUnix(t *testing.T, netns string) (rows []string) {
	t.Helper()
	testnet.In(t, netns, func() {
		found, err := snapshot.ReadUnix("/proc/thread-self")
		if err != nil {
			t.Error(err)
			return
		}
		for u, err := range found {
			if err != nil {
				t.Error(err)
				continue
			}
			if u.Inode != 0 || showsWaiting() {
				u.Path = unixText(u.Path)
				rows = append(rows, unixLine(&u))
			}
		}
	})
	slices.Sort(rows)
	return rows
}

// compareUnix compares the two tables at a moment when neither changes.
func (w *socketWatch) compareUnix(netns string, exact bool) int {
	w.t.Helper()
	tries := 20
	if !exact { // two passes have to come, up to a second apart
		tries = 100
	}
	var diff string
	for range tries {
		time.Sleep(50 * time.Millisecond)
		want := kernelUnix(w.t, netns)
		if diff = cmp.Diff(want, w.unixRows()); diff == "" {
			return len(want)
		}
	}
	w.t.Errorf("the table differs (-kernel +table):\n%.3000s", diff)
	return 0
}

// unixLoads are processes that meet by the names of a directory.
type unixLoads struct {
	t     *testing.T
	netns string
	dir   string
	runs  []*load.Process
}

func (l *unixLoads) begin(seed int) {
	l.t.Helper()
	p, err := load.Start(load.UnixChurn(uint64(seed), 400*time.Millisecond, l.dir), l.netns)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := p.Go(); err != nil {
		l.t.Fatal(err)
	}
	l.runs = append(l.runs, p)
}

// done waits for those from a place on.
func (l *unixLoads) done(from int) {
	l.t.Helper()
	for _, p := range l.runs[from:] {
		if err := p.Done(); err != nil {
			l.t.Fatal(err)
		}
	}
}

// end kills some of them and stops the others.
func (l *unixLoads) end() {
	l.t.Helper()
	for i, p := range l.runs {
		stop := p.Stop
		if i%2 == 0 {
			stop = p.Kill
		}
		if err := stop(); err != nil {
			l.t.Fatal(err)
		}
	}
	l.runs = nil
}

// TestExactUnix lets several processes do anything to Unix sockets, again and again, and
// wants the table to be the kernel's each time: type, state, inode and name of each. Sockets
// were there before the tracer, and in every other round it is attached in the midst.
func TestExactUnix(t *testing.T) {
	for _, set := range unixSets {
		t.Run(set.name, func(t *testing.T) {
			skipSockets(t, set.kinds)
			loads := &unixLoads{t: t, netns: testnet.New(t), dir: t.TempDir()}
			rows, sockets, polled := 0, 0, 0
			for round := range 6 {
				loads.begin(10 * round)
				loads.begin(10*round + 1)
				before := 2
				if round%2 == 0 || !showsWaiting() { // else in the midst
					loads.done(0)
				} else {
					before = 0
				}
				w := watchSockets(t, Options{NetnsPath: loads.netns, Hooks: set.kinds, Reconcile: -1, Protocols: Unix})
				loads.begin(10*round + 2)
				loads.begin(10*round + 3)
				loads.done(before)
				rows += w.compareUnix(loads.netns, set.exact)
				loads.end()
				w.compareUnix(loads.netns, set.exact)
				w.stop()
				sockets += len(w.told)
				polled += w.polled(t, set.exact)
				if w.lost > 0 {
					t.Errorf("%d events were lost", w.lost)
				}
			}
			if rows == 0 || sockets == 0 {
				t.Error("nothing was compared")
			}
			t.Logf("%d rows compared, %d sockets told, %d changes polled", rows, sockets, polled)
		})
	}
}

// polled counts the changes that no hook told.
func (w *socketWatch) polled(t *testing.T, exact bool) (n int) {
	for _, k := range w.told {
		for i, s := range k.source {
			if s == table.SocketTold || k.listed && !showsWaiting() { // there an older socket's peer gets a name late
				continue
			}
			if n++; exact && n < 5 {
				t.Errorf("%v: %v of %+v %+v, listed %t", s, k.kinds[i], k.row, k.row.Unix, k.listed)
			}
		}
	}
	return n
}

// showsWaiting reports whether the kernel has an iterator over Unix sockets. Without one
// those that wait for accept() when the tracer starts are not known.
func showsWaiting() bool { return os.Getenv("NETTRACE_KERNEL") != "5.10" }
