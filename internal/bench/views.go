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

// nobody is a user without privilege.
const nobody = 65534

// contender is a command that shows a view, with its measurements.
type contender struct {
	args    []string
	uid     uint32
	samples []sample
}

func (c *contender) spent() time.Duration {
	sum := time.Duration(0)
	for _, s := range c.samples {
		sum += s.wall
	}
	return sum
}

// wants reports whether the command should run once more. Each command runs three
// times. It goes on up to the number of rounds as long as it has taken less than
// ten seconds in all, and up to five times that as long as less than one second.
func (c *contender) wants(rounds int) bool {
	n, spent := len(c.samples), c.spent()
	return n < min(rounds, 3) || n < rounds && spent < 10*time.Second || n < 5*rounds && spent < time.Second
}

func wall(s sample) float64 { return float64(s.wall) }
func cpu(s sample) float64  { return float64(s.cpu) }

// cell returns the medians of wall and CPU time, in ms.
func (c *contender) cell() string {
	return fmt.Sprintf("%s (%s)", number(medianOf(c.samples, wall)/1e6), number(medianOf(c.samples, cpu)/1e6))
}

// views measures the socket views with different numbers of sockets, and the views
// that have few rows.
func (b *bench) views(ctx context.Context) error {
	var plain, owners [][]string
	var small [][]string
	for _, sockets := range b.sizes {
		b.progress("views of %d sockets", sockets)
		err := b.withSockets(sockets, func(s *scene) error {
			for _, uid := range []uint32{0, nobody} {
				row, err := b.plainView(ctx, s, sockets, uid)
				if err != nil {
					return err
				}
				plain = append(plain, row)
			}
			row, err := b.ownersView(ctx, s, sockets)
			if err != nil {
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
	b.progress("views of %d UDP sockets", udpSockets)
	udp, err := b.udpView(ctx)
	if err != nil {
		return err
	}
	const note = "wall time in ms, CPU time in brackets"
	b.report.table("Sockets, -tan: "+note,
		[]string{"sockets", "cat /proc/net/tcp", "netstat", "ss", "nettrace", "of netstat", "of ss", "budget", ""}, plain)
	b.report.table("Sockets and their owners, -tanp: "+note,
		[]string{"sockets", "netstat", "ss", "nettrace", "of netstat", "of ss", "budget", ""}, owners)
	b.report.table("UDP sockets, -uan: "+note,
		[]string{"sockets", "cat /proc/net/udp", "netstat", "ss", "nettrace", "of netstat", "of ss", "budget", ""}, [][]string{udp})
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

func (b *bench) plainView(ctx context.Context, s *scene, sockets int, uid uint32) ([]string, error) {
	cat := &contender{args: []string{"cat", "/proc/net/tcp"}, uid: uid}
	peers, err := b.socketView(ctx, s, sockets, uid, "-tan", cat)
	if err != nil {
		return nil, err
	}
	netstat, ss, nettrace := peers[0], peers[1], peers[2]
	ofNetstat := medianRatio(nettrace.samples, netstat.samples, wall)
	ofSS := medianRatio(nettrace.samples, ss.samples, wall)
	who := thousands(sockets)
	if uid != 0 {
		who += ", as nobody"
	}
	row := []string{who, cat.cell(), netstat.cell(), ss.cell(), nettrace.cell(), number(ofNetstat), number(ofSS)}
	return append(row, b.report.plainBudget(sockets, ofNetstat, ofSS)...), nil
}

// plainBudget returns the budget of -tan with a number of sockets and whether it is
// met. With few sockets there are two, and it is the share of each that is spent.
func (out *report) plainBudget(sockets int, ofNetstat, ofSS float64) []string {
	switch {
	case sockets >= 100_000:
		return out.budget(ofSS, 0.5, "0.5 of ss")
	case sockets >= 10_000:
		return out.budget(ofSS, 0.6, "0.6 of ss")
	default:
		return out.budget(max(ofNetstat/0.5, ofSS/1.3), 1, "0.5 of netstat, 1.3 of ss")
	}
}

func (b *bench) ownersView(ctx context.Context, s *scene, sockets int) ([]string, error) {
	peers, err := b.socketView(ctx, s, sockets, 0, "-tanp")
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
func (b *bench) socketView(ctx context.Context, s *scene, sockets int, uid uint32, options string, others ...*contender) ([]*contender, error) {
	peers := []*contender{
		{args: []string{"netstat", options}, uid: uid},
		{args: []string{"ss", options}, uid: uid},
		{args: []string{b.nettrace, options}, uid: uid},
	}
	for _, c := range peers {
		if err := checkRows(ctx, s, c.args, "ESTAB", sockets); err != nil {
			return nil, err
		}
	}
	return peers, b.contest(ctx, s, append(others, peers...))
}

// udpSockets is how many UDP sockets are open for -uan.
const udpSockets = 9_000

// udpView measures -uan.
func (b *bench) udpView(ctx context.Context) ([]string, error) {
	var row []string
	err := b.withSockets(0, func(s *scene) error {
		end, err := s.holdUDP(udpSockets)
		if err != nil {
			return errors.Join(err, end())
		}
		peers := []*contender{
			{args: []string{"cat", "/proc/net/udp"}},
			{args: []string{"netstat", "-uan"}},
			{args: []string{"ss", "-uan"}},
			{args: []string{b.nettrace, "-uan"}},
		}
		for _, c := range peers[1:] {
			if err := checkRows(ctx, s, c.args, ":2", udpSockets); err != nil {
				return errors.Join(err, end())
			}
		}
		if err := errors.Join(b.contest(ctx, s, peers), end()); err != nil {
			return err
		}
		row = append(row, thousands(udpSockets))
		for _, c := range peers {
			row = append(row, c.cell())
		}
		ofNetstat := medianRatio(peers[3].samples, peers[1].samples, wall)
		row = append(row, number(ofNetstat), number(medianRatio(peers[3].samples, peers[2].samples, wall)))
		row = append(row, b.report.budget(ofNetstat, 0.125, "1/8 of netstat")...)
		return nil
	})
	return row, err
}

// checkRows fails unless the command shows as many rows with a word as there are
// sockets: else it would be measured doing less than the others.
func checkRows(ctx context.Context, s *scene, args []string, word string, sockets int) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := s.enter(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, stderr.Bytes())
	}
	if n := bytes.Count(out.Bytes(), []byte(word)); n != sockets {
		return fmt.Errorf("%v shows %d sockets with %q, want %d", args, n, word, sockets)
	}
	return nil
}

// contest runs the commands in turn until none wants to run again.
func (b *bench) contest(ctx context.Context, s *scene, contenders []*contender) error {
	for again := true; again; {
		again = false
		for _, c := range contenders {
			if !c.wants(b.rounds) {
				continue
			}
			took, err := once(ctx, s, c.args, c.uid)
			if err != nil {
				return err
			}
			c.samples = append(c.samples, took)
			again = true
		}
	}
	return nil
}

// smallViews measures views with few rows, which cost little but the start.
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
