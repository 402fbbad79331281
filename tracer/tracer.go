package tracer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pollInterval bounds how late a change is told. Programs wake the reader only
	// when a quarter of the ring is full.
	pollInterval = 5 * time.Millisecond
	// startInterval is the same while the initial table is read.
	startInterval = time.Millisecond
	// checkInterval is how often drops and recursion misses are looked at.
	checkInterval = 100 * time.Millisecond
	// refreshInterval is how often timewait sockets are asked whether they left
	// FIN_WAIT2, where no hook tells it.
	refreshInterval = 10 * time.Millisecond
	// Between the passes that the table wants for its own questions lies at least
	// ownPassInterval, and ownPassRest times what the last one took.
	ownPassInterval = 500 * time.Millisecond
	ownPassRest     = 50
	// healDelay is between a loss and the pass that mends it, whose rows would find
	// the ring full too, and be lost labour if it goes on.
	healDelay = 500 * time.Millisecond
	// DefaultRingBytes holds about 75,000 records, a third of a second of 200,000
	// transitions a second. It is mapped twice, so it counts twice as resident.
	DefaultRingBytes = 8 << 20
	// DefaultReconcile is how often the table is compared with the kernel's when
	// nothing asks for it. Not often: see "What a pass risks" in ARCHITECTURE.md.
	DefaultReconcile = 5 * time.Minute
	// processLimit is the number of processes remembered before idle ones are dropped.
	processLimit = 16384
)

// Options say what to trace. The zero value traces the caller's own network namespace.
type Options struct {
	NetnsPath string        // file of another network namespace, such as /run/netns/NAME
	AllNetns  bool          // trace every network namespace
	Family    uint16        // AF_INET or AF_INET6: trace its sockets alone; 0: both
	RingBytes int           // size of the ring buffer, a power of two; 0: DefaultRingBytes
	Reconcile time.Duration // between passes over the kernel's table; 0: DefaultReconcile; < 0: only after losses
	Hooks     []string      // kinds of hook to try ("tp_btf", "fentry", "kprobe", …); empty: all
	Logs      bool          // keep the verifier's log in load errors

	// For tests:
	kallsyms string // the file of kernel symbols; empty: /proc/kallsyms
	countAll bool   // count in the kernel the records that are sent
}

// Handler gets what the tracer has to tell, in order, from one goroutine.
type Handler interface {
	// Snapshot gets the initial table once, before any change, in the kernel's
	// order. It may be gone over again during the call; each row is valid until
	// the next one.
	Snapshot(rows iter.Seq[*Conn], took time.Duration) error
	Change(*Change) error
	Lost(Lost) error
	Resync(Resync) error
	// Idle is called when everything that the kernel has told so far has been
	// handed over: the moment to flush.
	Idle() error
}

// Tracer is the stream of one run.
type Tracer struct {
	opts  Options
	hooks *hooks
	ring  *ring
	event Event // that is handled, one after another
	table *Table
	procs *processes
	netns uint32

	handler  Handler
	err      error // the first one of the handler
	ready    bool  // the snapshot was told
	closed   bool
	learning bool // the timer function of timewait sockets is not known yet
	held     []heldChange
	started  uint64

	passDone    chan error
	passing     bool
	passKind    passKind
	passRead    bool // the iterators are done
	passErr     error
	passAsked   bool   // another pass is due
	healAt      uint64 // when one is due for what was lost; 0: nothing was
	questions   int    // times that lastQuestions was asked
	rowsEnded   bool
	nextPass    uint64
	nextOwnPass uint64    // before that the table gets no pass for its own questions
	misses      [3]uint64 // of each of stateCopies, when all had grown
	stats       Stats
	drained     uint64 // time until which all that was written to the ring is applied
	lastWhole   uint64 // time until which nothing was lost
	drops       uint64
	countBuffer []uint64 // of each CPU
	nextCheck   uint64
	resyncAsk   chan struct{}

	twins       []streamEvent
	twinsAgain  []streamEvent
	twinsTaken  []uint64 // time of the last one taken, by CPU
	nextRefresh uint64
	refs        []streamMiniRef
	refKeys     []uint32
}

// heldChange is a change that waits for the initial table.
type heldChange struct {
	change Change
	conn   Conn
	closed Closed
}

// Stats counts what went through the tracer.
type Stats struct {
	Events    uint64 // records read
	Undecoded uint64 // records that could not be read
	Dropped   uint64 // records that did not fit in the ring
	Queued    int    // bytes in the ring that were not read yet
	Resyncs   uint64
	Table     TableStats
}

// Open loads and attaches the hooks. Events queue up from here on; Run reads them.
// It needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN); the error says what is missing.
func Open(opts Options) (*Tracer, error) {
	t := &Tracer{opts: opts, passDone: make(chan error, 1), resyncAsk: make(chan struct{}, 1)}
	if opts.RingBytes == 0 {
		t.opts.RingBytes = DefaultRingBytes
	}
	if opts.Reconcile == 0 {
		t.opts.Reconcile = DefaultReconcile
	}
	if err := t.findNetns(); err != nil {
		return nil, err
	}
	raiseMemlock()
	if err := t.openHooks(); err != nil {
		return nil, err
	}
	ring, err := openRing(t.hooks.maps.Maps[streamMapEvents])
	if err != nil {
		t.hooks.close()
		return nil, fmt.Errorf("open the ring buffer: %w", err)
	}
	t.ring = ring
	t.procs = newProcesses(processLimit, func(pid uint32) {
		// Not there is as good as deleted.
		_ = t.hooks.maps.Maps[streamMapProcesses].Delete(pid)
	})
	t.table = newTable(t.procs, t.tellChange)
	t.table.holdPorts = t.hooks.chosen[SourcePort] != ""
	t.table.canPass = t.hooks.chosen[Rows] != ""
	t.table.seekOwners = t.hooks.chosen[Acceptor] == "" && t.hooks.chosen[Rows] != "" && t.hooks.chosen[Files] != ""
	t.table.learning = t.learning && t.table.canPass
	t.table.refresh = t.hooks.chosen[Substate] == refreshHook
	t.lastWhole = monotonic()
	return t, nil
}

// openHooks chooses the hooks, for a kernel that has the newer helpers first.
func (t *Tracer) openHooks() error {
	set := settings{
		netns:      t.netns,
		family:     t.opts.Family,
		self:       uint32(os.Getpid()),
		wakeupAt:   uint64(t.opts.RingBytes) / 4,
		cookie:     true,
		taskBTF:    true,
		probe:      true,
		countAll:   t.opts.countAll,
		ringBytes:  t.opts.RingBytes,
		kinds:      t.opts.Hooks,
		verifyLogs: t.opts.Logs,
	}
	timers := t.findTimers()
	h, err := newHooks(set)
	if err != nil {
		return err
	}
	h.choose(Transitions)
	if h.chosen[Transitions] == "" && !errors.Is(h.tried[0].Err, errLeftOut) {
		first := h.tried[0].Err
		h.tried = nil
		h.set.cookie, h.set.taskBTF = false, false
		h.choose(Transitions)
		if h.chosen[Transitions] == "" {
			h.tried[0].Err = first
		}
	}
	if h.chosen[Transitions] == "" {
		err := h.tried[0].Err
		h.close()
		return fmt.Errorf("%w: %w", ErrNoStream, err)
	}
	if err := t.tellTimers(h, <-timers); err != nil {
		h.close()
		return err
	}
	h.choose(MiniSockets)
	h.choose(SourcePort, Acceptor, Closer)
	if h.chosen[MiniSockets] != "" {
		h.choose(Substate)
	}
	h.choose(Rows)
	if h.chosen[Rows] == "" {
		h.set.probe = false
		h.choose(Rows)
	}
	h.choose(Files)
	if h.chosen[Acceptor] == "" {
		if err := h.maps.Variables[streamVarOwnerByUse].Set(true); err != nil {
			h.close()
			return fmt.Errorf("set %s: %w", streamVarOwnerByUse, err)
		}
	}
	if h.chosen[SourcePort] == sockopsHook {
		if err := h.maps.Variables[streamVarWatched].Set(true); err != nil {
			h.close()
			return fmt.Errorf("set %s: %w", streamVarWatched, err)
		}
	}
	h.spec, h.btf = nil, nil // what loading needed is larger than the table of a busy host
	t.hooks = h
	return nil
}

// ErrNoStream is returned by Open when the hook for transitions, without which
// there is no stream, cannot be attached.
var ErrNoStream = errors.New("cannot trace sock:inet_sock_set_state")

// Hooks tells every hook that was tried and what came of it.
func (t *Tracer) Hooks() []Hook { return slices.Clone(t.hooks.tried) }

// Netns gives the inode of the namespace that is traced; 0: all of them.
func (t *Tracer) Netns() uint32 { return t.netns }

// Stats gives the counters. Not to be called while Run runs, except from its handler.
func (t *Tracer) Stats() Stats {
	s := t.stats
	s.Dropped = t.drops
	if !t.closed {
		s.Queued = t.ring.queued()
	}
	s.Table = t.table.Stats()
	return s
}

// Table gives the table. Not to be used while Run runs, except from its handler.
func (t *Tracer) Table() *Table { return t.table }

// Close detaches everything.
func (t *Tracer) Close() error {
	t.closed = true
	err := t.ring.close()
	t.hooks.close()
	return err
}

// Resync asks for a comparison with the kernel's table.
func (t *Tracer) Resync() {
	select {
	case t.resyncAsk <- struct{}{}:
	default:
	}
}

// monotonic gives the clock of bpf_ktime_get_ns, in ns.
func monotonic() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // cannot fail for this clock
	}
	return uint64(ts.Nano())
}

// Run reads the stream until ctx is done, then hands over what is left in the
// ring and returns nil. An error of the handler ends it too.
func (t *Tracer) Run(ctx context.Context, h Handler) error {
	t.handler = h
	t.started = monotonic()
	t.startPass(passInitial)
	for t.err == nil {
		now := monotonic()
		if ctx.Err() != nil && !t.passing && !t.lastQuestions(now) {
			return t.finish()
		}
		t.housekeep(now)
		pause := pollInterval
		if !t.ready {
			pause = startInterval
		}
		if err := t.ring.wait(pause); err != nil {
			return fmt.Errorf("wait for the ring buffer: %w", err)
		}
		if err := t.drain(); err != nil {
			return err
		}
		t.dry()
	}
	t.waitPass()
	return t.err
}

// drain handles what is in the ring.
func (t *Tracer) drain() error {
	t.drained = monotonic()
	err := t.ring.drain(func(record []byte) bool {
		t.handle(record)
		return t.err == nil
	})
	if err != nil {
		return fmt.Errorf("read the ring buffer: %w", err)
	}
	return nil
}

func (t *Tracer) handle(raw []byte) {
	t.stats.Events++
	ev := &t.event
	if err := decode(raw, ev); err != nil {
		t.stats.Undecoded++
		return
	}
	if ev.Kind == EventRowsEnd {
		t.rowsEnded = true
		return
	}
	if ev.Kind == EventProcess {
		ev.Process.Exe = readExe(ev.PID)
	}
	if ev.Kind == EventMissed && slices.Contains(t.twinsTaken, ev.Time) {
		return
	}
	t.table.apply(ev)
}

// dry is called when the ring was drained.
func (t *Tracer) dry() {
	t.table.settle(t.drained)
	if t.passRead {
		t.endPass()
	}
	select {
	case t.passErr = <-t.passDone:
		t.passRead = true // its last rows may have come after the ring was dry
	default:
	}
	if t.ready {
		t.keep(t.handler.Idle())
	}
}

// lastQuestions has what is not known yet looked up before the end: first what
// only sock_ops saw, then by a pass what that left in doubt. It reports whether
// there is something to wait for, and is asked again when there is not.
func (t *Tracer) lastQuestions(now uint64) bool {
	t.questions++
	switch {
	case t.questions == 1:
		t.keep(t.drain())
		t.checkTwins(now + uint64(pollInterval))
		return true
	case t.questions == 2 && len(t.table.doubted) > 0:
		t.startPass(passResync)
		return true
	}
	return false
}

func (t *Tracer) finish() error {
	// Every timewait socket in FIN_WAIT2 is looked at, a part of them at a time.
	for range t.refreshRounds() {
		t.refreshMini()
		if err := t.drain(); err != nil {
			return err
		}
	}
	t.table.settle(monotonic() + dyingGrace)
	t.checkDrops(monotonic())
	t.keep(t.handler.Idle())
	return t.err
}

// housekeep looks after drops, misses and the passes that are due.
func (t *Tracer) housekeep(now uint64) {
	if now >= t.nextCheck {
		t.nextCheck = now + uint64(checkInterval)
		t.checkDrops(now)
		t.checkMisses()
		t.checkTwins(now)
		t.procs.trim()
		if t.ready && !t.passing && now >= t.nextOwnPass && t.table.ownersDue(now) {
			t.startPass(passOwners)
		}
	}
	if now >= t.nextRefresh {
		t.nextRefresh = now + uint64(refreshInterval)
		t.refreshMini()
	}
	select {
	case <-t.resyncAsk:
		t.passAsked = true
	default:
	}
	if t.healAt != 0 && now >= t.healAt {
		t.healAt = 0
		t.passAsked = true
	}
	if t.opts.Reconcile > 0 && now >= t.nextPass {
		t.passAsked = true
	}
	if t.table.wantPass && now >= t.nextOwnPass {
		t.table.wantPass = false
		t.passAsked = true
	}
	if t.passAsked && !t.passing && t.ready {
		t.passAsked = false
		t.startPass(passResync)
	}
}

func (t *Tracer) keep(err error) {
	if t.err == nil {
		t.err = err
	}
}

// tellChange hands a change over, or holds it until the initial table was told.
func (t *Tracer) tellChange(c *Change) {
	if t.ready {
		t.keep(t.handler.Change(c))
		return
	}
	held := heldChange{change: *c, conn: *c.Conn}
	if c.Close != nil {
		held.closed = *c.Close
	}
	t.held = append(t.held, held)
}

// raiseMemlock lets maps be as large as they need to be: before 5.11 they count
// against RLIMIT_MEMLOCK. Where that is refused they may fit nevertheless; if
// not, loading them tells. The library has a function for it, in a package that
// probes the kernel at the start of every program it is linked into.
func raiseMemlock() {
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
}
