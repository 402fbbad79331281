package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// memory measures the stream's memory while many sockets are open: once when they
// were open before it started, and once when it saw them open.
func (b *bench) memory(ctx context.Context) error {
	var rows [][]string
	for _, before := range []bool{true, false} {
		name := "opened before"
		if !before {
			name = "opened meanwhile"
		}
		b.progress("memory with %d sockets %s", b.held, name)
		m, idle, err := b.holding(ctx, before)
		if err != nil {
			return err
		}
		row := []string{name, mebibytes(m.peak), mebibytes(m.now), mebibytes(m.anonymous), percent(idle)}
		rows = append(rows, append(row, b.report.budget(float64(m.peak), 64<<20, "64 MiB at peak")...))
	}
	b.report.table(fmt.Sprintf("Memory: nettrace -ac --json with %s open sockets", thousands(b.held)),
		[]string{"sockets", "resident, peak", "at the end", "of that its own", "CPU at rest", "budget", ""}, rows)
	b.report.paragraph("Both ends of each connection are in the namespace: a socket is what a connection is on a server. " +
		"What is not its own are the pages of the program and of the kernel's ring buffer. CPU at rest is the share of a core.")
	return nil
}

// holding returns the memory of a nettrace and the share of a core that it uses
// while nothing happens.
func (b *bench) holding(ctx context.Context, before bool) (m memory, idle float64, err error) {
	s, err := newScene()
	if err != nil {
		return m, 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if before {
		if err := s.hold(b.held); err != nil {
			return m, 0, err
		}
	}
	t, err := b.trace(ctx, nettrace, s)
	if err != nil {
		return m, 0, err
	}
	defer func() { err = errors.Join(err, t.end()) }()
	if !before {
		if err := s.hold(b.held); err != nil {
			return m, 0, err
		}
	}
	if err := t.settle(ctx); err != nil {
		return m, 0, err
	}
	spent, err := cpuTime(t.pid())
	if err != nil {
		return m, 0, err
	}
	const rest = 2 * time.Second
	if err := sleep(ctx, rest); err != nil {
		return m, 0, err
	}
	after, err := cpuTime(t.pid())
	if err != nil {
		return m, 0, err
	}
	m, err = memoryOf(t.pid())
	return m, float64(after-spent) / float64(rest), err
}

// longRun makes a million connections in two halves. Of each half a third is
// closed by FIN, a third by RST, and a third is refused. After each half it waits
// until the timewait sockets are gone, so memory that grows from the first to the
// second half is a leak.
func (b *bench) longRun(ctx context.Context) (err error) {
	s, err := newScene()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.nice = longRunNice
	p, err := b.pipe(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.kill()) }()
	halves, err := b.halves(ctx, s, p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	t, err := p.end()
	if err != nil {
		return err
	}
	b.reportLongRun(halves, t)
	return nil
}

// piped is a nettrace whose records are counted as they come, by a pipe.
type piped struct {
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	counted chan error
	totals  totals // once counted has an answer
	ended   bool
}

// pipe starts a nettrace and counts its records.
func (b *bench) pipe(s *scene) (*piped, error) {
	args := nettrace.command(b, s)
	p := &piped{cmd: exec.Command(args[0], args[1:]...), counted: make(chan error, 1)}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := nettrace.launch(p.cmd); err != nil {
		return nil, err
	}
	go func() {
		var err error
		p.totals, err = countRecords(out)
		_, _ = io.Copy(io.Discard, out) // never let it wait for a reader
		p.counted <- err
	}()
	return p, nil
}

// end ends it as Ctrl-C does, and returns what it reported.
func (p *piped) end() (totals, error) {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return totals{}, err
	}
	if err := <-p.counted; err != nil {
		return totals{}, fmt.Errorf("%w: %s", err, p.stderr.Bytes())
	}
	p.ended = true
	if err := p.cmd.Wait(); err != nil {
		return totals{}, fmt.Errorf("%w: %s", err, p.stderr.Bytes())
	}
	return p.totals, nil
}

// kill ends what end has not.
func (p *piped) kill() error {
	if p.ended {
		return nil
	}
	return errors.Join(p.cmd.Process.Kill(), p.cmd.Wait())
}

// longRunNice is the priority of the load in the long run, in which a third
// process takes part of the processors: the one that reads and counts the records.
const longRunNice = 10

// half holds what was measured in one half of the long run.
type half struct {
	connections, closes int
	took                time.Duration
	memory              memory // after the timewait sockets were gone
}

func (b *bench) halves(ctx context.Context, s *scene, pid int) ([2]half, error) {
	var halves [2]half
	if err := sleep(ctx, time.Second); err != nil { // until it traces
		return halves, err
	}
	if _, err := s.start(load.Server()); err != nil {
		return halves, err
	}
	first := firstConnection
	for i := range halves {
		h := &halves[i]
		h.connections = b.million / 2 / clients * clients
		b.progress("long run: connections %d to %d", first-firstConnection, first-firstConnection+h.connections-1)
		var err error
		if h.took, err = s.connect(first, h.connections, -1); err != nil {
			return halves, err
		}
		for n := first; n < first+h.connections; n++ {
			h.closes++
			if load.EndingOf(n) != load.Refused {
				h.closes++
			}
		}
		first += h.connections
		b.progress("long run: %v for the timewait sockets to go", b.pause)
		if err := sleep(ctx, b.pause); err != nil {
			return halves, err
		}
		if h.memory, err = memoryOf(pid); err != nil {
			return halves, err
		}
	}
	if err := s.stop(); err != nil { // closes the listener
		return halves, err
	}
	return halves, sleep(ctx, time.Second)
}

func (b *bench) reportLongRun(halves [2]half, t totals) {
	a, z := halves[0], halves[1]
	peak := float64(z.memory.peak) / float64(a.memory.peak)
	now := float64(z.memory.now) / float64(a.memory.now)
	closes := a.closes + z.closes
	row := func(name string, x, y, ratio string, budget []string) []string {
		return append([]string{name, x, y, ratio}, budget...)
	}
	rate := func(h half) string { return number(float64(h.connections) / h.took.Seconds()) }
	b.report.table(fmt.Sprintf("The long run: %s connections", thousands(a.connections+z.connections)),
		[]string{"nettrace -ac --json", "first half", "second half", "ratio", "budget", ""},
		[][]string{
			row("connections per second", rate(a), rate(z), "", nil),
			row("resident at peak", mebibytes(a.memory.peak), mebibytes(z.memory.peak), number(peak), b.report.budget(peak, 1.1, "1.1")),
			row("resident when all are gone", mebibytes(a.memory.now), mebibytes(z.memory.now), number(now), b.report.budget(now, 1.1, "1.1")),
			row("left in the table", "", thousands(t.open), "", b.report.budget(float64(t.open), 0, "0")),
			row("closes not told, of "+thousands(closes), "", thousands(closes-t.closes), "", b.report.budget(float64(abs(closes-t.closes)), 0, "0")),
			row("said to be lost", "", thousands(t.lost), "", b.report.budget(float64(t.lost), 0, "0")),
			row("told by comparing with the kernel", "", thousands(t.inferred), "", nil),
		})
	b.report.paragraph(fmt.Sprintf("A third of the connections each ends by FIN, by RST, and refused. The records are read "+
		"from a pipe and counted meanwhile, for which the load has a lower priority (nice %d).", longRunNice))
}

func abs(n int) int { return max(n, -n) }
