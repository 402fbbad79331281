package tracer

import (
	"context"
	"fmt"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// Where no iterator loads, the initial table comes from /proc/net/tcp{,6}, and
// without any BPF so does all that is told.

// readProc applies the rows of /proc to the table, between beginPass and endPass.
func readProc(t *Table, proc string, netns uint32) error {
	for _, ipv6 := range []bool{false, true} {
		rows, err := snapshot.ReadSockets(proc, snapshot.TCP, ipv6)
		if err != nil {
			if ipv6 {
				continue // a kernel without IPv6
			}
			return err
		}
		now := monotonic()
		for s, err := range rows {
			if err != nil {
				continue // not a row
			}
			t.applyProcRow(&Event{
				Kind: EventRow, Time: now, Netns: netns, New: s.State,
				Local: s.Local, Remote: s.Remote, UID: s.UID, Inode: uint32(s.Inode),
				RecvQ: uint32(s.RecvQ), SendQ: uint32(s.SendQ),
			})
		}
	}
	return nil
}

// nameOwners finds the owners of sockets that have none by their open files.
func nameOwners(t *Table, proc string) error {
	var owners *snapshot.Owners
	known := make(map[int]*Process)
	for c := range t.All {
		if c.Inode == 0 || c.Owner.Process != nil {
			continue
		}
		if owners == nil {
			var err error
			if owners, err = snapshot.ReadOwners(proc, false); err != nil {
				return err
			}
		}
		p := owners.First(c.Inode)
		if p == nil {
			continue
		}
		if known[p.PID] == nil {
			known[p.PID] = readProcess(uint32(p.PID))
		}
		if known[p.PID] != nil {
			c.Owner = Owner{Process: known[p.PID], Source: OwnerFiles}
		}
	}
	return nil
}

// procSnapshot reads the initial table from /proc.
func (t *Tracer) procSnapshot() error {
	t.table.beginPass(monotonic(), true)
	if err := readProc(t.table, t.opts.procRoot(), t.netns); err != nil {
		return err
	}
	if err := nameOwners(t.table, "/proc"); err != nil {
		return err
	}
	t.table.endPass(monotonic())
	t.table.forgetMinis()
	t.tellSnapshot()
	return t.err
}

// forgetMinis drops the rows of timewait and request sockets that came from /proc:
// no event can be tied to them, so their end would never be seen.
func (t *Table) forgetMinis() {
	for _, c := range t.loose {
		if c.mini == 0 && (c.State == snapshot.TimeWait || c.State == snapshot.SynRecv) {
			t.remove(c)
		}
	}
}

func (o *Options) procRoot() string {
	if o.NetnsPath != "" {
		return "/proc/thread-self" // of a thread in that namespace
	}
	return "/proc"
}

// PollInterval is the period of polling.
const PollInterval = time.Second

// Poller tells changes without BPF, by reading /proc/net/tcp{,6} every second:
// what lives shorter is missed, and of what changes more often only the last
// state is seen. Every change is marked as inferred.
type Poller struct {
	Proc string // root of the proc file system; empty: /proc
}

// Run polls until ctx is done.
func (p Poller) Run(ctx context.Context, h Handler) error {
	proc := p.Proc
	if proc == "" {
		proc = "/proc"
	}
	var failed error
	ready := false
	table := newTable(newProcesses(processLimit, func(uint32) {}), func(c *Change) {
		if ready && failed == nil {
			failed = h.Change(c)
		}
	})
	table.polled = true
	tick := time.NewTicker(PollInterval)
	defer tick.Stop()
	for failed == nil {
		start := monotonic()
		table.beginPass(start, !ready)
		if err := readProc(table, proc, 0); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		if err := nameOwners(table, proc); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		table.endPass(monotonic())
		if !ready {
			ready = true
			failed = h.Snapshot(table.rows, time.Duration(monotonic()-start))
			table.rows = nil
		}
		if failed == nil {
			failed = h.Idle()
		}
		select {
		case <-ctx.Done():
			return failed
		case <-tick.C:
		}
	}
	return failed
}
