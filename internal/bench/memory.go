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

// memory measures what the stream holds while many sockets are open: those that
// were there before it, and those that it saw opened.
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

// holding gives the memory of a nettrace and the share of a core that it takes
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

// longRun makes a million connections in two halves, a third each closed by FIN,
// by RST, and refused, and after each waits until the timewait sockets are gone:
// the second half must find nothing left of the first.
func (b *bench) longRun(ctx context.Context) (err error) {
	s, err := newScene()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.nice = longRunNice
	args := nettrace.command(b, s)
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := nettrace.launch(cmd); err != nil {
		return err
	}
	running := true
	defer func() {
		if running {
			err = errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		}
	}()
	counted := make(chan error, 1)
	var t told
	go func() {
		var err error
		t, err = countRecords(out)
		_, _ = io.Copy(io.Discard, out) // never let it wait for a reader
		counted <- err
	}()
	halves, err := b.halves(ctx, s, cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	if err := <-counted; err != nil {
		return fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	running = false
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	b.reportLongRun(halves, t)
	return nil
}

// longRunNice is the priority of the load in the long run, in which a third
// process takes part of the processors: the one that reads and counts the records.
const longRunNice = 10

// half is what was measured of one half of the long run.
type half struct {
	connections, closes int
	took                time.Duration
	memory              memory // when the timewait sockets were gone
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

func (b *bench) reportLongRun(halves [2]half, t told) {
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
