package tracer

import (
	"context"
	"errors"
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
	{"tracepoint", []string{"tp_btf", "sockops", "cgroup", "iter", "syscall"}},
}

// watch is a tracer that runs, and all that it told.
type watch struct {
	t      *testing.T
	tracer *Tracer
	cancel context.CancelFunc
	done   chan error
	ask    chan chan []string // for the table
	synced chan Resync
	stats  chan Stats
	walks  map[uint64]*walk
	wrong  []string
	lost   uint64
	mended []Resync // what passes found that no event had told
}

// walk is what was told of one connection.
type walk struct {
	first  Conn // as it was listed
	conn   Conn
	states []snapshot.State
	listed bool
	closed int
}

func startWatch(t *testing.T, opts Options) *watch {
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
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{
		t: t, tracer: tr, cancel: cancel, done: make(chan error, 1),
		ask: make(chan chan []string), synced: make(chan Resync, 100), stats: make(chan Stats, 1),
		walks: make(map[uint64]*walk),
	}
	go func() { w.done <- tr.Run(ctx, w) }()
	return w
}

func (w *watch) Snapshot(rows iter.Seq[*Conn], _ time.Duration) error {
	for row := range rows {
		r := *row
		if w.walks[r.ID] != nil {
			w.wrong = append(w.wrong, fmt.Sprintf("listed twice: %v", r))
		}
		w.walks[r.ID] = &walk{first: r, conn: r, states: []snapshot.State{r.State}, listed: true}
	}
	return nil
}

func (w *watch) Change(c *Change) error {
	k := w.walks[c.Conn.ID]
	if k == nil {
		k = &walk{states: []snapshot.State{c.Old}}
		w.walks[c.Conn.ID] = k
	}
	k.conn = *c.Conn
	if c.Kind == ChangeClose {
		k.closed++
		return nil
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

func (w *watch) Resync(r Resync) error {
	if r != (Resync{}) {
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
	case answer := <-w.ask:
		answer <- exactRows(w.tracer.Table())
	default:
	}
	return nil
}

// table gives the tracer's table as it is now.
func (w *watch) table() []string {
	w.t.Helper()
	answer := make(chan []string, 1)
	select {
	case w.ask <- answer:
		return <-answer
	case err := <-w.done:
		w.t.Fatalf("the tracer ended: %v", err)
	case <-time.After(time.Minute):
		w.t.Fatal("the tracer does not come to rest")
	}
	return nil
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

func exactRows(t *Table) []string {
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
	testnet.In(t, netns, func() {
		for _, ipv6 := range []bool{false, true} {
			sockets, err := snapshot.ReadSockets("/proc/thread-self", snapshot.TCP, ipv6)
			if err != nil {
				t.Error(err)
				return
			}
			for s, err := range sockets {
				if err != nil {
					t.Error(err)
					continue
				}
				rows = append(rows, exactRow(s.Local, s.Remote, s.State, s.Inode))
			}
		}
	})
	slices.Sort(rows)
	return rows
}

// compare compares the two tables at a moment when neither changes, and gives
// the number of rows. Timers go on: such a moment has to be waited for.
func (w *watch) compare(netns string) int {
	w.t.Helper()
	pause := 300 * time.Millisecond
	if inMachine {
		pause *= 4
	}
	var diff string
	for range 30 {
		before := kernelRows(w.t, netns)
		time.Sleep(pause)
		table := w.table()
		after := kernelRows(w.t, netns)
		if !slices.Equal(before, after) {
			continue
		}
		if diff = cmp.Diff(after, table); diff == "" {
			return len(after)
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
func (w *watch) resync() Resync {
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
	return Resync{}
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
	for _, set := range hookSets {
		t.Run(set.name, func(t *testing.T) {
			skipSet(t, set.kinds)
			netns := testnet.New(t)
			w := startWatch(t, Options{NetnsPath: netns, Hooks: set.kinds, Reconcile: -1})
			rounds, rows := 20, 0
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
			var skipped []string
			for name := range w.tracer.hooks.programs {
				if n := w.tracer.recursionMisses(name); n > 0 {
					skipped = append(skipped, fmt.Sprint(name, " ", n))
				}
			}
			w.stop()
			if w.lost > 0 {
				t.Errorf("%d events were lost", w.lost)
			}
			if len(w.mended) > 0 && inMachine {
				t.Errorf("passes found what no event had told: %+v", w.mended)
			}
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
	w.stop()
	if w.tracer.learning {
		t.Error("nothing was learnt")
	}
}

// TestExactTimeWait waits until all timewait sockets have expired.
func TestExactTimeWait(t *testing.T) {
	if testing.Short() {
		t.Skip("waits out TIME_WAIT")
	}
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

// TestExactLoss runs with a ring buffer of one page. What is told as lost and
// what was read must add up to what the kernel had to tell, and the table must
// be right after it was read again.
func TestExactLoss(t *testing.T) {
	netns := testnet.New(t)
	w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1, RingBytes: os.Getpagesize(), countAll: true})
	p := churn(t, netns, 3, 2*time.Second)
	if err := p.Done(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	// One may have begun before the quiet; what two do not show is gone.
	for range 3 {
		w.resync()
	}
	if w.compare(netns) == 0 {
		t.Error("nothing was compared")
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	w.end()
	for _, link := range w.tracer.hooks.links { // nothing is made from here on
		if err := link.Close(); err != nil {
			t.Error(err)
		}
	}
	read := w.tracer.Stats().Events
	if err := w.tracer.ring.drain(func([]byte) bool { read++; return true }); err != nil {
		t.Error(err)
	}
	sent, err1 := w.tracer.count(streamCountCOUNT_SENT)
	dropped, err2 := w.tracer.count(streamCountCOUNT_DROPPED)
	if err := errors.Join(err1, err2); err != nil {
		t.Error(err)
	}
	w.stop()
	if w.lost == 0 {
		t.Error("nothing was lost in a ring of one page: the test tests nothing")
	}
	if read != sent || w.lost != dropped {
		t.Errorf("%d records read and %d told as lost, the kernel counts %d and %d", read, w.lost, sent, dropped)
	}
	t.Logf("%d records read, %d lost", read, w.lost)
}
