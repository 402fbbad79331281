package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// filters are measured beside no filter. The load is on load.Port alone: all but the
// last leave every connection out.
var filters = []string{
	"",
	"port 9",
	"port in {9, 11, 13, 15, 17, 19, 21, 23}",
	"src 192.0.2.0/24 sport 9 or src 192.0.2.0/25 sport 10 or src 192.0.2.0/26 sport 11 or src 192.0.2.0/27 sport 12",
	fmt.Sprintf("port %d", load.Port),
}

// filteredPeer is nettrace with a filter; empty: none.
func filteredPeer(expression string) *peer {
	p := *nettrace
	p.command = func(b *bench, s *scene) []string {
		args := nettrace.command(b, s)
		if expression != "" {
			args = append(args, "--filter", expression)
		}
		return args
	}
	return &p
}

func (c churn) cpuPerConnection() float64 { return float64(c.cpu) / float64(c.connections) }

func (c churn) bpfPerConnection() float64 { return float64(c.bpf()) / float64(c.connections) }

// filter measures what a filter costs, and saves: in the stream, whose load is at the
// full rate of connections, and in a view of many sockets.
func (b *bench) filter(ctx context.Context) error {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("count the run time of BPF programs: %w", err)
	}
	defer stats.Close()
	rounds := make([][]churn, len(filters))
	for round := range b.rounds {
		for i, expression := range filters {
			c, err := b.churn(ctx, filteredPeer(expression))
			if err != nil {
				return err
			}
			b.progress("filters, round %d of %d: %q, %s connections a second", round+1, b.rounds, expression, number(c.rate()))
			rounds[i] = append(rounds[i], c)
		}
	}
	b.reportFilters(rounds)
	return b.filteredView(ctx)
}

func (b *bench) reportFilters(rounds [][]churn) {
	var rows [][]string
	for i, expression := range filters {
		told := 0
		for _, c := range rounds[i] {
			told += c.total()
		}
		cpu := medianRatio(rounds[i], rounds[0], churn.cpuPerConnection)
		bpf := medianRatio(rounds[i], rounds[0], churn.bpfPerConnection)
		row := []string{
			strings.ReplaceAll(expression, "|", `\|`), number(medianOf(rounds[i], churn.rate)), thousands(told),
			number(medianOf(rounds[i], churn.cpuPerConnection) / 1e3), number(cpu),
			number(medianOf(rounds[i], churn.bpfPerConnection) / 1e3), number(bpf),
		}
		if expression == "port 9" {
			row = append(row, b.report.budget(max(cpu/0.05, bpf/0.5), 1, "0.05 of the CPU, 0.5 of the BPF time")...)
		}
		rows = append(rows, row)
	}
	b.report.table("Filters of the stream, -c --json: µs a connection, both ends",
		[]string{"filter", "connections a second", "transitions told", "CPU", "of none", "BPF run time", "of none", "budget", ""}, rows)
}

// filteredView measures a view with a filter that every socket passes.
func (b *bench) filteredView(ctx context.Context) error {
	sockets := b.sizes[len(b.sizes)-1]
	b.progress("view of %d sockets with a filter", sockets)
	return b.withSockets(sockets, func(s *scene) error {
		plain := &contender{args: []string{b.nettrace, "-tan"}}
		all := &contender{args: []string{b.nettrace, "-tan", "--filter", "not port 9"}}
		none := &contender{args: []string{b.nettrace, "-tan", "--filter", "port 9"}}
		err := errors.Join(
			checkRows(ctx, s, all.args, "ESTAB", sockets),
			checkRows(ctx, s, none.args, "ESTAB", 0),
			b.contest(ctx, s, []*contender{plain, all, none}),
		)
		if err != nil {
			return err
		}
		ratio := medianRatio(all.samples, plain.samples, wall)
		row := []string{thousands(sockets), plain.cell(), all.cell(), none.cell(), number(ratio)}
		row = append(row, b.report.budget(ratio, 1.05, "1.05")...)
		b.report.table("Filters of -tan: wall time in ms, CPU time in brackets",
			[]string{"sockets", "none", "not port 9 (all rows)", "port 9 (no row)", "all rows, of none", "budget", ""}, [][]string{row})
		return nil
	})
}
