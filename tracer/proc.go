package tracer

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
)

// Where no iterator loads, the initial table comes from /proc/net/tcp{,6}, and
// without any BPF so does all that is told.

// readProc applies the rows of /proc to the table, between beginPass and endPass:
// those of one family, or with 0 of both.
func readProc(t *Table, proc string, netns uint32, family uint16) error {
	told := make(map[tuple]*Conn) // by events
	for c := range t.All {
		if !c.fromProc() {
			told[c.tuple()] = c
		}
	}
	for _, ipv6 := range []bool{false, true} {
		if ipv6 && family == unix.AF_INET || !ipv6 && family == unix.AF_INET6 {
			continue
		}
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
			e := Event{
				Kind: EventRow, Time: now, Netns: netns, New: s.State,
				Local: s.Local, Remote: s.Remote, UID: s.UID, Inode: uint32(s.Inode),
				RecvQ: uint32(s.RecvQ), SendQ: uint32(s.SendQ),
			}
			t.applyProcRow(&e, told[e.tuple()])
		}
	}
	return nil
}

// applyProcRow takes a row of /proc, which has neither cookie nor address: it is
// known by its 4-tuple until an event of its socket comes. told is what events
// have told of it already, or nil.
func (t *Table) applyProcRow(e *Event, told *Conn) {
	if c := told; c != nil { // the next event may be on its way: the stream wins
		c.RecvQ, c.SendQ = e.RecvQ, e.SendQ
		c.UID, c.Inode = e.UID, uint64(e.Inode)
		c.pass = t.pass
		t.list(c)
		return
	}
	c := t.looseOf(e.tuple())
	if c == nil {
		c = t.newRow(e)
		t.setLoose(c)
	}
	t.mergeRow(c, e)
}

// fromProc tells whether c is a row of /proc that no event was tied to.
func (c *Conn) fromProc() bool { return c.loose && c.key == 0 && c.mini == 0 }

// procRowOf gives the row of /proc whose socket e is about, when it was read
// after e: such an event tells what led to the row. nil: there is none.
func (t *Table) procRowOf(e *Event) *Conn {
	if e.Time >= t.procAt {
		return nil
	}
	if c := t.looseOf(e.tuple()); c != nil && c.fromProc() {
		return c
	}
	return nil
}

// giveRow gives the row of /proc to c, the same connection as events tell of it:
// it began while /proc was read.
func (t *Table) giveRow(row, c *Conn) {
	c.ID, c.State, c.History = row.ID, row.State, row.History
	c.StartKnown, c.held, c.listed = false, false, true
	c.RecvQ, c.SendQ, c.Inode = row.RecvQ, row.SendQ, row.Inode
	t.remove(row)
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

// startFromProc reads the initial table from /proc, after what the ring holds.
// A connection that goes to TIME_WAIT while /proc is read may come out twice.
func (t *Tracer) startFromProc() error {
	if err := t.drain(); err != nil {
		return err
	}
	return t.inNetns(t.procSnapshot)
}

func (t *Tracer) procSnapshot() error {
	t.table.beginPass(monotonic(), true)
	if err := readProc(t.table, t.opts.procRoot(), t.netns, t.opts.Family); err != nil {
		return err
	}
	if err := nameOwners(t.table, "/proc"); err != nil {
		return err
	}
	t.table.procAt = monotonic()
	t.table.endPass(t.table.procAt)
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
	Proc   string // root of the proc file system; empty: /proc
	Family uint16 // as in Options
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
		if err := readProc(table, proc, 0, p.Family); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		if err := nameOwners(table, proc); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		table.endPass(monotonic())
		if !ready {
			ready = true
			failed = h.Snapshot(table.initialRows, time.Duration(monotonic()-start))
			table.initialTold()
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
