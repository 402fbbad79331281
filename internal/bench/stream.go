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
	told
	took        time.Duration
	connections int
	cpu         time.Duration // of the tracer, while the load ran and until it was told
	programs    []bpfRun      // of the tracer, in that time
}

func (c churn) rate() float64        { return float64(c.connections) / c.took.Seconds() }
func (c churn) all() float64         { return float64(c.total() + c.others) }
func (c churn) cpuPerEvent() float64 { return float64(c.cpu) / c.all() }

func (c churn) bpfPerEvent() float64 {
	sum := time.Duration(0)
	for _, p := range c.programs {
		sum += p.time
	}
	return float64(sum) / c.all()
}

// stream measures the stream at the full rate of connections, and what it costs
// those who connect.
func (b *bench) stream(ctx context.Context) error {
	peers := []*peer{nil, bare, nettrace, tcpstates}
	rounds := make(map[*peer][]churn)
	for round := range b.rounds {
		for i := range peers {
			p := peers[(round+i)%len(peers)] // none is always the first after the same
			c, err := b.churn(ctx, p)
			if err != nil {
				return err
			}
			b.progress("stream, round %d of %d: %s, %s connections a second", round+1, b.rounds, nameOf(p), number(c.rate()))
			rounds[p] = append(rounds[p], c)
		}
	}
	// Counting costs: it has rounds of its own.
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return fmt.Errorf("count the run time of BPF programs: %w", err)
	}
	defer stats.Close()
	counted := make(map[*peer][]churn)
	for round := range min(b.rounds, 3) {
		for _, p := range peers[1:] {
			c, err := b.churn(ctx, p)
			if err != nil {
				return err
			}
			b.progress("BPF run time, round %d: %s, %s ns a transition", round+1, p.name, number(c.bpfPerEvent()))
			counted[p] = append(counted[p], c)
		}
	}
	b.reportStream(rounds, counted)
	return nil
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
	if err := c.measure(ctx, s, t); err != nil {
		return c, err
	}
	if err := t.end(); err != nil {
		return c, err
	}
	c.told, err = t.told()
	return c, err
}

// measure runs the load and takes what the tracer spends on it.
func (c *churn) measure(ctx context.Context, s *scene, t *tracing) error {
	cpu, err := cpuTime(t.pid())
	if err != nil {
		return err
	}
	programs, err := bpfRuns(t.pid())
	if err != nil {
		return err
	}
	if c.took, err = s.connect(firstConnection, c.connections, load.FIN); err != nil {
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

// bpfSince gives what ran between two counts, the longest first.
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

// connect has clients make connections in parallel, and gives the time of it.
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

func (b *bench) reportStream(rounds, counted map[*peer][]churn) {
	both := func(f func(*peer) string) []string { return []string{f(nettrace), f(tcpstates)} }
	row := func(name, untraced, least string, cells, budget []string) []string {
		return slices.Concat([]string{name, untraced, least}, cells, budget)
	}
	rate := func(p *peer) string { return number(medianOf(rounds[p], churn.rate)) }
	rows := [][]string{row("connections per second", rate(nil), rate(bare), both(rate), nil)}

	slowdown := func(p *peer) float64 { return 1 - medianRatio(rounds[p], rounds[nil], churn.rate) }
	ours, theirs := slowdown(nettrace), slowdown(tcpstates)
	rows = append(rows, row("slowdown", "", percent(slowdown(bare)), []string{percent(ours), percent(theirs)}, b.report.budget(ours, 0.1, "10 %")))
	if theirs > 0 {
		rows = append(rows, row("as a part of tcpstates'", "", "", []string{percent(ours / theirs), ""},
			b.report.budget(ours/theirs, 0.5, "50 %")))
	}

	total := func(p *peer, f func(churn) int) int {
		sum := 0
		for _, c := range rounds[p] {
			sum += f(c)
		}
		return sum
	}
	sum := func(f func(churn) int) []string {
		return both(func(p *peer) string { return thousands(total(p, f)) })
	}
	missing := func(p *peer) int {
		return total(p, func(c churn) int { return c.missing(p.walk, c.connections) })
	}
	lost := func(c churn) int { return c.lost }
	inferred := func(c churn) int { return c.inferred }
	expected := len(nettrace.walk) * total(nil, func(c churn) int { return c.connections })
	rows = append(
		rows,
		row("transitions told", "", "", sum(func(c churn) int { return c.total() }), nil),
		row("not told, of "+thousands(expected), "", "", both(func(p *peer) string { return thousands(missing(p)) }),
			b.report.budget(float64(missing(nettrace)), 0, "0")),
		row("said to be lost", "", "", sum(lost), b.report.budget(float64(total(nettrace, lost)), 0, "0")),
		row("found by comparing with the kernel", "", "", []string{thousands(total(nettrace, inferred)), ""}, nil),
	)

	micros := func(results map[*peer][]churn, f func(churn) float64) ([]string, float64) {
		return both(func(p *peer) string { return number(medianOf(results[p], f)/1e3) + " µs" }), medianOf(results[nettrace], f) / 1e3
	}
	cells, spent := micros(rounds, churn.cpuPerEvent)
	rows = append(rows, row("CPU per transition, user and system", "", "", cells, b.report.budget(spent, 0.6, "0.6 µs")))
	cells, spent = micros(counted, churn.bpfPerEvent)
	rows = append(rows, row("BPF run time per transition", "", number(medianOf(counted[bare], churn.bpfPerEvent)/1e3)+" µs", cells, b.report.budget(spent, 0.5, "0.5 µs")))
	b.report.table(
		fmt.Sprintf("The stream: %s connections at full speed, %d rounds", thousands(rounds[nil][0].connections), b.rounds),
		[]string{"", "untraced", bare.name, "nettrace", "tcpstates", "budget", ""}, rows)
	b.report.paragraph("A connection is opened and closed by its client; both of its ends are in one network namespace. " +
		"nettrace traces that namespace alone and writes NDJSON to a file; tcpstates traces all of them and writes text, and " +
		"its cost is divided by all its lines. The bare program is the least there can be: it writes time, socket and states of " +
		"each transition to a ring buffer that nobody reads. Numbers of transitions are sums of all rounds, the rest are medians, and the " +
		"slowdown is the median of each round's own.")
	for _, p := range []*peer{nettrace, tcpstates} {
		if extra := besides(p, rounds[p]); extra != "" {
			b.report.paragraph(p.name + " told besides what each connection must walk through: " + extra + ".")
		}
	}
	b.reportPrograms(counted)
}

// besides lists what was told that belongs to no walk, by number.
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

// reportPrograms tells which BPF programs the run time went to.
func (b *bench) reportPrograms(counted map[*peer][]churn) {
	var rows [][]string
	for _, p := range []*peer{nettrace, tcpstates} {
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
