package tracer

import (
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

func TestMain(m *testing.M) {
	load.Main()
	os.Exit(m.Run())
}

// inMachine says that the test runs on a stock kernel under an emulator.
var inMachine = os.Getenv("NETTRACE_VM") != ""

// hookSets are the hooks that are forced in turn where the kernel has them.
var hookSets = []struct {
	name  string
	kinds []string
}{
	{"best", nil},
	{"tracepoint", []string{"tp_btf", "sockops", "cgroup", "iter", "sock_diag", "syscall"}},
}

// watch is a tracer that runs, and all that it told.
type watch struct {
	t        *testing.T
	tracer   *Tracer
	wanted   *snapshot.Condition
	cancel   context.CancelFunc
	done     chan error
	ask      chan func(*table.Table) // to read the table
	synced   chan table.Resync
	stats    chan Stats
	walks    map[uint64]*walk
	wrong    []string
	lost     uint64
	inexact  []string
	newest   uint64         // of the times of changes
	late     time.Duration  // how far a change was behind it at most
	inferred int            // closes
	scanned  []string       // transitions that only a scan found
	mended   []table.Resync // what scans found that no event had told
}

// walk is what was told of one connection.
type walk struct {
	first  table.Conn // as it was listed
	conn   table.Conn
	states []snapshot.State
	listed bool
	closed int
}

func startWatch(t *testing.T, opts Options) *watch {
	t.Helper()
	w := newWatch(t, opts)
	w.run()
	return w
}

// newWatch opens a tracer that run starts.
func newWatch(t *testing.T, opts Options) *watch {
	t.Helper()
	if inMachine && opts.RingBytes == 0 { // which may stand still for seconds, and not all of its processes alike
		opts.RingBytes = 4 * DefaultRingBytes
	}
	tr, err := Open(opts)
	if err != nil {
		if inMachine {
			t.Fatal(err)
		}
		t.Skip("this machine cannot trace: ", err)
	}
	return &watch{
		t: t, tracer: tr, wanted: opts.Condition, done: make(chan error, 1),
		ask: make(chan func(*table.Table)), synced: make(chan table.Resync, 100), stats: make(chan Stats, 1),
		walks: make(map[uint64]*walk),
	}
}

func (w *watch) run() { w.runFor(w) }

// runFor runs the tracer for a handler that hands everything to w.
func (w *watch) runFor(h Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go func() { w.done <- w.tracer.Run(ctx, h) }()
}

func (w *watch) Snapshot(rows iter.Seq[*table.Conn], _ time.Duration) error {
	for row := range rows {
		r := *row
		if w.walks[r.ID] != nil {
			w.wrong = append(w.wrong, fmt.Sprintf("listed twice: %v", r))
		}
		w.walks[r.ID] = &walk{first: r, conn: r, states: []snapshot.State{r.State}, listed: true}
	}
	return nil
}

func (w *watch) Change(c *table.Change) error {
	k := w.walks[c.Conn.ID]
	if k == nil {
		k = &walk{states: []snapshot.State{c.Old}}
		w.walks[c.Conn.ID] = k
	}
	k.conn = *c.Conn
	if !c.Inferred && c.Kind != table.ChangeOwner {
		w.late = max(w.late, time.Duration(w.newest-min(w.newest, c.Time)))
		w.newest = max(w.newest, c.Time)
	}
	switch c.Kind {
	case table.ChangeOwner:
		return nil
	case table.ChangeClose:
		if c.Inferred {
			w.inferred++
		}
		k.closed++
		return nil
	}
	if c.Inferred {
		w.scanned = append(w.scanned, fmt.Sprintf("%v %v: %v -> %v after %v, known since its start: %t",
			c.Conn.Local, c.Conn.Remote, c.Old, c.New, k.states, c.Conn.StartKnown))
	}
	if last := k.states[len(k.states)-1]; last != c.Old {
		w.wrong = append(w.wrong, fmt.Sprintf("%v %v: %v -> %v after %v", c.Conn.Local, c.Conn.Remote, c.Old, c.New, k.states))
	}
	if !c.Inferred && !possible(c.Old, c.New) {
		w.wrong = append(w.wrong, fmt.Sprintf("%v %v: impossible %v -> %v after %v", c.Conn.Local, c.Conn.Remote, c.Old, c.New, k.states))
	}
	k.states = append(k.states, c.New)
	return nil
}

// possible says whether the TCP state diagram (RFC 9293, 3.3.2) has a transition,
// as Linux walks it. From everywhere a reset or a timer leads to CLOSE.
func possible(from, to snapshot.State) bool {
	next := map[snapshot.State][]snapshot.State{
		snapshot.Close:       {snapshot.Listen, snapshot.SynSent},
		snapshot.Listen:      {snapshot.SynRecv},
		snapshot.SynSent:     {snapshot.Established, snapshot.SynRecv},
		snapshot.SynRecv:     {snapshot.Established, snapshot.FinWait1},
		snapshot.Established: {snapshot.FinWait1, snapshot.CloseWait},
		snapshot.FinWait1:    {snapshot.FinWait2, snapshot.Closing, snapshot.TimeWait},
		snapshot.FinWait2:    {snapshot.TimeWait},
		snapshot.Closing:     {snapshot.TimeWait},
		snapshot.CloseWait:   {snapshot.LastAck},
	}
	return to == snapshot.Close && from != snapshot.Close || slices.Contains(next[from], to)
}

func (w *watch) Lost(l Lost) error {
	w.lost += l.Count
	return nil
}

func (w *watch) Inexact(what string) error {
	w.inexact = append(w.inexact, what)
	return nil
}

func (*watch) Sockets(iter.Seq[*table.Socket]) error { return nil }

func (*watch) Socket(*table.SocketChange) error { return nil }

func (w *watch) Resync(r table.Resync) error {
	if r.Found() {
		w.mended = append(w.mended, r)
	}
	select {
	case w.synced <- r:
	default: // nobody waits for it
	}
	return nil
}

func (w *watch) Idle() error {
	select {
	case read := <-w.ask:
		read(w.tracer.Table())
	default:
	}
	return nil
}

// table gives the tracer's table as it is now.
func (w *watch) table() (rows []string) {
	w.t.Helper()
	w.read(func(t *table.Table) { rows = exactRows(t) })
	return rows
}

// read has f read the table.
func (w *watch) read(f func(*table.Table)) {
	w.t.Helper()
	done := make(chan struct{})
	late := time.After(time.Minute)
	for {
		w.tracer.pace.bed.wake()
		select {
		case w.ask <- func(t *table.Table) { f(t); close(done) }:
			<-done
			return
		case err := <-w.done:
			w.t.Fatalf("the tracer ended: %v", err)
		case <-late:
			w.t.Fatal("the tracer does not come to rest")
		case <-time.After(pollInterval): // it may sleep again
		}
	}
}

func (w *watch) stop() {
	w.t.Helper()
	w.end()
	if err := w.tracer.Close(); err != nil {
		w.t.Error(err)
	}
	if len(w.wrong) > 0 {
		w.t.Errorf("%d wrong changes:\n%s", len(w.wrong), strings.Join(w.wrong[:min(len(w.wrong), 10)], "\n"))
	}
}

// end stops the tracer but leaves its hooks.
func (w *watch) end() {
	w.t.Helper()
	w.cancel()
	if err := <-w.done; err != nil {
		w.t.Error(err)
	}
	w.done <- nil // for stop, which comes here again
}

func exactRow(local, remote any, state snapshot.State, inode uint64) string {
	return fmt.Sprintf("%v %v %v inode %d", local, remote, state, inode)
}

func exactRows(t *table.Table) []string {
	var rows []string
	for c := range t.All {
		rows = append(rows, exactRow(c.Local, c.Remote, c.State, c.Inode))
	}
	slices.Sort(rows)
	return rows
}

func kernelRows(t *testing.T, netns string) []string {
	t.Helper()
	var rows []string
	for _, s := range testnet.TCPSockets(t, netns) {
		rows = append(rows, exactRow(s.Local, s.Remote, s.State, s.Inode))
	}
	slices.Sort(rows)
	return rows
}

// kernelRows are those that the tracer was asked for.
func (w *watch) kernelRows(netns string) []string {
	w.t.Helper()
	var rows []string
	for _, s := range testnet.TCPSockets(w.t, netns) {
		if isWanted(w.wanted, &s.Head) {
			rows = append(rows, exactRow(s.Local, s.Remote, s.State, s.Inode))
		}
	}
	slices.Sort(rows)
	return rows
}

// compare compares the two tables at a moment when neither changes, and gives
// the number of rows. Timers go on: such a moment has to be waited for. On a kernel that
// does not run tracing programs everywhere, an end may have come unseen until the very
// end: there it is looked for twice.
func (w *watch) compare(netns string) int {
	w.t.Helper()
	enough := 300 * time.Millisecond
	if inMachine {
		enough *= 4
	}
	pause := enough / 4 // mostly that is long enough too
	var diff string
	looked := 0
	for range 60 {
		before := w.kernelRows(netns)
		time.Sleep(pause)
		table := w.table()
		after := w.kernelRows(netns)
		if !slices.Equal(before, after) {
			continue
		}
		if diff = cmp.Diff(after, table); diff == "" {
			return len(after)
		}
		if pause < enough {
			pause *= 2
			continue
		}
		if !inMachine && looked < 2 {
			looked++
			w.resync()
			continue
		}
		if w.tracer.hooks.chosen[Acceptor] != "" {
			break
		}
		// No hook tells who accepts: a pass looks for the inode, some time later.
	}
	w.t.Errorf("the table differs (-kernel +table):\n%.3000s", diff)
	return 0
}

// resync has the table compared with the kernel's and waits for the result.
func (w *watch) resync() table.Resync {
	w.t.Helper()
	for len(w.synced) > 0 {
		<-w.synced
	}
	w.tracer.Resync()
	select {
	case r := <-w.synced:
		return r
	case <-time.After(time.Minute):
		w.t.Fatal("no resync came")
	}
	return table.Resync{}
}

func churn(t *testing.T, netns string, seed uint64, d time.Duration) *load.Process {
	t.Helper()
	p, err := load.Start(load.Churn(seed, d), netns)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Go(); err != nil {
		t.Fatal(err)
	}
	return p
}

// skipSet skips the sets that are not for this kernel.
func skipSet(t *testing.T, kinds []string) {
	t.Helper()
	if os.Getenv("NETTRACE_KERNEL") == "5.10" && kinds != nil {
		t.Skip("needs socket cookies in tracing programs (Linux 5.12)")
	}
}

// TestExactTable lets random churn run, again and again, and wants the table to
// be the kernel's each time: every row's addresses, state and inode.
func TestExactTable(t *testing.T) {
	t.Parallel() // while TestExactTimeWait waits
	for _, set := range hookSets {
		t.Run(set.name, func(t *testing.T) {
			skipSet(t, set.kinds)
			netns := testnet.New(t)
			w := startWatch(t, Options{NetnsPath: netns, Hooks: set.kinds, Reconcile: -1})
			rounds, rows := 20, 0
			if inMachine { // a round takes seconds there
				rounds = 12
			}
			for seed := range rounds {
				if seed == rounds/2 { // the first half has timewait sockets that stay in FIN_WAIT2
					testnet.Set(t, netns, "net/ipv4/tcp_fin_timeout", "4")
				}
				p := churn(t, netns, uint64(seed), 300*time.Millisecond)
				if err := p.Done(); err != nil {
					t.Fatal(err)
				}
				if !inMachine {
					time.Sleep(100 * time.Millisecond)
					w.resync() // this kernel may not run tracing programs everywhere
				}
				n := w.compare(netns)
				if n == 0 {
					t.Errorf("round %d failed", seed)
				}
				rows += n
				if err := p.Stop(); err != nil {
					t.Fatal(err)
				}
			}
			w.end()
			skipped := w.skipped()
			w.stop()
			if w.lost > 0 {
				t.Errorf("%d events were lost", w.lost)
			}
			w.checkMended(skipped)
			t.Logf("%d rounds, %d rows compared, %d connections, programs skipped: %v", rounds, rows, len(w.walks), skipped)
		})
	}
}

// TestExactLearning hides the kernel's symbols: the timer functions are learnt
// from the first timewait socket, and then the table is as exact as ever.
func TestExactLearning(t *testing.T) {
	netns := testnet.New(t)
	w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1, kallsyms: os.DevNull})
	p := churn(t, netns, 5, 500*time.Millisecond)
	if err := p.Done(); err != nil {
		t.Fatal(err)
	}
	w.resync()
	if w.compare(netns) == 0 {
		t.Error("nothing was compared")
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	p = churn(t, netns, 6, 300*time.Millisecond)
	if err := p.Done(); err != nil {
		t.Fatal(err)
	}
	if !inMachine {
		w.resync()
	}
	if w.compare(netns) == 0 {
		t.Error("nothing was compared")
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	w.end()
	if known, err := timerKnown(w.tracer.hooks); err != nil || !known {
		t.Error("nothing was learnt: ", err)
	}
	w.stop()
}

// timerKnown reports whether the programs know the timer function of timewait sockets.
func timerKnown(h *hooks) (bool, error) {
	var address uint64
	err := h.maps.Variables[streamVarTwTimerHandler].Get(&address)
	return address != 0, err
}

// TestExactTimeWait waits until all timewait sockets have expired.
func TestExactTimeWait(t *testing.T) {
	if testing.Short() {
		t.Skip("waits out TIME_WAIT")
	}
	t.Parallel()
	netns := testnet.New(t)
	w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1})
	p := churn(t, netns, 99, time.Second)
	if err := p.Done(); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(65 * time.Second)
	if !inMachine {
		w.resync()
	}
	w.compare(netns)
	w.stop()
	timewaits := 0
	for _, k := range w.walks {
		n := len(k.states)
		if n > 1 && k.states[n-1] == snapshot.Close && k.states[n-2] == snapshot.TimeWait {
			timewaits++
		}
		if k.closed > 1 {
			t.Errorf("closed %d times: %v", k.closed, k.states)
		}
	}
	if timewaits == 0 {
		t.Error("no timewait socket was told to its end")
	}
	t.Logf("%d timewait sockets told to their end", timewaits)
}

// TestStartFromProc reads the initial table from /proc: what is open then is
// listed once, and followed from there.
func TestStartFromProc(t *testing.T) {
	netns := testnet.New(t)
	testnet.Set(t, netns, "net/ipv4/tcp_fin_timeout", "1") // no timewait sockets of before
	p := churn(t, netns, 11, 300*time.Millisecond)
	if err := p.Done(); err != nil {
		t.Fatal(err)
	}
	before := kernelRows(t, netns)
	w := startWatch(t, Options{NetnsPath: netns, Hooks: []string{"tp_btf", "sockops", "cgroup"}})
	w.table()
	want := make(map[string]bool)
	for _, row := range kernelRows(t, netns) {
		// Timers go on: what was open all the time has to be listed.
		if slices.Contains(before, row) && strings.Contains(row, "ESTABLISHED") {
			want[row] = true
		}
	}
	if err := p.Stop(); err != nil { // closes everything
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	w.table()
	w.stop()
	for _, k := range w.walks {
		if !k.listed {
			continue
		}
		delete(want, exactRow(k.first.Local, k.first.Remote, k.first.State, k.first.Inode))
		last := k.states[len(k.states)-1]
		if k.states[0] == snapshot.Established && last == snapshot.Established {
			t.Errorf("%v %v was closed and nothing was told", k.conn.Local, k.conn.Remote)
		}
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

// TestExactStart attaches in the middle of churn, again and again. Everything
// that is open then or begins later must be told once, with no impossible step.
func TestExactStart(t *testing.T) {
	netns := testnet.New(t)
	times := 50
	if inMachine {
		times = 10
		onOneCPU(t)
	}
	p := churn(t, netns, 7, 10*time.Minute)
	for range times {
		w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1})
		time.Sleep(30 * time.Millisecond)
		for range 3 {
			w.table()
		}
		w.stop()
		for _, k := range w.walks {
			if k.closed > 1 {
				t.Errorf("closed %d times: %v", k.closed, k.states)
			}
		}
		open := make(map[string]bool) // by addresses: one at a time
		for _, k := range w.walks {
			if !k.listed || k.conn.Remote.Port() == 0 {
				continue
			}
			key := fmt.Sprintf("%v %v", k.conn.Local, k.conn.Remote)
			if open[key] {
				t.Errorf("%s is listed twice", key)
			}
			open[key] = true
		}
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
}

// onOneCPU keeps this process, and those it starts, on one CPU. Attaching to a
// tracepoint rewrites the kernel's code where it runs (text_poke); the emulator
// may go on with the old code on another CPU, which no processor does, and the
// kernel panics.
func onOneCPU(t *testing.T) {
	t.Helper()
	var one, all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	one.Set(0)
	set := func(cpus *unix.CPUSet) {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range threads {
			tid, err := strconv.Atoi(d.Name())
			if err != nil {
				t.Fatal(err)
			}
			_ = unix.SchedSetaffinity(tid, cpus) // the thread may have ended
		}
	}
	set(&one)
	t.Cleanup(func() { set(&all) })
}
