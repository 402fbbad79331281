package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

const clients = 2

// churn is one round: connections made at full speed.
type churn struct {
	totals
	took        time.Duration
	connections int
	cpu         time.Duration // of the tracer, while the load ran and until all of it was reported
	programs    []bpfRun      // of the tracer, in that time
}

func (c churn) rate() float64        { return float64(c.connections) / c.took.Seconds() }
func (c churn) all() float64         { return float64(max(c.total()+c.others, c.closes)) } // closes alone have no transitions
func (c churn) cpuPerEvent() float64 { return float64(c.cpu) / c.all() }

func (c churn) bpfPerEvent() float64 { return float64(c.bpf()) / c.all() }

// bpf is the run time of all programs.
func (c churn) bpf() time.Duration {
	sum := time.Duration(0)
	for _, p := range c.programs {
		sum += p.time
	}
	return sum
}

// stream measures the stream at the full rate of connections, and what it costs
// those who connect.
func (b *bench) stream(ctx context.Context) (err error) {
	var r streamResults
	if r.rounds, err = b.streamRounds(ctx); err != nil {
		return err
	}
	if r.counted, err = b.countedRounds(ctx); err != nil {
		return err
	}
	b.reportStream(r)
	return nil
}

// streamPeers are the programs that the stream is measured with; nil is none.
var streamPeers = []*peer{nil, bare, nettrace, tcpstates}

// streamRounds measures each peer once a round.
func (b *bench) streamRounds(ctx context.Context) (map[*peer][]churn, error) {
	rounds := make(map[*peer][]churn)
	for round := range b.rounds {
		for i := range streamPeers {
			p := streamPeers[(round+i)%len(streamPeers)] // none is always the first after the same
			c, err := b.churn(ctx, p)
			if err != nil {
				return nil, err
			}
			b.progress("stream, round %d of %d: %s, %s connections a second", round+1, b.rounds, nameOf(p), number(c.rate()))
			rounds[p] = append(rounds[p], c)
		}
	}
	return rounds, nil
}

// countedRounds measures the run time of BPF programs. Counting it costs, so it has
// rounds of its own.
func (b *bench) countedRounds(ctx context.Context) (map[*peer][]churn, error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return nil, fmt.Errorf("count the run time of BPF programs: %w", err)
	}
	defer stats.Close()
	counted := make(map[*peer][]churn)
	for round := range min(b.rounds, 3) {
		for _, p := range streamPeers[1:] {
			c, err := b.churn(ctx, p)
			if err != nil {
				return nil, err
			}
			b.progress("BPF run time, round %d: %s, %s ns a transition", round+1, p.name, number(c.bpfPerEvent()))
			counted[p] = append(counted[p], c)
		}
	}
	return counted, nil
}

func nameOf(p *peer) string {
	if p == nil {
		return "untraced"
	}
	return p.name
}

// churn makes connections while p, or nobody, traces them.
func (b *bench) churn(ctx context.Context, p *peer) (c churn, err error) {
	s, err := newScene()
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.start(load.Server()); err != nil {
		return c, err
	}
	c.connections = b.connections / clients * clients
	if p == nil {
		c.took, err = s.connect(firstConnection, c.connections, load.FIN)
		return c, err
	}
	if p == bare {
		err = b.bareChurn(s, &c)
		return c, err
	}
	t, err := b.trace(ctx, p, s)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, t.end()) }()
	connect := func(first, count int) (time.Duration, error) { return s.connect(first, count, load.FIN) }
	if err := c.measure(ctx, t, connect); err != nil {
		return c, err
	}
	if err := t.end(); err != nil {
		return c, err
	}
	c.totals, err = t.totals()
	return c, err
}

// measure has connect make the load and takes what the tracer spends on it.
func (c *churn) measure(ctx context.Context, t *tracing, connect func(first, count int) (time.Duration, error)) error {
	cpu, err := cpuTime(t.pid())
	if err != nil {
		return err
	}
	programs, err := bpfRuns(t.pid())
	if err != nil {
		return err
	}
	if c.took, err = connect(firstConnection, c.connections); err != nil {
		return err
	}
	if err := t.settle(ctx); err != nil {
		return err
	}
	after, err := cpuTime(t.pid())
	if err != nil {
		return err
	}
	c.cpu = after - cpu
	ran, err := bpfRuns(t.pid())
	c.programs = bpfSince(programs, ran)
	return err
}

// bpfSince returns what ran between two counts, the longest run time first.
func bpfSince(before, after map[uint32]bpfRun) []bpfRun {
	var runs []bpfRun
	for id, run := range after {
		run.time -= before[id].time
		run.count -= before[id].count
		run.skipped -= before[id].skipped
		if run.count > 0 {
			runs = append(runs, run)
		}
	}
	slices.SortFunc(runs, func(x, y bpfRun) int { return cmp.Compare(y.time, x.time) })
	return runs
}

// connect has clients make connections in parallel and returns how long that took.
func (s *scene) connect(first, count int, ending load.Ending) (time.Duration, error) {
	var players []*load.Process
	for i := range clients {
		c, err := s.start(load.Client(first+i*count/clients, count/clients, ending))
		if err != nil {
			return 0, err
		}
		players = append(players, c)
	}
	start := time.Now()
	for _, c := range players {
		if err := c.Go(); err != nil {
			return 0, err
		}
	}
	for _, c := range players {
		if err := c.Done(); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// streamResults are the rounds of each peer; those of no peer are untraced.
type streamResults struct {
	rounds  map[*peer][]churn
	counted map[*peer][]churn // rounds in which the run time of BPF was counted
}

// slowdown returns by how much a peer slows connections down.
func (r streamResults) slowdown(p *peer) float64 {
	return 1 - medianRatio(r.rounds[p], r.rounds[nil], churn.rate)
}

// total adds up a number over a peer's rounds.
func (r streamResults) total(p *peer, of func(churn) int) int {
	sum := 0
	for _, c := range r.rounds[p] {
		sum += of(c)
	}
	return sum
}

// missing returns how many transitions a peer did not report.
func (r streamResults) missing(p *peer) int {
	return r.total(p, func(c churn) int { return c.missing(p.walk, c.connections) })
}

// streamRow is a row of the table: cells are those of nettrace and tcpstates.
func streamRow(name, untraced, least string, cells, budget []string) []string {
	return slices.Concat([]string{name, untraced, least}, cells, budget)
}

// ofBoth returns the cells of nettrace and tcpstates.
func ofBoth(cell func(*peer) string) []string { return []string{cell(nettrace), cell(tcpstates)} }

// speedRows are the rows of what tracing costs those who connect.
func (out *report) speedRows(r streamResults) [][]string {
	rate := func(p *peer) string { return number(medianOf(r.rounds[p], churn.rate)) }
	ours, theirs := r.slowdown(nettrace), r.slowdown(tcpstates)
	rows := [][]string{
		streamRow("connections per second", rate(nil), rate(bare), ofBoth(rate), nil),
		streamRow("slowdown", "", percent(r.slowdown(bare)), []string{percent(ours), percent(theirs)}, out.budget(ours, 0.1, "10 %")),
	}
	if theirs > 0 {
		rows = append(rows, streamRow("as a part of tcpstates'", "", "", []string{percent(ours / theirs), ""},
			out.budget(ours/theirs, 0.5, "50 %")))
	}
	return rows
}

// countRows are the rows of what was reported, and what was not.
func (out *report) countRows(r streamResults) [][]string {
	sum := func(of func(churn) int) []string {
		return ofBoth(func(p *peer) string { return thousands(r.total(p, of)) })
	}
	lost := func(c churn) int { return c.lost }
	inferred := func(c churn) int { return c.inferred }
	expected := len(nettrace.walk) * r.total(nil, func(c churn) int { return c.connections })
	return [][]string{
		streamRow("transitions told", "", "", sum(func(c churn) int { return c.total() }), nil),
		streamRow("not told, of "+thousands(expected), "", "", ofBoth(func(p *peer) string { return thousands(r.missing(p)) }),
			out.budget(float64(r.missing(nettrace)), 0, "0")),
		streamRow("said to be lost", "", "", sum(lost), out.budget(float64(r.total(nettrace, lost)), 0, "0")),
		streamRow("found by comparing with the kernel", "", "", []string{thousands(r.total(nettrace, inferred)), ""}, nil),
	}
}

// costRows are the rows of what a transition costs.
func (out *report) costRows(r streamResults) [][]string {
	micros := func(results []churn, f func(churn) float64) float64 { return medianOf(results, f) / 1e3 }
	cell := func(micros float64) string { return number(micros) + " µs" }
	cpu := func(p *peer) string { return cell(micros(r.rounds[p], churn.cpuPerEvent)) }
	bpf := func(p *peer) string { return cell(micros(r.counted[p], churn.bpfPerEvent)) }
	return [][]string{
		streamRow("CPU per transition, user and system", "", "", ofBoth(cpu),
			out.budget(micros(r.rounds[nettrace], churn.cpuPerEvent), 0.6, "0.6 µs")),
		streamRow("BPF run time per transition", "", bpf(bare), ofBoth(bpf),
			out.budget(micros(r.counted[nettrace], churn.bpfPerEvent), 0.5, "0.5 µs")),
	}
}

func (b *bench) reportStream(r streamResults) {
	b.report.table(
		fmt.Sprintf("The stream: %s connections at full speed, %d rounds", thousands(r.rounds[nil][0].connections), b.rounds),
		[]string{"", "untraced", bare.name, "nettrace", "tcpstates", "budget", ""},
		slices.Concat(b.report.speedRows(r), b.report.countRows(r), b.report.costRows(r)))
	b.report.paragraph("A connection is opened and closed by its client; both of its ends are in one network namespace. " +
		"nettrace traces that namespace alone and writes NDJSON to a file; tcpstates traces all of them and writes text, and " +
		"its cost is divided by all its lines. The bare program is the least there can be: it writes time, socket and states of " +
		"each transition to a ring buffer that nobody reads. Numbers of transitions are sums of all rounds, the rest are medians, and the " +
		"slowdown is the median of each round's own.")
	for _, p := range []*peer{nettrace, tcpstates} {
		if extra := besides(p, r.rounds[p]); extra != "" {
			b.report.paragraph(p.name + " told besides what each connection must walk through: " + extra + ".")
		}
	}
	b.reportPrograms(r.counted)
}

// besides lists the transitions that belong to no walk, the most frequent first.
func besides(p *peer, rounds []churn) string {
	sum := make(map[string]int)
	for _, c := range rounds {
		for step, n := range c.besides(p.walk, c.connections) {
			sum[step] += n
		}
	}
	var list []string
	for _, step := range slices.Sorted(maps.Keys(sum)) {
		list = append(list, fmt.Sprintf("%s %d", step, sum[step]))
	}
	return strings.Join(list, ", ")
}

// reportPrograms reports how the run time is spread over the BPF programs.
func (b *bench) reportPrograms(counted map[*peer][]churn) {
	var rows [][]string
	for _, p := range []*peer{nettrace, tcpstates, closesAlone} {
		perEvent, each, runs := make(map[string][]float64), make(map[string][]float64), make(map[string][]float64)
		skipped := make(map[string]uint64)
		for _, c := range counted[p] {
			for _, program := range c.programs {
				perEvent[program.name] = append(perEvent[program.name], float64(program.time)/c.all())
				each[program.name] = append(each[program.name], float64(program.time)/float64(program.count))
				skipped[program.name] += program.skipped
				runs[program.name] = append(runs[program.name], float64(program.count)/c.all())
			}
		}
		names := slices.SortedFunc(maps.Keys(perEvent), func(x, y string) int {
			return cmp.Compare(median(perEvent[y]), median(perEvent[x]))
		})
		for _, name := range names {
			rows = append(rows, []string{
				p.name + " " + name, number(median(runs[name])), number(median(each[name])) + " ns", number(median(perEvent[name])) + " ns",
				thousands(skipped[name]),
			})
		}
	}
	b.report.table("Where BPF's run time goes", []string{"program", "runs per transition", "time each", "per transition", "skipped"}, rows)
	b.report.paragraph("Skipped is how often, in all these rounds, a program was not run because an interrupt found it running.")
}
