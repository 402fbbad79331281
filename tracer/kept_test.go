package tracer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// closesOf keeps the closes that a tracer tells.
type closesOf struct {
	t      *testing.T
	tracer *Tracer
	cancel context.CancelFunc
	done   chan error
	ready  chan struct{}

	closes  []closeTold
	events  uint64
	others  int // changes that are no closes, nor transitions that end a connection
	lost    []Lost
	resyncs []table.Resync
}

// closeTold is a close, with copies of what it points to.
type closeTold struct {
	conn     table.Conn
	closed   table.Closed
	time     uint64
	inferred bool
}

func startCloses(t *testing.T, opts Options) *closesOf {
	t.Helper()
	if inMachine {
		opts.RingBytes = 4 * DefaultRingBytes
	}
	tr, err := Open(opts)
	if err != nil {
		if inMachine {
			t.Fatal(err)
		}
		t.Skip("this machine cannot trace: ", err)
	}
	c := &closesOf{t: t, tracer: tr, done: make(chan error, 1), ready: make(chan struct{})}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	go func() { c.done <- tr.Run(ctx, c) }()
	<-c.ready
	return c
}

func (c *closesOf) Snapshot(iter.Seq[*table.Conn], time.Duration) error {
	close(c.ready)
	return nil
}

func (c *closesOf) Change(change *table.Change) error {
	if change.Close == nil {
		c.others++
	}
	if change.Kind == table.ChangeClose {
		c.closes = append(c.closes, closeTold{*change.Conn, *change.Close, change.Time, change.Inferred})
	}
	return nil
}

func (c *closesOf) Lost(l Lost) error {
	c.lost = append(c.lost, l)
	return nil
}

func (c *closesOf) Sockets(iter.Seq[*table.Socket]) error { return nil }

func (c *closesOf) Socket(*table.SocketChange) error { return nil }

func (c *closesOf) Inexact(string) error { return nil }

func (c *closesOf) Resync(r table.Resync) error {
	c.resyncs = append(c.resyncs, r)
	return nil
}

func (c *closesOf) Idle() error { return nil }

// end ends the tracer but leaves its hooks.
func (c *closesOf) end() {
	c.t.Helper()
	c.cancel()
	if err := <-c.done; err != nil {
		c.t.Error(err)
	}
}

// stop detaches the tracer, which has ended, and returns its counters.
func (c *closesOf) stop() table.Stats {
	c.t.Helper()
	s := c.tracer.Stats()
	c.events = s.Events
	if err := c.tracer.Close(); err != nil {
		c.t.Error(err)
	}
	if len(c.lost) > 0 && inMachine {
		c.t.Errorf("lost %+v", c.lost)
	}
	return s.Table
}

// kept skips where the kernel side cannot keep closes; it must on stock kernels since 5.12.
func (c *closesOf) kept() *closesOf {
	c.t.Helper()
	if !c.tracer.KeepsCloses() {
		c.cancel()
		<-c.done
		defer func() { _ = c.tracer.Close() }()
		if os.Getenv("NETTRACE_KERNEL") != "5.10" && inMachine {
			c.t.Error("this kernel must keep closes: ", whyNotKept(c.tracer))
		}
		c.t.Skip("this kernel cannot keep closes")
	}
	return c
}

// whyNotKept says which hooks do not load.
func whyNotKept(t *Tracer) string {
	set := t.settings()
	set.closes, set.verifyLogs = ClosesAlone, true
	h, err := hooksFor(&t.opts, set)
	if err != nil {
		return fmt.Sprintf("%+v", err)
	}
	defer h.close()
	var why []string
	for _, hook := range h.tried {
		why = append(why, fmt.Sprintf("%s %s: %t %+v", hook.Capability, hook.Name, hook.Chosen, hook.Err))
	}
	return strings.Join(why, "\n")
}

// sharp is what both ways must tell alike to the letter.
type sharp struct {
	Local, Remote, Walk string
	Head                snapshot.Head
	Process             string
	Direction           table.Direction
	StartKnown, HasUID  bool
	Inferred            bool
	Closed              table.Closed
}

func (c *closeTold) sharp(accepts bool) sharp {
	head := c.conn.Head
	head.Inode, head.RecvQ, head.SendQ = 0, 0, 0 // which no close tells
	head.Owner.Process = nil
	if c.conn.History.States()[0] == snapshot.SynRecv && c.conn.Established == 0 {
		head.Cookie = 0 // a request has one once somebody asked for it
	}
	process := "-"
	if p := c.conn.Owner.Process; p != nil {
		process = fmt.Sprintf("%+v", *p)
	}
	if !accepts && c.conn.Direction != table.Outgoing {
		// Where no hook tells who accepts, it depends on whether a scan came in time.
		head.CgroupID, head.Owner, process = 0, snapshot.Owner{}, "-"
	}
	return sharp{
		c.conn.Local.String(), c.conn.Remote.String(), fmt.Sprint(c.conn.History.States()),
		head, process, c.conn.Direction, c.conn.StartKnown, c.conn.HasUID, c.inferred, c.closed,
	}
}

// near reports whether two times are of one event. An emulated processor may stand still
// between the programs of two tracers.
func near(a, b uint64, apart time.Duration) bool {
	if inMachine {
		apart = 100 * time.Millisecond
	}
	return max(a, b)-min(a, b) <= uint64(apart)
}

func (c *closeTold) sameTimes(d *closeTold, apart time.Duration) bool {
	near := func(a, b uint64) bool { return near(a, b, apart) }
	start := near(c.conn.Start, d.conn.Start) || !c.conn.StartKnown // else it is when a tracer began
	// The end of what this kernel shows to no program is found by a scan, some time later.
	end := near(c.time, d.time) || !inMachine && !c.closed.HasStats
	return start && end && near(c.conn.Established, d.conn.Established)
}

// bySocket returns the closes of each socket, in order: it may connect again. A request
// socket has no cookie.
func (c *closesOf) bySocket() map[string][]*closeTold {
	by := make(map[string][]*closeTold)
	for i := range c.closes {
		t := &c.closes[i]
		key := fmt.Sprint("cookie ", t.conn.Cookie)
		if t.sharp(true).Head.Cookie == 0 {
			key = fmt.Sprint(t.conn.Local, t.conn.Remote)
		}
		by[key] = append(by[key], t)
	}
	for _, of := range by {
		slices.SortFunc(of, func(a, b *closeTold) int { return int(int64(a.time) - int64(b.time)) })
	}
	return by
}

// at says what was told of connections at the place of another.
func (c *closesOf) at(d *closeTold) string {
	var at strings.Builder
	for i := range c.closes {
		if t := &c.closes[i]; t.conn.Local == d.conn.Local && t.conn.Remote == d.conn.Remote {
			fmt.Fprintf(&at, "[%d to %d: %v, outcome %d, errno %d, inferred %t]", t.conn.Start, t.time, t.conn.History.States(), t.closed.Outcome, t.closed.Errno, t.inferred)
		}
	}
	return at.String()
}

// compareCloses compares what two tracers told of the same time.
func compareCloses(t *testing.T, full, kept *closesOf, fullStats, keptStats table.Stats) {
	t.Helper()
	fullStats.Reported, keptStats.Reported = 0, 0
	want, got := full.bySocket(), kept.bySocket()
	accepts := kept.tracer.hooks.chosen[Acceptor] != ""
	var wrong []string
	late, inferred := 0, 0 // ends that this kernel showed to no program; a softirq in the first process
	for key, of := range want {
		for i, w := range of {
			switch {
			case !inMachine && (w.inferred || i >= len(got[key]) && len(kept.lost) > 0 || i < len(got[key]) && got[key][i].inferred):
				inferred++
			case i >= len(got[key]):
				wrong = append(wrong, fmt.Sprintf("not told: %s %+v", key, w.sharp(accepts)))
			case !inMachine && w.closed.HasStats != got[key][i].closed.HasStats: // as seen by the second witness alone
				inferred++
			case !w.sameTimes(got[key][i], time.Millisecond) && w.sameTimes(got[key][i], 50*time.Millisecond):
				late++ // the host was busy between the programs of the two tracers
			case !w.sameTimes(got[key][i], time.Millisecond):
				g := got[key][i]
				wrong = append(wrong, fmt.Sprintf("%s: times %d %d %d, not %d %d %d: %+v", key, g.time, g.conn.Start, g.conn.Established,
					w.time, w.conn.Start, w.conn.Established, w.sharp(accepts)))
			case inMachine && w.conn.Owner.Source == snapshot.OwnerListener && got[key][i].conn.Owner.Process == nil:
				// The kernel took longer than dyingGrace to close what its listener left, and the reader too.
			default:
				if diff := cmp.Diff(w.sharp(accepts), got[key][i].sharp(accepts), cmp.Comparer(func(a, b snapshot.Head) bool { return a == b })); diff != "" {
					wrong = append(wrong, key+" (-full +kept):\n"+diff)
				}
			}
		}
	}
	for key, of := range got {
		for _, g := range of[min(len(want[key]), len(of)):] {
			if !inMachine && g.inferred {
				inferred++
				continue
			}
			wrong = append(wrong, fmt.Sprintf("not there: %s %+v; at this place full %s, kept %s", key, g.sharp(accepts), full.at(g), kept.at(g)))
		}
	}
	t.Logf("%d of %d were inferred", inferred, len(full.closes))
	if late > 2+len(full.closes)/1000 {
		t.Errorf("the times of %d of %d closes are more than a millisecond apart", late, len(full.closes))
	}
	if inferred > len(full.closes)/100 {
		t.Errorf("%d of %d closes were inferred", inferred, len(full.closes))
	}
	if inferred == 0 && fullStats != keptStats {
		t.Errorf("counted %+v, not %+v", keptStats, fullStats)
	}
	if len(wrong) > 0 {
		t.Errorf("%d of %d differ:\n%s", len(wrong), len(full.closes), strings.Join(wrong[:min(len(wrong), 8000)], "\n"))
	}
}

// churnBoth has two tracers see the same churn, and of connections that began before them. The
// first tells all changes, the second closes that were kept.
func churnBoth(t *testing.T, closes Closes, rounds int) (full, kept *closesOf, fullStats, keptStats table.Stats) {
	t.Helper()
	netns := testnet.New(t)
	testnet.Set(t, netns, "net/ipv4/tcp_fin_timeout", "2")
	// A FIN that nobody answers is sent again for 100 s unless this is set.
	testnet.Set(t, netns, "net/ipv4/tcp_orphan_retries", "3")
	early, err := load.Start(load.Holder(0, 10), netns)
	if err != nil {
		t.Fatal(err)
	}
	if err := early.Go(); err != nil {
		t.Fatal(err)
	}
	if err := early.Done(); err != nil {
		t.Fatal(err)
	}
	full = startCloses(t, Options{NetnsPath: netns, Reconcile: -1})
	kept = startCloses(t, Options{NetnsPath: netns, Reconcile: -1, Closes: closes}).kept()
	if inMachine {
		rounds = (rounds + 2) / 3
	}
	for seed := range rounds {
		p := churn(t, netns, uint64(seed), 300*time.Millisecond)
		if err := p.Done(); err != nil {
			t.Fatal(err)
		}
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if err := early.Kill(); err != nil {
		t.Fatal(err)
	}
	testnet.WaitClosed(t, netns)
	time.Sleep(4 * time.Second) // FIN_WAIT2
	full.end()
	kept.end()
	if left := kept.left(); left > 0 {
		t.Errorf("%d entries are left in the kernel", left)
	}
	fullStats, keptStats = full.stop(), kept.stop()
	return full, kept, fullStats, keptStats
}

// left counts what is kept.
func (c *closesOf) left() (n int) {
	c.t.Helper()
	k := &c.tracer.kept
	if err := errors.Join(
		k.lives.each(func(uint64, *streamLife) { n++ }),
		eachAcceptor(k.acceptors, func(uint64, *streamCaller) { n++ }),
	); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// TestClosesKept has both ways to closes see the same churn: resets, refusals, half-closed
// connections, timeouts, orphans, listeners that are closed while children wait.
func TestClosesKept(t *testing.T) {
	full, kept, fullStats, keptStats := churnBoth(t, ClosesAlone, 10)
	compareCloses(t, full, kept, fullStats, keptStats)
	if kept.others > 0 {
		t.Errorf("%d changes were told that are no closes", kept.others)
	}
	t.Logf("%d closes", len(full.closes))
}

// TestFailedClosesKept wants those that failed alone, and the same totals.
func TestFailedClosesKept(t *testing.T) {
	full, kept, fullStats, keptStats := churnBoth(t, FailedCloses, 4)
	all := len(full.closes)
	fine := func(c closeTold) bool { return !c.closed.Outcome.Failed() }
	full.closes, kept.closes = slices.DeleteFunc(full.closes, fine), slices.DeleteFunc(kept.closes, fine)
	compareCloses(t, full, kept, fullStats, keptStats)
	if kept.events >= full.events/2 {
		t.Errorf("%d of %d events were sent", kept.events, full.events)
	}
	t.Logf("%d closes of %d failed; %d events, not %d", len(full.closes), all, kept.events, full.events)
}

// TestClosesKeptFull has no room for most connections: they are told nevertheless.
func TestClosesKeptFull(t *testing.T) {
	defer func(n uint32) { keptMost = n }(keptMost)
	keptMost = 16
	full, kept, fullStats, keptStats := churnBoth(t, ClosesAlone, 4)
	compareCloses(t, full, kept, fullStats, keptStats)
}
