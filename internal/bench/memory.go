package main

import (
	"context"
	"errors"
	"fmt"
	"time"
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
