package tracer

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// Without any BPF the table comes from /proc/net/tcp{,6}.

// readProc applies the rows of /proc to the table during a scan: those of one
// family, or with 0 of both.
func readProc(t *table.Table, proc string, family uint16) error {
	for _, ipv6 := range []bool{false, true} {
		if ipv6 && family == unix.AF_INET || !ipv6 && family == unix.AF_INET6 {
			continue
		}
		rows, err := procSockets(proc, ipv6)
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
			e := procRow(&s, 0)
			e.After, e.Time = now, now
			t.Apply(&e)
		}
	}
	return nil
}

// procSockets yields the rows of a file of /proc.
func procSockets(proc string, ipv6 bool) (iter.Seq2[snapshot.Socket, error], error) {
	rows, err := snapshot.ReadSockets(proc, snapshot.TCP, ipv6)
	if err == nil && ipv6 && ofMachine(proc) {
		rows = snapshot.WithDevices(rows, snapshot.TCP)
	}
	return rows, err
}

// filler has owners of sockets: both tables are.
type filler interface {
	FillOwners(find func(inode uint64) *snapshot.Process)
}

// nameAll finds the owners of all sockets that have none. others is nil where TCP alone is
// traced.
func nameAll(others *table.Sockets, t *table.Table, proc string) error {
	if others != nil {
		if err := nameOwners(others, proc); err != nil {
			return err
		}
	}
	return nameOwners(t, proc)
}

// nameOwners finds the owners of sockets that have none by their open files.
func nameOwners(t filler, proc string) error {
	var owners *snapshot.Owners
	var failed error
	known := make(map[int]*snapshot.Process)
	t.FillOwners(func(inode uint64) *snapshot.Process {
		if owners == nil && failed == nil {
			owners, failed = snapshot.ReadOwners(proc, false)
		}
		if failed != nil {
			return nil
		}
		p := owners.First(inode)
		if p == nil {
			return nil
		}
		if known[p.PID] == nil {
			known[p.PID] = readHolder(proc, p.PID, inode)
		}
		return known[p.PID]
	})
	return failed
}

// PollInterval is the period of polling.
const PollInterval = time.Second

// Poller reports changes without BPF, by reading /proc/net/tcp{,6} every
// PollInterval: what lives shorter is missed, and of what changes more often only
// the last state is seen. Every change is marked as inferred. The zero value polls
// the caller's own network namespace.
type Poller struct {
	Proc     string // root of the proc file system; empty: /proc
	Family   uint16 // as in Options
	NoOwners bool   // whose a socket is is not told
	// Protocols are those whose sockets are followed; 0: TCP's.
	Protocols Protocols

	every   time.Duration  // instead of PollInterval, for tests
	table   *table.Table   // nil before Run
	sockets *table.Sockets // nil before Run, and where TCP alone is followed
}

// Stats returns the counters. It may be called by the handler, and when Run does
// not run.
func (p *Poller) Stats() Stats {
	if p.table == nil {
		return Stats{}
	}
	s := Stats{Table: p.table.Stats()}
	if p.sockets != nil {
		s.Sockets = p.sockets.Stats()
	}
	return s
}

// Table returns the table, or nil before Run. While Run runs, only its handler may use it.
func (p *Poller) Table() *table.Table { return p.table }

// Resync has nothing to ask for: each poll compares the table with the kernel's.
func (p *Poller) Resync() {}

// Run polls until ctx is done. An error of the handler ends it too.
func (p *Poller) Run(ctx context.Context, h Handler) error {
	out := delivery{handler: h}
	p.open(&out)
	tick := time.NewTicker(cmp.Or(p.every, PollInterval))
	defer tick.Stop()
	for out.err == nil {
		out.started = monotonic()
		if err := p.poll(cmp.Or(p.Proc, "/proc"), out.started, !out.ready); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		if !out.ready {
			out.snapshot(p.table, p.sockets)
		}
		if out.err == nil {
			out.idle()
		}
		select {
		case <-ctx.Done():
			return out.err
		case <-tick.C:
		}
	}
	return out.err
}

// open makes the tables. What changes before the initial one was handed over it has.
func (p *Poller) open(out *delivery) {
	p.Protocols = cmp.Or(p.Protocols, TCP)
	procs := table.NewProcesses(processLimit, startReader(cmp.Or(p.Proc, "/proc")), func(uint32) {})
	p.table = table.New(table.Config{ScansOnly: true}, procs, func(c *table.Change) {
		if out.ready && out.err == nil {
			out.change(c)
		}
	})
	if p.Protocols.Others() == 0 {
		return
	}
	p.sockets = table.NewSockets(table.SocketConfig{
		Closes: func(snapshot.Protocol) bool { return false },
		Polled: func(snapshot.Protocol) bool { return true },
		Family: p.Family,
	}, procs, func(c *table.SocketChange) {
		if out.ready && out.err == nil {
			out.socket(c)
		}
	})
}

// poll compares the tables with the kernel's, as of now.
func (p *Poller) poll(proc string, now uint64, initial bool) error {
	p.table.BeginScan(now, initial)
	if p.Protocols.Has(TCP) {
		if err := readProc(p.table, proc, p.Family); err != nil {
			return err
		}
	}
	if err := p.pollSockets(proc, now, initial); err != nil {
		return err
	}
	if !p.NoOwners {
		if err := nameOwners(p.table, proc); err != nil {
			return err
		}
	}
	p.table.EndScan(monotonic())
	return nil
}

// pollSockets does the same for UDP, raw and Unix sockets.
func (p *Poller) pollSockets(proc string, now uint64, initial bool) error {
	if p.sockets == nil {
		return nil
	}
	p.sockets.BeginPass(now, p.Protocols.Covers, initial, false)
	for of, family := range p.Protocols.files(p.Family) {
		rows, err := readSocketFile(proc, 0, of, family == unix.AF_INET6)
		if err != nil {
			return err
		}
		for i := range rows {
			p.sockets.Apply(&rows[i])
		}
	}
	if p.Protocols.Has(Unix) {
		rows, err := readUnixEnds(proc, 0)
		if err != nil {
			return err
		}
		for i := range rows {
			p.sockets.Apply(&rows[i])
		}
	}
	if !p.NoOwners {
		if err := nameOwners(p.sockets, proc); err != nil {
			return err
		}
	}
	p.sockets.EndPass(monotonic(), func(uint32) bool { return true })
	return nil
}
