package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// contender is a command of a view and what was measured of it.
type contender struct {
	args    []string
	samples []sample
}

func (c *contender) spent() time.Duration {
	sum := time.Duration(0)
	for _, s := range c.samples {
		sum += s.wall
	}
	return sum
}

// wants reports whether the command is to run once more: at least three times,
// the number of rounds if they take ten seconds in all, five times as often if
// they take one.
func (c *contender) wants(rounds int) bool {
	n, spent := len(c.samples), c.spent()
	return n < min(rounds, 3) || n < rounds && spent < 10*time.Second || n < 5*rounds && spent < time.Second
}

func wall(s sample) float64 { return float64(s.wall) }
func cpu(s sample) float64  { return float64(s.cpu) }

// cell gives the median of wall and CPU time, in ms.
func (c *contender) cell() string {
	return fmt.Sprintf("%s (%s)", number(medianOf(c.samples, wall)/1e6), number(medianOf(c.samples, cpu)/1e6))
}

// views measures the views of sockets by their number, and those that are small.
func (b *bench) views(ctx context.Context) error {
	var plain, owners [][]string
	var small [][]string
	for _, sockets := range b.sizes {
		b.progress("views of %d sockets", sockets)
		err := b.withSockets(sockets, func(s *scene) error {
			row, err := b.plainView(ctx, s, sockets)
			if err != nil {
				return err
			}
			plain = append(plain, row)
			if row, err = b.ownersView(ctx, s, sockets); err != nil {
				return err
			}
			owners = append(owners, row)
			if sockets == b.sizes[0] {
				small, err = b.smallViews(ctx, s)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	const note = "wall time in ms, CPU time in brackets"
	b.report.table("Sockets, -tan: "+note,
		[]string{"sockets", "cat /proc/net/tcp", "netstat", "ss", "nettrace", "of netstat", "of ss", "budget", ""}, plain)
	b.report.table("Sockets and their owners, -tanp: "+note,
		[]string{"sockets", "netstat", "ss", "nettrace", "of netstat", "of ss", "budget", ""}, owners)
	b.report.table("Other views, with few rows: "+note,
		[]string{"", "netstat", "nettrace", "of netstat", "budget", ""}, small)
	return nil
}

// withSockets runs f in a namespace with open sockets, a few routes and an
// address.
func (b *bench) withSockets(sockets int, f func(*scene) error) (err error) {
	s, err := newScene()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	err = errors.Join(
		s.ip("address", "add", "10.9.0.1/24", "dev", "lo"),
		s.ip("route", "add", "10.10.0.0/16", "dev", "lo"),
		s.ip("route", "add", "default", "via", "10.9.0.2", "dev", "lo"),
		s.hold(sockets),
	)
	if err != nil {
		return err
	}
	return f(s)
}

func (b *bench) plainView(ctx context.Context, s *scene, sockets int) ([]string, error) {
	cat := &contender{args: []string{"cat", "/proc/net/tcp"}}
	peers, err := b.socketView(ctx, s, sockets, "-tan", cat)
	if err != nil {
		return nil, err
	}
	netstat, ss, nettrace := peers[0], peers[1], peers[2]
	ofNetstat := medianRatio(nettrace.samples, netstat.samples, wall)
	ofSS := medianRatio(nettrace.samples, ss.samples, wall)
	row := []string{thousands(sockets), cat.cell(), netstat.cell(), ss.cell(), nettrace.cell(), number(ofNetstat), number(ofSS)}
	if sockets >= 100_000 {
		return append(row, b.report.budget(ofSS, 0.5, "0.5 of ss")...), nil
	}
	return append(row, b.report.budget(ofNetstat, 2, "2 of netstat")...), nil
}

func (b *bench) ownersView(ctx context.Context, s *scene, sockets int) ([]string, error) {
	peers, err := b.socketView(ctx, s, sockets, "-tanp")
	if err != nil {
		return nil, err
	}
	netstat, ss, nettrace := peers[0], peers[1], peers[2]
	ofNetstat := medianRatio(nettrace.samples, netstat.samples, wall)
	ofSS := medianRatio(nettrace.samples, ss.samples, wall)
	row := []string{thousands(sockets), netstat.cell(), ss.cell(), nettrace.cell(), number(ofNetstat), number(ofSS)}
	switch {
	case sockets >= 100_000:
		row = append(row, b.report.budget(max(ofNetstat, ofSS), 0.05, "0.05 of both")...)
	case sockets >= 20_000:
		row = append(row, b.report.budget(ofNetstat, 0.1, "0.1 of netstat")...)
	}
	return row, nil
}

// socketView runs netstat, ss and nettrace, and others with them, in turn.
func (b *bench) socketView(ctx context.Context, s *scene, sockets int, options string, others ...*contender) ([]*contender, error) {
	peers := []*contender{
		{args: []string{"netstat", options}},
		{args: []string{"ss", options}},
		{args: []string{b.nettrace, options}},
	}
	for _, c := range peers {
		if err := checkRows(ctx, s, c.args, sockets); err != nil {
			return nil, err
		}
	}
	return peers, b.contest(ctx, s, append(others, peers...))
}

// checkRows wants as many rows of established connections as there are sockets:
// that is what is measured.
func checkRows(ctx context.Context, s *scene, args []string, sockets int) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := s.enter(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, stderr.Bytes())
	}
	if n := bytes.Count(out.Bytes(), []byte("ESTAB")); n != sockets {
		return fmt.Errorf("%v shows %d established connections, want %d", args, n, sockets)
	}
	return nil
}

// contest runs commands in turn for some rounds.
func (b *bench) contest(ctx context.Context, s *scene, contenders []*contender) error {
	for again := true; again; {
		again = false
		for _, c := range contenders {
			if !c.wants(b.rounds) {
				continue
			}
			took, err := once(ctx, s, c.args)
			if err != nil {
				return err
			}
			c.samples = append(c.samples, took)
			again = true
		}
	}
	return nil
}

// smallViews measures the views whose cost is that of starting.
func (b *bench) smallViews(ctx context.Context, s *scene) ([][]string, error) {
	var rows [][]string
	for _, options := range []string{"-rn", "-i", "-s", "-xan"} {
		netstat := &contender{args: []string{"netstat", options}}
		nettrace := &contender{args: []string{b.nettrace, options}}
		if err := b.contest(ctx, s, []*contender{netstat, nettrace}); err != nil {
			return nil, err
		}
		ratio := medianRatio(nettrace.samples, netstat.samples, wall)
		row := []string{strings.Join(nettrace.args[1:], " "), netstat.cell(), nettrace.cell(), number(ratio)}
		rows = append(rows, append(row, b.report.budget(ratio, 2, "2 of netstat")...))
	}
	return rows, nil
}
