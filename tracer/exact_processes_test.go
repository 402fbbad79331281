package tracer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// TestExactProcesses has several processes work at once, so that where the kernel
// preempts, one is preempted within a program and the others' events come while it
// is there. The table must be the kernel's, and each owner a process that holds the
// socket's file.
func TestExactProcesses(t *testing.T) {
	netns := testnet.New(t)
	w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1, RingBytes: 4 * DefaultRingBytes})
	const rounds = 8
	rows, owned := 0, 0
	for round := range rounds {
		busy := startBusy(t, netns, uint64(round), 400*time.Millisecond)
		for _, p := range busy {
			if err := p.Done(); err != nil {
				t.Fatal(err)
			}
		}
		if !inMachine {
			w.resync() // this kernel may not run tracing programs everywhere
		}
		n := w.compare(netns)
		if n == 0 {
			t.Errorf("round %d failed", round)
		}
		rows += n
		owned += w.compareOwners(busy[0].PID())
		for _, p := range busy {
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.end()
	skipped := w.skipped()
	w.checkSkipped(skipped)
	w.stop()
	if w.lost > 0 {
		t.Errorf("%d events were lost", w.lost)
	}
	w.checkMended(skipped)
	if owned == 0 {
		t.Error("no owner was compared")
	}
	t.Logf("%d rounds, %d rows and %d owners compared, %d connections, runs skipped: %v", rounds, rows, owned, len(w.walks), skipped)
}

// startBusy starts processes that share a listener, which come first, and others
// that work for themselves.
func startBusy(t *testing.T, netns string, seed uint64, d time.Duration) []*load.Process {
	t.Helper()
	roles := []string{load.Workers(4, d), load.Churn(100+2*seed, d), load.Churn(101+2*seed, d)}
	var busy []*load.Process
	for _, role := range roles {
		p, err := load.Start(role, netns)
		if err != nil {
			t.Fatal(err)
		}
		busy = append(busy, p)
	}
	for _, p := range busy {
		if err := p.Go(); err != nil {
			t.Fatal(err)
		}
	}
	return busy
}

// compareOwners compares the owners of the sockets that a process or its children
// hold with who holds them, and returns their number. Those processes hand no
// socket on.
func (w *watch) compareOwners(parent int) int {
	w.t.Helper()
	holders := socketHolders(w.t, parent)
	n := 0
	for inode, owner := range w.owners() {
		pids := holders[inode]
		if len(pids) == 0 {
			continue
		}
		n++
		if !slices.Contains(pids, owner) {
			w.t.Errorf("process %d owns the socket with inode %d, which %v hold", owner, inode, pids)
		}
	}
	return n
}

// socketHolders lists the processes that hold each socket, by its inode: parent and
// its children.
func socketHolders(t *testing.T, parent int) map[uint64][]int {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	if err != nil {
		t.Fatal(err)
	}
	holders := make(map[uint64][]int)
	for _, word := range append(strings.Fields(string(children)), fmt.Sprint(parent)) {
		var pid int
		if _, err := fmt.Sscan(word, &pid); err != nil {
			t.Fatal(err)
		}
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			var inode uint64
			to, err := os.Readlink(link)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Sscanf(to, "socket:[%d]", &inode); err == nil {
				holders[inode] = append(holders[inode], pid)
			}
		}
	}
	return holders
}

// owners returns the process of each socket of the table that a file belongs to, by
// inode; 0: none is known. Where no hook reports who accepts, it leaves out those
// that are said to be of their listener's process for now.
func (w *watch) owners() map[uint64]int {
	owners := make(map[uint64]int)
	w.read(func(t *table.Table) {
		for c := range t.All {
			forNow := w.tracer.hooks.chosen[Acceptor] == "" && c.Owner.Source == snapshot.OwnerListener
			if c.Inode == 0 || forNow {
				continue
			}
			owners[c.Inode] = 0
			if p := c.Owner.Process; p != nil {
				owners[c.Inode] = p.PID
			}
		}
	})
	return owners
}

// skipped counts the runs that the kernel skipped of each program, by name.
func (w *watch) skipped() map[string]uint64 {
	skipped := make(map[string]uint64)
	for name, program := range w.tracer.hooks.programs {
		if n := recursionMisses(program); n > 0 {
			skipped[name] = n
		}
	}
	return skipped
}

// checkSkipped wants copies of each program that was skipped, and where the kernel
// preempts, some that were: else the test tests nothing.
func (w *watch) checkSkipped(skipped map[string]uint64) {
	w.t.Helper()
	var total uint64
	for _, of := range w.tracer.hooks.copies {
		for _, name := range of {
			total += skipped[name]
			if skipped[name] > 0 && len(of) == 1 {
				w.t.Errorf("%s was skipped %d times, and has no copy", name, skipped[name])
			}
		}
	}
	if total == 0 && preempts(w.t) {
		w.t.Error("this kernel preempts, and no program was skipped: the test tests nothing")
	}
}

// checkMended wants that scans found nothing that no event had reported, the one at the
// end of the run included. Where the kernel preempts tracing programs (7.x), as many
// processes may be in a program as it pleases, so every copy may be skipped at once: so
// often at most as the copy that was skipped least. The host has a policy of its own.
func (w *watch) checkMended(skipped map[string]uint64) {
	w.t.Helper()
	found, unseen := 0, 0
	for _, r := range w.mended {
		found += r.Added + r.Removed + r.Changed
	}
	for _, of := range w.tracer.hooks.copies {
		least := skipped[of[0]]
		for _, name := range of {
			least = min(least, skipped[name])
		}
		unseen += int(least)
	}
	switch {
	case found == 0:
	case inMachine && found > unseen:
		w.t.Errorf("scans found what no event had reported, %d calls at most were seen by no program: %+v, %q", unseen, w.mended, w.scanned)
	default:
		w.t.Logf("scans found %+v, %q", w.mended, w.scanned)
	}
}

// preempts reports whether this is a test machine whose kernel preempts itself: by
// its command line, or by default.
func preempts(t *testing.T) bool {
	t.Helper()
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return inMachine && (strings.Contains(string(cmdline), "preempt=full") || os.Getenv("NETTRACE_KERNEL") == "7.2")
}
