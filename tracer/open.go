package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

const (
	// DefaultRingBytes holds about 140,000 records: those of 8,000 connections, both
	// ends, that come while the reader gets no turn. It counts as resident memory.
	DefaultRingBytes = 16 << 20
	// DefaultReconcile is how often the table is compared with the kernel's when
	// nothing asks for it.
	DefaultReconcile = 5 * time.Minute
	// processLimit is the number of processes remembered before idle ones are dropped.
	processLimit = 16384
)

// Options say what to trace. The zero value traces the caller's own network namespace.
type Options struct {
	NetnsPath string              // file of another network namespace, such as /run/netns/NAME
	AllNetns  bool                // trace every network namespace
	Protocols Protocols           // whose sockets to trace; 0: TCP's
	Family    uint16              // AF_INET or AF_INET6: trace its sockets alone; 0: both
	Condition *snapshot.Condition // sockets that do not fulfil it are not traced; nil: all are
	RingBytes int                 // size of the ring buffer, a power of two; 0: DefaultRingBytes
	Reconcile time.Duration       // between scans of the kernel's table; 0: DefaultReconcile; < 0: only after losses
	Hooks     []string            // kinds of hook to try ("tp_btf", "fentry", "kprobe", …); empty: all
	Logs      bool                // keep the verifier's log in load errors
	Proc      string              // root of the proc file system; empty: /proc
	NoOwners  bool                // no owners but those that the calls themselves show
	Closes    Closes              // the handler is told closes alone, if the kernel side can keep what leads to them

	// For tests:
	kallsyms string // the file of kernel symbols; empty: /proc/kallsyms
	countAll bool   // count in the kernel the records that are sent
	onRecord func(raw []byte)
	idle     time.Duration // instead of idleInterval
}

// ErrNoStream is returned by Open when the hook for transitions, without which
// there is no stream, cannot be attached.
var ErrNoStream = errors.New("cannot trace sock:inet_sock_set_state")

// Open loads and attaches the hooks. Events queue up from here on; Run reads them.
// It needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN); the error says what is missing.
func Open(opts Options) (*Tracer, error) {
	t := &Tracer{opts: opts}
	t.opts.RingBytes = cmp.Or(opts.RingBytes, DefaultRingBytes)
	t.opts.Reconcile = cmp.Or(opts.Reconcile, DefaultReconcile)
	t.opts.Proc = cmp.Or(opts.Proc, "/proc")
	t.opts.Protocols = cmp.Or(opts.Protocols, TCP)
	t.scan = newScan(t.opts.Reconcile)
	var err error
	if t.scope, err = newScope(&t.opts); err != nil {
		return nil, err
	}
	raiseMemlock()
	if err := t.openHooks(); err != nil {
		return nil, errors.Join(err, t.scope.close())
	}
	if err := t.openRing(); err != nil {
		t.hooks.close()
		return nil, errors.Join(fmt.Errorf("open the ring buffer: %w", err), t.scope.close())
	}
	t.procs = table.NewProcesses(processLimit, t.hooks.processReader(t.opts.Proc), func(task uint32) {
		// One that is not there needs no deleting.
		_ = t.hooks.maps.Maps[streamMapProcesses].Delete(task)
	})
	t.table = table.New(t.tableConfig(), t.procs, t.out.change)
	t.scan.rows = newRowReader(&t.scope, opts.Family, t.hooks.chosen[Rows] != "")
	t.sockets = newSockets(t.hooks, t.procs, &t.out)
	t.scan.rows.unixIter = t.hooks.unixIter()
	t.losses, t.witness = newLosses(t.hooks), newWitness(t.hooks)
	return t, nil
}

// openRing opens the ring buffer, and what else is mapped.
func (t *Tracer) openRing() (err error) {
	t.pace.idle = cmp.Or(t.opts.idle, idleInterval)
	if t.pace.bed, err = makeBed(t.hooks.maps.Maps[streamMapReader]); err != nil {
		return err
	}
	if t.refresher, err = openRefresher(t.hooks); err != nil {
		return errors.Join(err, t.pace.bed.close())
	}
	if t.kept, err = openKept(t.hooks); err != nil {
		return errors.Join(err, t.refresher.close(), t.pace.bed.close())
	}
	t.pace.poll = t.kept.pollInterval()
	if t.ring, err = openRing(t.hooks.maps.Maps[streamMapEvents], t.pace.bed); err != nil {
		return errors.Join(err, t.kept.lives.close(), t.refresher.close(), t.pace.bed.close())
	}
	return nil
}

// processReader returns what reads the rest of a process that is known by an open file.
func (h *hooks) processReader(proc string) func(*snapshot.Process, uint64) {
	if h.set.noOwners {
		return func(*snapshot.Process, uint64) {}
	}
	return h.set.pids.reader(proc)
}

// tableConfig says what the chosen hooks report.
func (t *Tracer) tableConfig() table.Config {
	chosen := t.hooks.chosen
	return table.Config{
		ReportsPort:  chosen[SourcePort] != "",
		LateConnects: t.hooks.reportsConnects(),
		CanScan:      true,
		LateCookies:  !t.hooks.set.cookie,
		SeekOwners:   chosen[Acceptor] == "" && chosen[Files] != "",
		RealTime:     realTime("/sys/kernel/realtime"),
		RefreshMinis: chosen[Substate] == refreshHook,
		UnseenMinis:  chosen[MiniSockets] == "",
		OwnersByUse:  chosen[Acceptor] == "",
		Resets:       chosen[Resets] != "",
		Connects:     chosen[Connects] != "",
		Condition:    t.opts.Condition,
		Keeping: table.Keeping{
			Kept:  t.kept.keeps(),
			Since: t.hooks.since,
			Fails: t.hooks.set.closes == FailedCloses,
		},
	}
}

// openHooks loads and attaches the best hook of each capability. Where those for closes
// alone do not serve, all transitions are traced.
func (t *Tracer) openHooks() error {
	set := t.settings()
	var err error
	if set.wanted, err = newWanted(t.opts.Condition); err != nil {
		return err
	}
	if set.closes != AllChanges && set.protocols.Others() == 0 {
		if t.hooks, err = hooksFor(&t.opts, set); err == nil && t.hooks.keepsCloses() {
			return nil
		} else if err == nil {
			t.hooks.close()
		}
	}
	set.closes = AllChanges
	t.hooks, err = hooksFor(&t.opts, set)
	return err
}

// hooksFor loads and attaches the hooks for some settings.
func hooksFor(opts *Options, set settings) (*hooks, error) {
	h, err := newHooks(set)
	if err != nil {
		return nil, err
	}
	var found <-chan timers // nil: not needed
	if opts.Protocols.Has(TCP) {
		found = findTimers(h, cmp.Or(opts.kallsyms, opts.Proc+"/kallsyms"))
	}
	if h.set.pids, err = findPidspace(h, opts.Proc); err != nil {
		h.close()
		return nil, fmt.Errorf("pid namespace: %w", err)
	}
	if err := chooseHooks(h, found); err != nil {
		h.close()
		return nil, err
	}
	h.since = monotonic()
	h.releaseTypes()
	return h, nil
}

// settings are those for a kernel that has the newer helpers.
func (t *Tracer) settings() settings {
	return settings{
		extent: extent{
			netns:       t.scope.inode,
			netnsCookie: t.scope.cookie(),
			family:      t.opts.Family,
			protocols:   t.opts.Protocols,
		},
		wakeupAt:   uint64(t.opts.RingBytes) / 4,
		helpers:    helpers{cookie: true, taskBTF: true, probe: true},
		countAll:   t.opts.countAll,
		ringBytes:  t.opts.RingBytes,
		kinds:      t.opts.Hooks,
		verifyLogs: t.opts.Logs,
		wishes:     wishes{noOwners: t.opts.NoOwners, closes: t.opts.Closes},
	}
}

// chooseHooks chooses the hooks of what is traced.
func chooseHooks(h *hooks, timers <-chan timers) error {
	var err error
	if h.set.protocols.Has(TCP) {
		err = chooseTCP(h, timers)
	} else {
		err = findAbilities(h)
	}
	if err != nil {
		return err
	}
	chooseSockets(h)
	return nil
}

// chooseTCP chooses the hooks of TCP, in an order in which each finds what it needs: the
// programs for mini-sockets need the timer functions, for one.
func chooseTCP(h *hooks, timers <-chan timers) error {
	if err := chooseTransitions(h); err != nil {
		return err
	}
	if err := (<-timers).write(h); err != nil {
		return err
	}
	h.choose(MiniSockets)
	if h.set.closes == AllChanges {
		h.choose(SourcePort, Acceptor, Closer, Resets)
	} else {
		h.choose(Acceptor, Resets) // the end has the port, and tells no inode
	}
	if h.chosen[MiniSockets] != "" {
		h.choose(Substate, TimewaitEnd)
	}
	h.choose(Rows)
	if h.set.pids.whole && !h.set.noOwners {
		h.choose(Files)
	}
	h.choose(Connects) // which reads by probe too
	for variable, is := range map[string]bool{
		streamVarConnectReported: h.reportsConnects(),
		streamVarOwnerByUse:      h.chosen[Acceptor] == "",
		streamVarSockopsAttached: h.hasSockops(),
		streamVarPortReported:    h.chosen[SourcePort] != "" || h.set.closes != AllChanges,
	} {
		if !is {
			continue
		}
		if err := h.maps.Variables[variable].Set(true); err != nil {
			return fmt.Errorf("set %s: %w", variable, err)
		}
	}
	return nil
}

// lesser are the settings that are tried where the kernel takes no program with the best
// ones: without probe reads, as under lockdown, and then without the newer helpers.
var lesser = []func(*settings){
	func(s *settings) { s.probe = false },
	func(s *settings) { s.probe, s.cookie, s.taskBTF = true, false, false },
}

// findAbilities finds the settings that the kernel takes, where no hook of TCP does: it
// loads a program, and keeps nothing of it.
func findAbilities(h *hooks) error {
	program := []string{streamProgStateA}
	first := h.load(program)
	err := first
	for _, without := range lesser {
		if err == nil {
			break
		}
		without(&h.set)
		err = h.load(program)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoStream, first)
	}
	h.drop(program)
	return nil
}

// chooseTransitions chooses the hook for transitions. Where it does not load, it is
// tried with lesser settings; if that fails too, the first error is returned.
func chooseTransitions(h *hooks) error {
	h.choose(Transitions)
	first := h.tried[0].Err
	for _, without := range lesser {
		if h.chosen[Transitions] != "" || errors.Is(first, errLeftOut) {
			break
		}
		h.tried = nil
		without(&h.set)
		h.choose(Transitions)
	}
	if h.chosen[Transitions] == "" {
		return fmt.Errorf("%w: %w", ErrNoStream, first)
	}
	return nil
}

// raiseMemlock lets maps be as large as they need to be: before 5.11 they count
// against RLIMIT_MEMLOCK. Where that is refused they may fit nevertheless; if
// not, loading them fails. The library has a function for it, in a package that
// probes the kernel at the start of every program it is linked into.
func raiseMemlock() {
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
}
