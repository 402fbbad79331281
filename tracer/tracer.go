package tracer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

const (
	// pollInterval bounds how late a change is told. Programs wake the reader only
	// when a quarter of the ring is full.
	pollInterval = 5 * time.Millisecond
	// checkInterval is how often drops and recursion misses are looked at.
	checkInterval = 100 * time.Millisecond
	// refreshInterval is how often timewait sockets are asked whether they left
	// FIN_WAIT2, where no hook tells it.
	refreshInterval = 10 * time.Millisecond
	// DefaultRingBytes holds about 130,000 records, over half a second of 200,000
	// transitions a second.
	DefaultRingBytes = 16 << 20
	// DefaultReconcile is how often the table is compared with the kernel's when
	// nothing asks for it.
	DefaultReconcile = 30 * time.Second
	// processLimit is the number of processes remembered before idle ones are dropped.
	processLimit = 16384
)

// Options say what to trace. The zero value traces the caller's own network namespace.
type Options struct {
	NetnsPath string        // file of another network namespace, such as /run/netns/NAME
	AllNetns  bool          // trace every network namespace
	RingBytes int           // size of the ring buffer, a power of two; 0: DefaultRingBytes
	Reconcile time.Duration // between passes over the kernel's table; 0: DefaultReconcile; < 0: only after losses
	Hooks     []string      // kinds of hook to try ("tp_btf", "fentry", "kprobe", …); empty: all
	Logs      bool          // keep the verifier's log in load errors

	kallsyms string // the file of kernel symbols, for tests; empty: /proc/kallsyms
}

// Handler gets what the tracer has to tell, in order, from one goroutine.
type Handler interface {
	// Snapshot gets the initial table once, before any change. The rows are
	// in the kernel's order and valid during the call.
	Snapshot(rows []Conn, took time.Duration) error
	Change(*Change) error
	Lost(Lost) error
	Resync(Resync) error
	// Idle is called when everything that the kernel has told so far has been
	// handed over: the moment to flush.
	Idle() error
}

// Tracer is the stream of one run.
type Tracer struct {
	opts   Options
	hooks  *hooks
	reader *ringbuf.Reader
	table  *Table
	procs  *processes
	netns  uint32

	handler  Handler
	err      error // the first one of the handler
	ready    bool  // the snapshot was told
	closed   bool
	learning bool // the timer function of timewait sockets is not known yet
	held     []heldChange
	started  uint64

	passDone   chan error
	passing    bool
	passKind   passKind
	passRead   bool // the iterators are done
	passErr    error
	passAsked  bool // another pass is due
	rowsEnded  bool
	nextPass   uint64
	misses     [3]uint64 // of each of stateCopies, when all had grown
	stats      Stats
	lastWhole  uint64 // time until which nothing was lost
	drops      uint64
	dropBuffer []uint64
	nextCheck  uint64
	resyncAsk  chan struct{}

	twins       []streamEvent
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
	// Before 5.11 maps count against RLIMIT_MEMLOCK.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise RLIMIT_MEMLOCK: %w", err)
	}
	if err := t.openHooks(); err != nil {
		return nil, err
	}
	reader, err := ringbuf.NewReader(t.hooks.maps.Maps[streamMapEvents])
	if err != nil {
		t.hooks.close()
		return nil, fmt.Errorf("open the ring buffer: %w", err)
	}
	t.reader = reader
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

func (t *Tracer) findNetns() error {
	if t.opts.AllNetns {
		return nil
	}
	path := t.opts.NetnsPath
	if path == "" {
		path = "/proc/thread-self/ns/net"
	}
	inode, err := netnsInode(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	t.netns = inode
	return nil
}

func netnsInode(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return uint32(st.Ino), nil
}

// openHooks chooses the hooks, for a kernel that has the newer helpers first.
func (t *Tracer) openHooks() error {
	set := settings{
		netns:      t.netns,
		self:       uint32(os.Getpid()),
		wakeupAt:   uint64(t.opts.RingBytes) / 4,
		cookie:     true,
		taskBTF:    true,
		probe:      true,
		ringBytes:  t.opts.RingBytes,
		kinds:      t.opts.Hooks,
		verifyLogs: t.opts.Logs,
	}
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
	if err := t.tellTimers(h); err != nil {
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
	t.hooks = h
	return nil
}

// tellTimers tells the programs the timer functions of timewait and request
// sockets. Where kallsyms hides them they are learnt.
func (t *Tracer) tellTimers(h *hooks) error {
	kallsyms := t.opts.kallsyms
	if kallsyms == "" {
		kallsyms = "/proc/kallsyms"
	}
	tw, reqsk, err := timerFunctions(kallsyms)
	if err != nil {
		t.learning = true
		return nil
	}
	for name, address := range map[string]uint64{
		streamVarTwTimerHandler: tw, streamVarReqskTimerHandler: reqsk,
	} {
		if err := h.maps.Variables[name].Set(address); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// learn looks whether a pass has met a timewait socket, and with it the
// function of its timer.
func (t *Tracer) learn() {
	if !t.learning {
		return
	}
	var address uint64
	if err := t.hooks.maps.Variables[streamVarTwTimerHandler].Get(&address); err != nil {
		t.keep(fmt.Errorf("read %s: %w", streamVarTwTimerHandler, err))
		return
	}
	t.learning = address == 0
	t.table.learning = t.learning
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
		s.Queued = t.reader.AvailableBytes()
	}
	s.Table = t.table.Stats()
	return s
}

// Table gives the table. Not to be used while Run runs, except from its handler.
func (t *Tracer) Table() *Table { return t.table }

// Close detaches everything.
func (t *Tracer) Close() error {
	t.closed = true
	err := t.reader.Close()
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
	var (
		rec ringbuf.Record
		ev  Event
	)
	for t.err == nil {
		now := monotonic()
		if ctx.Err() != nil && !t.passing {
			return t.finish(&rec, &ev)
		}
		t.housekeep(now)
		t.reader.SetDeadline(time.Now().Add(pollInterval))
		before := monotonic()
		if err := t.drain(&rec, &ev); err != nil {
			return err
		}
		t.dry(before)
	}
	t.waitPass()
	return t.err
}

// drain reads until the ring is dry.
func (t *Tracer) drain(rec *ringbuf.Record, ev *Event) error {
	for t.err == nil {
		err := t.reader.ReadInto(rec)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		t.handle(rec.RawSample, ev)
		if rec.Remaining == 0 {
			return nil
		}
	}
	return nil
}

func (t *Tracer) handle(raw []byte, ev *Event) {
	t.stats.Events++
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

// dry is called when the ring has no more records. before is a moment at which
// the reading had not begun: everything older has been applied.
func (t *Tracer) dry(before uint64) {
	t.table.settle(before)
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

func (t *Tracer) finish(rec *ringbuf.Record, ev *Event) error {
	t.refreshMini()
	t.reader.SetDeadline(time.Now())
	if err := t.drain(rec, ev); err != nil {
		return err
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
		if t.ready && !t.passing && t.table.ownersDue(now) {
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
	if t.opts.Reconcile > 0 && now >= t.nextPass {
		t.passAsked = true
	}
	if t.table.wantPass {
		t.table.wantPass = false
		t.passAsked = true
	}
	if t.passAsked && !t.passing && t.ready {
		t.passAsked = false
		t.startPass(passResync)
	}
}

// refreshMini looks at timewait sockets in FIN_WAIT2, a part of them at a time:
// what it finds comes by the ring buffer.
func (t *Tracer) refreshMini() {
	if !t.table.refresh || len(t.table.finWait2) == 0 {
		return
	}
	refs := t.hooks.maps.Maps[streamMapMiniRefs]
	t.refs = t.table.nextFinWait2(t.refs[:0], int(refs.MaxEntries()))
	if len(t.refs) == 0 {
		return
	}
	keys := t.refKeys[:0]
	for i := range t.refs {
		keys = append(keys, uint32(i))
	}
	t.refKeys = keys
	if _, err := refs.BatchUpdate(keys, t.refs, nil); err != nil {
		t.keep(fmt.Errorf("name the timewait sockets to look at: %w", err))
		return
	}
	args := streamRefreshArgs{Count: uint32(len(t.refs))}
	if _, err := t.hooks.programs[streamProgMiniRefresh].Run(&ebpf.RunOptions{Context: args}); err != nil {
		t.keep(fmt.Errorf("look at timewait sockets: %w", err))
	}
}

// checkDrops tells what did not fit in the ring since it was last asked, and
// has the table read again.
func (t *Tracer) checkDrops(now uint64) {
	total := uint64(0)
	if err := t.hooks.maps.Maps[streamMapDrops].Lookup(uint32(0), &t.dropBuffer); err != nil {
		t.keep(fmt.Errorf("read the count of dropped events: %w", err))
		return
	}
	for _, n := range t.dropBuffer {
		total += n
	}
	if total > t.drops {
		lost := Lost{Stage: "ringbuf", Count: total - t.drops, Total: total, Since: t.lastWhole}
		t.drops = total
		t.keep(t.handler.Lost(lost))
		t.passAsked = true
	}
	t.lastWhole = now
}

// checkMisses has the table read again when every copy of the state program was
// skipped: then a transition may have been seen by none.
func (t *Tracer) checkMisses() {
	missed := true
	misses := t.misses
	for i, program := range stateCopies {
		misses[i] = t.recursionMisses(program)
		missed = missed && misses[i] > t.misses[i]
	}
	if missed {
		t.passAsked = true
		t.misses = misses
	}
}

// checkTwins takes the transitions that sock_ops saw, the state program did not,
// and no later one on the same CPU has brought to light.
func (t *Tracer) checkTwins(now uint64) {
	if t.hooks.chosen[SourcePort] != sockopsHook {
		return
	}
	if err := t.hooks.maps.Maps[streamMapTwins].Lookup(uint32(0), &t.twins); err != nil {
		t.keep(fmt.Errorf("read the transitions of sock_ops: %w", err))
		return
	}
	if len(t.twinsTaken) != len(t.twins) {
		t.twinsTaken = make([]uint64, len(t.twins))
	}
	for cpu := range t.twins {
		twin := &t.twins[cpu]
		if h := &twin.Head; h.Cookie == 0 || h.Time+uint64(pollInterval) > now || h.Time == t.twinsTaken[cpu] {
			continue
		}
		t.twinsTaken[cpu] = twin.Head.Time
		var e Event
		if err := decode(unsafe.Slice((*byte)(unsafe.Pointer(twin)), sizeEvent), &e); err == nil {
			t.table.apply(&e)
		}
	}
}

func (t *Tracer) recursionMisses(program string) uint64 {
	stats, err := t.hooks.programs[program].Stats()
	if err != nil {
		return 0 // not told before 5.12, and nothing is skipped before 6.1
	}
	return stats.RecursionMisses
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

// ---- passes ----

// passKind says what a pass over the kernel's table is for.
type passKind int

const (
	passInitial passKind = iota // the snapshot
	passResync                  // asked for, or after a loss
	passOwners                  // to find who accepted
)

func (t *Tracer) startPass(kind passKind) {
	if t.hooks.chosen[Rows] == "" {
		if kind == passInitial {
			t.keep(t.inNetns(t.procSnapshot))
		}
		t.nextPass = ^uint64(0)
		return
	}
	t.passing, t.rowsEnded, t.passKind = true, false, kind
	t.table.beginPass(monotonic(), kind == passInitial)
	go func() { t.passDone <- t.readRows(kind != passResync) }()
}

// inNetns runs f on a thread that is in the traced network namespace.
func (t *Tracer) inNetns(f func() error) error {
	if t.opts.NetnsPath == "" {
		return f()
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := enterNetns(t.opts.NetnsPath)
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// readRows runs the iterators; their rows come by the ring buffer. An iterator
// sees the network namespace of the thread that opens it.
func (t *Tracer) readRows(withFiles bool) error {
	if !t.opts.AllNetns {
		return t.inNetns(func() error { return t.runIters(withFiles) })
	}
	runtime.LockOSThread() // and the thread ends with this goroutine
	paths, err := netnsPaths()
	if err != nil {
		return err
	}
	for i, path := range paths {
		if err := enterNetns(path); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue // its last process ended meanwhile
			}
			return err
		}
		if err := t.runIters(withFiles && i == len(paths)-1); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tracer) runIters(withFiles bool) error {
	if err := t.runIter(streamProgRows); err != nil {
		return err
	}
	if withFiles && t.hooks.chosen[Files] != "" {
		return t.runIter(streamProgFiles)
	}
	return nil
}

func (t *Tracer) runIter(program string) error {
	iter, ok := t.hooks.links[program].(*link.Iter)
	if !ok {
		return fmt.Errorf("iterator %s is not attached", program)
	}
	r, err := iter.Open()
	if err != nil {
		return fmt.Errorf("open iterator %s: %w", program, err)
	}
	defer r.Close()
	buf := make([]byte, 4096)
	for {
		_, err := r.Read(buf)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, syscall.EAGAIN):
			time.Sleep(time.Millisecond) // the ring is full: let it be read
		case err != nil:
			return fmt.Errorf("read iterator %s: %w", program, err)
		}
	}
}

// endPass is called when the iterators are done and the ring was read dry since.
func (t *Tracer) endPass() {
	err := t.passErr
	t.passing, t.passRead = false, false
	initial := t.passKind == passInitial
	t.nextPass = monotonic() + uint64(max(t.opts.Reconcile, 0))
	if err != nil && initial {
		t.keep(err)
		return
	}
	if err != nil || !t.rowsEnded {
		t.table.abandonPass()
		t.passAsked = true
		return
	}
	t.learn()
	r, again := t.table.endPass(monotonic())
	t.passAsked = t.passAsked || again
	if initial {
		t.tellSnapshot()
		return
	}
	if t.passKind == passOwners && r == (Resync{}) {
		return
	}
	t.stats.Resyncs++
	t.keep(t.handler.Resync(r))
}

func (t *Tracer) tellSnapshot() {
	took := time.Duration(monotonic() - t.started)
	t.keep(t.handler.Snapshot(t.table.rows, took))
	t.table.rows = nil
	t.ready = true
	for i := range t.held {
		h := &t.held[i]
		h.change.Conn = &h.conn
		if h.change.Close != nil {
			h.change.Close = &h.closed
		}
		t.keep(t.handler.Change(&h.change))
	}
	t.held = nil
}

// waitPass lets a pass under way come to its end before the maps are closed.
func (t *Tracer) waitPass() {
	for t.passing {
		select {
		case err := <-t.passDone:
			t.passing = false
			t.keep(err)
		default:
			var rec ringbuf.Record
			t.reader.SetDeadline(time.Now().Add(pollInterval))
			if err := t.reader.ReadInto(&rec); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
		}
	}
}

func enterNetns(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}

// netnsPaths gives one file for each network namespace that a process lives in
// or that is mounted under /run/netns.
func netnsPaths() ([]string, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var candidates []string
	for _, d := range dirs {
		if name := d.Name(); name[0] >= '0' && name[0] <= '9' {
			candidates = append(candidates, "/proc/"+name+"/ns/net")
		}
	}
	if named, err := os.ReadDir("/run/netns"); err == nil {
		for _, d := range named {
			candidates = append(candidates, "/run/netns/"+d.Name())
		}
	}
	seen := make(map[uint32]bool)
	var paths []string
	for _, path := range candidates {
		inode, err := netnsInode(path)
		if err != nil || seen[inode] {
			continue // gone, or of a process that hides it
		}
		seen[inode] = true
		paths = append(paths, path)
	}
	return paths, nil
}
