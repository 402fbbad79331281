package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer"
)

// source is where a stream comes from: the tracer, or polling.
type source interface {
	Run(context.Context, tracer.Handler) error
}

// runStream streams the changes of TCP sockets, or with --doctor says what of
// that works here.
func runStream(e *env, o *options) error {
	netns, err := netnsPath(o.netns)
	if err != nil {
		return err
	}
	opts := tracer.Options{
		NetnsPath: netns,
		AllNetns:  o.allNetns,
		Family:    o.streamFamily(),
		RingBytes: o.ringSize,
		Reconcile: o.interval,
		Hooks:     o.hooks,
	}
	if o.doctor {
		return doctor(e, opts)
	}
	t, err := tracer.Open(opts)
	if err != nil {
		return pollInstead(e, o, err)
	}
	debug.SetGCPercent(gcPercentStart)
	runtime.GC()    // what opening needed, the kernel's types above all
	defer t.Close() // what it detaches is gone with the process anyway
	s := newStream(e, o, "bpf")
	s.stats = t.Stats
	for _, h := range t.Hooks() {
		if h.Chosen {
			s.start.Hooks = append(s.start.Hooks, string(h.Capability)+"="+h.Name)
		}
	}
	s.start.Inexact = inexact(t.Hooks())
	for _, what := range s.start.Inexact {
		fmt.Fprintf(e.stderr, "nettrace: %s (see nettrace --doctor)\n", what)
	}
	return s.run(t)
}

// streamFamily gives the one address family that the options ask for, or 0.
func (o *options) streamFamily() uint16 {
	switch sel := o.selectSockets(); {
	case sel.v4 && !sel.v6:
		return unix.AF_INET
	case sel.v6 && !sel.v4:
		return unix.AF_INET6
	}
	return 0
}

// pollInstead streams by polling where BPF cannot be used, and says so.
func pollInstead(e *env, o *options, why error) error {
	why = explain(why)
	if o.requireBPF {
		return why
	}
	if o.netns != "" || o.allNetns {
		return fmt.Errorf("%w; polling sees the current network namespace only", why)
	}
	fmt.Fprintf(e.stderr, "nettrace: %v\nnettrace: polling /proc every %v instead: short-lived connections will be missed\n",
		why, tracer.PollInterval)
	s := newStream(e, o, "poll")
	s.start.Inexact = []string{"short-lived connections are missed, and of several transitions in a second the last is told"}
	return s.run(tracer.Poller{Proc: o.procRoot, Family: o.streamFamily()})
}

// explain says of an error of opening the tracer which privilege is missing.
func explain(err error) error {
	if missing := missingCapabilities(); len(missing) > 0 && errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("%w: %s missing: run as root, or grant them with setcap", err, strings.Join(missing, ", "))
	}
	return err
}

// inexact lists what no hook that was tried can tell.
func inexact(hooks []tracer.Hook) []string {
	var order []tracer.Capability
	has := make(map[tracer.Capability]bool)
	for _, h := range hooks {
		if _, known := has[h.Capability]; !known {
			order = append(order, h.Capability)
		}
		has[h.Capability] = has[h.Capability] || h.Chosen
	}
	var without []string
	for _, c := range order {
		if !has[c] {
			without = append(without, "no hook for "+string(c)+": "+c.Inexact())
		}
	}
	return without
}

// netnsPath gives the file of a network namespace named on the command line: a
// name of ip-netns(8), a path or a process id.
func netnsPath(name string) (string, error) {
	switch {
	case name == "" || strings.Contains(name, "/"):
		return name, nil
	case isPID(name):
		return filepath.Join("/proc", name, "ns/net"), nil
	}
	path := filepath.Join("/run/netns", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no network namespace %q: %w (ip netns list names them)", name, err)
	}
	return path, nil
}

func isPID(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// stream is one run: it gets what the tracer tells and has it written.
type stream struct {
	env   *env
	opts  *options
	json  *output.NDJSON     // one of json
	text  *output.StreamText // and text is set
	start output.Start
	stats func() tracer.Stats // nil while polling

	out       uint64 // records told
	filtered  uint64
	told      int // transitions told, for --count
	nextStats time.Time
	nextClock time.Time
	lost      uint64
	poll      tracer.TableStats // counted here while polling
}

// Little is allocated but for the table, so memory matters more than collections:
// most for the initial table, which is as large as the host is busy; a table that
// grows later is marked over and over.
const (
	gcPercentStart = 10
	gcPercent      = 50
)

const (
	statsInterval = 30 * time.Second
	clockInterval = 10 * time.Second // the wall clock may be set or slewed
	flushAt       = 64 << 10         // bytes
)

var errDone = errors.New("the number of changes asked for was told")

func newStream(e *env, o *options, mode string) *stream {
	s := &stream{env: e, opts: o, start: startRecord(mode)}
	names := &output.Resolver{NumericHosts: true, NumericPorts: !o.resolve || o.numericPorts, NumericUsers: o.numericUsers}
	if o.json {
		s.json = newRecords(e, o, names, mode == "poll")
	} else {
		s.text = output.NewStreamText(e.stdout, names, time.Local)
		s.text.Extend, s.text.Cmdline, s.text.Netns = o.extend > 0, o.programs, o.allNetns
		if o.resolve && !o.numericHosts {
			s.text.Hosts = output.NewHostNames()
		}
	}
	s.setClock(time.Now())
	return s
}

func startRecord(mode string) output.Start {
	s := output.Start{Version: version, Mode: mode, Reason: "start", FileSeq: 1, Arch: runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				s.Commit = setting.Value
			}
		}
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		s.Kernel = unix.ByteSliceToString(uts.Release[:])
		s.Arch = unix.ByteSliceToString(uts.Machine[:])
	}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		s.BootID = strings.TrimSpace(string(id))
	}
	return s
}

// run streams until a signal, the time or the number of changes ends it.
func (s *stream) run(src source) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if s.opts.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.opts.duration)
		defer cancel()
	}
	if t, ok := src.(*tracer.Tracer); ok {
		usr := make(chan os.Signal, 1)
		signal.Notify(usr, syscall.SIGUSR1)
		defer signal.Stop(usr)
		go func() {
			for range usr {
				t.Resync()
			}
		}()
		defer close(usr)
	}
	if s.json != nil {
		s.json.Start(time.Now(), &s.start)
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.nextStats = time.Now().Add(statsInterval)
	err := src.Run(ctx, s)
	reason := "signal"
	switch {
	case errors.Is(err, errDone):
		reason, err = "count", nil
	case err != nil:
		reason = "error"
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		reason = "duration"
	}
	return errors.Join(err, s.stop(reason))
}

// stop tells that the stream ended, and what went through it.
func (s *stream) stop(reason string) error {
	totals := s.totals()
	if s.json != nil {
		s.json.Stop(time.Now(), &totals, reason)
		return s.flush()
	}
	err := s.flush()
	fmt.Fprintf(s.env.stderr, "nettrace: %d changes told, %d connections opened, %d closed, %d failed, %d open, %d events lost\n",
		s.told, totals.Opened, totals.Closed, totals.Failed, totals.Open, totals.LostRingbuf)
	return err
}

func (s *stream) totals() output.Totals {
	t := output.Totals{EventsOut: s.out, Filtered: s.filtered, LostRingbuf: s.lost, MemoryBytes: memoryBytes()}
	table := s.poll
	if s.stats != nil {
		st := s.stats()
		t.EventsIn = st.Events
		t.QueueBytes = uint64(max(st.Queued, 0))
		table = st.Table
	}
	t.Open, t.Opened, t.Closed, t.Failed = uint64(table.Open), table.Opened, table.Closed, table.Failed
	return t
}

// memoryBytes gives what the runtime holds of the system's memory. The package
// runtime/metrics would take a tenth of the start of every view.
func memoryBytes() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys - m.HeapReleased
}

func (s *stream) setClock(now time.Time) {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return // cannot fail for this clock
	}
	s.nextClock = now.Add(clockInterval)
	if s.json != nil {
		s.json.SetClock(uint64(ts.Nano()), now)
		return
	}
	s.text.SetClock(uint64(ts.Nano()), now)
}

// wanted reports whether the options ask for the connection. The source gives those
// of the families asked for alone.
func (s *stream) wanted(c *tracer.Conn) bool {
	return s.opts.shows(c.Remote.Port() == 0)
}

// Snapshot tells the initial table.
func (s *stream) Snapshot(rows iter.Seq[*tracer.Conn], took time.Duration) error {
	defer debug.SetGCPercent(gcPercent)
	if s.json == nil {
		return s.table(rows)
	}
	now := time.Now()
	n := 0
	for row := range rows {
		if !s.wanted(row) {
			continue
		}
		n++
		s.out++
		s.json.Conn(now, row)
		if err := s.flushIfFull(); err != nil {
			return err
		}
	}
	s.json.SnapshotEnd(now, n, took)
	return s.flush()
}

// Change tells a transition or a close.
func (s *stream) Change(c *tracer.Change) error {
	if !s.wanted(c.Conn) {
		s.filtered++
		return nil
	}
	if c.Kind == tracer.ChangeState {
		if s.opts.count > 0 && s.told >= s.opts.count {
			return errDone
		}
		s.told++
	}
	s.out++
	if s.json != nil {
		s.json.Change(c)
	} else {
		s.text.Change(c)
	}
	return s.flushIfFull()
}

// Lost tells of events that were not delivered.
func (s *stream) Lost(l tracer.Lost) error {
	s.lost = l.Total
	if s.json != nil {
		s.json.Lost(time.Now(), &l)
		return nil
	}
	fmt.Fprintf(s.env.stderr, "nettrace: %d events lost in the kernel's ring buffer; reading the table again (a larger --ring-size helps)\n", l.Count)
	return nil
}

// Resync tells what a comparison with the kernel's table found.
func (s *stream) Resync(r tracer.Resync) error {
	if s.json != nil {
		s.json.Resync(time.Now(), r)
	}
	return nil
}

// Idle flushes: nothing more has happened so far.
func (s *stream) Idle() error {
	now := time.Now()
	if now.After(s.nextClock) {
		s.setClock(now)
	}
	if s.json != nil && now.After(s.nextStats) {
		s.nextStats = now.Add(statsInterval)
		totals := s.totals()
		s.json.Stats(now, &totals)
	}
	if err := s.flush(); err != nil {
		return err
	}
	if s.opts.count > 0 && s.told >= s.opts.count {
		return errDone
	}
	return nil
}

func (s *stream) flushIfFull() error {
	if s.json != nil && s.json.Buffered() < flushAt || s.text != nil && s.text.Buffered() < flushAt {
		return nil
	}
	return s.flush()
}

func (s *stream) flush() error {
	var err error
	if s.json != nil {
		err = s.json.Flush()
	} else {
		err = s.text.Flush()
	}
	return errors.Join(err, s.env.stdout.Flush())
}
