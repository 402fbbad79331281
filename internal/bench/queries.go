package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// queryRate is how many queries a second a busy resolver has to serve.
const queryRate = 20_000

// asked is one round of queries, each by a UDP socket of its own.
type asked struct {
	queries int
	took    time.Duration
	own     time.Duration // CPU of who asks and who answers, programs of BPF included
	cpu     time.Duration // of nettrace, until all of it was reported
	bpf     time.Duration // counted in rounds of their own; else 0
	told    int           // sockets whose end was told with the process that asked
	records int
	lost    int
}

func (a asked) each(d time.Duration) float64 { return float64(d) / float64(a.queries) }
func (a asked) rate() float64                { return float64(a.queries) / a.took.Seconds() }
func (a asked) ownEach() float64             { return a.each(a.own) }
func (a asked) cpuEach() float64             { return a.each(a.cpu) }
func (a asked) bpfEach() float64             { return a.each(a.bpf) }

// queryPeer streams UDP sockets, with further arguments.
func queryPeer(name string, more ...string) *peer {
	return &peer{
		name: name,
		command: func(b *bench, s *scene) []string {
			return append([]string{b.nettrace, "-acu", "--json", "--require-bpf", "--netns", s.path}, more...)
		},
		prepare: nettrace.prepare, ready: nettrace.ready,
	}
}

// queryPeers are what queries are measured with; nil is nothing.
var queryPeers = []*peer{nil, queryPeer("-acu"), queryPeer("-acu --events=close", "--events=close")}

// queries measures UDP sockets that live for one query, at the full rate of the machine
// and at queryRate.
func (b *bench) queries(ctx context.Context) error {
	r := queryResults{rounds: map[*peer][]asked{}, counted: map[*peer][]asked{}, paced: map[*peer][]asked{}}
	for round := range b.rounds {
		for i := range queryPeers {
			p := queryPeers[(round+i)%len(queryPeers)]
			a, err := b.ask(ctx, p, 0)
			if err != nil {
				return err
			}
			b.progress("queries, round %d of %d: %s, %s a second", round+1, b.rounds, nameOf(p), number(a.rate()))
			r.rounds[p] = append(r.rounds[p], a)
		}
	}
	if err := b.askPaced(ctx, &r); err != nil {
		return err
	}
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("count the run time of BPF programs: %w", err)
	}
	defer stats.Close()
	for _, p := range queryPeers[1:] {
		a, err := b.ask(ctx, p, 0)
		if err != nil {
			return err
		}
		r.counted[p] = append(r.counted[p], a)
	}
	r.tell(&b.report)
	return nil
}

// askPaced measures at queryRate.
func (b *bench) askPaced(ctx context.Context, r *queryResults) error {
	for round := range b.rounds {
		for i := range 2 {
			p := queryPeers[(round+i)%2]
			a, err := b.ask(ctx, p, queryRate)
			if err != nil {
				return err
			}
			b.progress("queries at a rate, round %d of %d: %s, %s a second", round+1, b.rounds, nameOf(p), number(a.rate()))
			r.paced[p] = append(r.paced[p], a)
		}
	}
	return nil
}

// ask makes queries while p, or nobody, traces them; at a rate, or with 0 as fast as
// the machine can.
func (b *bench) ask(ctx context.Context, p *peer, rate int) (a asked, err error) {
	s, err := newScene()
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	a.queries = 2 * b.connections
	resolver, err := s.start(load.QueriesAt(a.queries, rate))
	if err != nil {
		return a, err
	}
	if p == nil {
		err = a.play(resolver)
		return a, err
	}
	t, err := b.trace(ctx, p, s)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, t.end()) }()
	if err := a.measure(ctx, t, resolver); err != nil {
		return a, err
	}
	if err := t.end(); err != nil {
		return a, err
	}
	err = a.count(bytes.NewReader(readFile(t.path)), resolver.PID())
	return a, err
}

// play has the queries made, and takes what they cost those who make them.
func (a *asked) play(resolver *load.Process) error {
	before, err := cpuTime(resolver.PID())
	if err != nil {
		return err
	}
	start := time.Now()
	if err := errors.Join(resolver.Go(), resolver.Done()); err != nil {
		return err
	}
	a.took = time.Since(start)
	after, err := cpuTime(resolver.PID())
	a.own = after - before
	return err
}

// measure has the queries made, and takes what nettrace spends on them too.
func (a *asked) measure(ctx context.Context, t *tracing, resolver *load.Process) error {
	cpu, err := cpuTime(t.pid())
	if err != nil {
		return err
	}
	programs, err := bpfRuns(t.pid())
	if err != nil {
		return err
	}
	if err := errors.Join(a.play(resolver), t.settle(ctx)); err != nil {
		return err
	}
	after, err := cpuTime(t.pid())
	if err != nil {
		return err
	}
	a.cpu = after - cpu
	ran, err := bpfRuns(t.pid())
	for _, p := range bpfSince(programs, ran) {
		a.bpf += p.time
	}
	return err
}

// count counts what was told of the sockets of a process.
func (a *asked) count(out io.Reader, pid int) error {
	who := fmt.Appendf(nil, `"pid":%d,`, pid)
	var last []byte
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Bytes()
		switch string(field(line, "event")) {
		case "socket_close":
			if bytes.Contains(line, who) {
				a.told++
			}
			a.records++
		case "socket_change":
			a.records++
		case "stop":
			last = bytes.Clone(line)
		}
	}
	var stop struct {
		Ringbuf int `json:"lost_ringbuf"`
		Queue   int `json:"lost_queue"`
		Output  int `json:"lost_output"`
	}
	if err := json.Unmarshal(last, &stop); err != nil {
		return errors.Join(lines.Err(), fmt.Errorf("nettrace's stop record %q: %w", last, err))
	}
	a.lost = stop.Ringbuf + stop.Queue + stop.Output
	return lines.Err()
}

// queryResults are all rounds.
type queryResults struct {
	rounds  map[*peer][]asked
	counted map[*peer][]asked // with the run time of BPF
	paced   map[*peer][]asked // at queryRate
}

func (r *queryResults) tell(out *report) {
	plain, rounds, counted := r.rounds[nil], r.rounds, r.counted
	row := func(name string, first string, f func(p *peer) string) []string {
		cells := []string{name, first}
		for _, p := range queryPeers[1:] {
			cells = append(cells, f(p))
		}
		return cells
	}
	of := func(f func(asked) float64, unit string) func(*peer) string {
		return func(p *peer) string { return number(medianOf(rounds[p], f)) + unit }
	}
	out.table(fmt.Sprintf("Queries by UDP sockets of their own: %s, %d rounds", thousands(plain[0].queries), len(plain)),
		[]string{"", "untraced", queryPeers[1].name, queryPeers[2].name}, [][]string{
			row("queries per second", number(medianOf(plain, asked.rate)), of(asked.rate, "")),
			row("of untraced", "", func(p *peer) string { return percent(medianRatio(rounds[p], plain, asked.rate)) }),
			row("CPU of who asks and answers, a query", number(medianOf(plain, asked.ownEach))+" ns", of(asked.ownEach, " ns")),
			row("of untraced", "", func(p *peer) string { return percent(medianRatio(rounds[p], plain, asked.ownEach)) }),
			row("CPU of nettrace, a query", "", of(asked.cpuEach, " ns")),
			row("run time of BPF, a query", "", func(p *peer) string { return number(medianOf(counted[p], asked.bpfEach)) + " ns" }),
			row("records, of each query", "", of(func(a asked) float64 { return float64(a.records) / float64(a.queries) }, "")),
			row("told with their process", "", of(func(a asked) float64 { return float64(a.told) / float64(a.queries) }, "")),
			row("lost", "", of(func(a asked) float64 { return float64(a.lost) }, "")),
		})
	r.tellPaced(out)
}

// tellPaced tells what queries at queryRate take.
func (r *queryResults) tellPaced(out *report) {
	const most = 1.10
	plain, traced := r.paced[nil], r.paced[queryPeers[1]]
	slower := medianRatio(traced, plain, asked.ownEach)
	missing := 0.0
	for _, a := range traced {
		missing += float64(a.queries - a.told + a.lost)
	}
	row := func(name string, f func(asked) float64, unit string) []string {
		return []string{name, number(medianOf(plain, f)) + unit, number(medianOf(traced, f)) + unit, "", ""}
	}
	out.table(fmt.Sprintf("At %s queries a second, %d rounds", thousands(queryRate), len(plain)),
		[]string{"", "untraced", queryPeers[1].name, "budget", ""}, [][]string{
			row("queries per second", asked.rate, ""),
			row("CPU of who asks and answers, a query", asked.ownEach, " ns"),
			append([]string{"of untraced", "", number(slower)}, out.budget(slower, most, number(most))...),
			append([]string{"not told, or without a process, or lost, in all rounds", "", number(missing)}, out.budget(missing, 0, "0")...),
		})
}
