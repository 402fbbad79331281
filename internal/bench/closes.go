package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// closesAlone is nettrace where it tells one record a connection and side.
var closesAlone = &peer{
	name: "nettrace-closes",
	command: func(b *bench, s *scene) []string {
		return []string{b.nettrace, "-c", "--json", "--events=close", "--require-bpf", "--netns", s.path}
	},
	prepare: func() error { return nil },
	ready:   func(_ int, out []byte) bool { return bytes.Contains(out, []byte(`"event":"snapshot_end"`)) },
	count:   nettrace.count,
}

// closesPeers are what closes alone are measured beside; nil is none.
var closesPeers = []*peer{nil, bare, nettrace, closesAlone}

// closes measures the closes alone at the full rate of connections.
func (b *bench) closes(ctx context.Context) error {
	r := streamResults{rounds: make(map[*peer][]churn), counted: make(map[*peer][]churn)}
	for round := range b.rounds {
		for i := range closesPeers {
			p := closesPeers[(round+i)%len(closesPeers)]
			c, err := b.churn(ctx, p)
			if err != nil {
				return err
			}
			b.progress("closes, round %d of %d: %s, %s connections a second", round+1, b.rounds, nameOf(p), number(c.rate()))
			r.rounds[p] = append(r.rounds[p], c)
		}
	}
	if err := closesCounted(ctx, b, r.counted); err != nil {
		return err
	}
	b.reportCloses(r)
	return nil
}

// closesCounted measures the run time of BPF programs.
func closesCounted(ctx context.Context, b *bench, counted map[*peer][]churn) (err error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("count the run time of BPF programs: %w", err)
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	for range min(b.rounds, 3) {
		for _, p := range closesPeers[1:] {
			c, err := b.churn(ctx, p)
			if err != nil {
				return err
			}
			counted[p] = append(counted[p], c)
		}
	}
	return nil
}

// perConnection is a time by the connections of a round, each of two ends, in µs.
func perConnection(of func(churn) time.Duration) func(churn) float64 {
	return func(c churn) float64 { return float64(of(c)) / float64(c.connections) / 1e3 }
}

func (b *bench) reportCloses(r streamResults) {
	cpu := perConnection(func(c churn) time.Duration { return c.cpu })
	bpf := perConnection(churn.bpf)
	micros := func(v float64) string { return number(v) + " µs" }
	rate := func(p *peer) string { return number(medianOf(r.rounds[p], churn.rate)) }
	sum := func(p *peer) float64 { return medianOf(r.rounds[p], cpu) + medianOf(r.counted[p], bpf) }
	slow, least, part := r.slowdown(closesAlone), r.slowdown(bare), sum(closesAlone)/sum(nettrace)
	missing := 2*r.total(closesAlone, func(c churn) int { return c.connections }) - r.total(closesAlone, func(c churn) int { return c.totals.closes })
	lost := r.total(closesAlone, func(c churn) int { return c.lost })
	row := func(name string, cell func(*peer) string, budget []string) []string {
		return append([]string{name, "", cell(bare), cell(nettrace), cell(closesAlone)}, budget...)
	}
	speed := row("connections per second", rate, nil)
	speed[1] = rate(nil)
	b.report.table(
		fmt.Sprintf("Closes alone: %s connections at full speed, %d rounds", thousands(r.rounds[nil][0].connections), b.rounds),
		[]string{"", "untraced", bare.name, "all changes", "closes alone", "budget", ""},
		[][]string{
			speed,
			row("slowdown", func(p *peer) string { return percent(r.slowdown(p)) }, b.report.budget(slow, max(0.12, 2*least), "12 %, or 2 × the bare program's")),
			{"closes not told", "", "", "", thousands(missing), "0", ""},
			{"said to be lost", "", "", "", thousands(lost), "0", ""},
			{"CPU per connection, both ends", "", "", micros(medianOf(r.rounds[nettrace], cpu)), micros(medianOf(r.rounds[closesAlone], cpu))},
			row("BPF run time per connection", func(p *peer) string { return micros(medianOf(r.counted[p], bpf)) }, nil),
			append([]string{"both, as a part of all changes", "", "", "", percent(part)}, b.report.budget(part, 1.0/3, "33 %")...),
		})
	b.report.paragraph("Below, what comes alone is counted by close instead of by transition.")
	b.reportPrograms(r.counted)
}
