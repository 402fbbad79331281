package tracer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Capability is something that the stream can tell, by whichever hook loads.
type Capability string

// The capabilities.
const (
	Transitions Capability = "transitions"
	SourcePort  Capability = "source-port"
	MiniSockets Capability = "mini-sockets"
	Substate    Capability = "timewait-substate"
	Acceptor    Capability = "acceptor"
	Closer      Capability = "closer"
	Rows        Capability = "rows"
	Files       Capability = "files"
)

// Hook is one way to a capability, and what came of trying it.
type Hook struct {
	Capability Capability
	Name       string // kind/function, as in the program's section
	Chosen     bool   // attached and in use
	Err        error  // why it is not; nil for one that was not needed
}

// candidate is a hook before it was tried.
type candidate struct {
	name     string
	programs []string // attached in this order
	attach   func(*ebpf.Program) (io.Closer, error)
}

// ladder lists the hooks of a capability, best first, and what is inexact
// without any of them.
type ladder struct {
	capability Capability
	without    string
	hooks      []candidate
}

// stateCopies are the copies of the state program, in the order they must run in.
var stateCopies = []string{streamProgStateA, streamProgStateB, streamProgStateC}

var ladders = []ladder{
	{Transitions, "no stream: the table is polled", []candidate{
		{"tp_btf/inet_sock_set_state", stateCopies, attachTracing},
	}},
	{SourcePort, "SYN_SENT has no local port until the next event", []candidate{
		{"fentry/tcp_connect", []string{streamProgConnectFentry, streamProgListenFexit}, attachTracing},
		{"kprobe/tcp_connect", []string{streamProgConnectKprobe}, attachKprobe("tcp_connect")},
		{sockopsHook, []string{streamProgConnectSockops}, attachCgroup(ebpf.AttachCGroupSockOps)},
	}},
	{MiniSockets, "TIME_WAIT and SYN_RECV are known from reconciliation only", []candidate{
		{"tp_btf/timer_start", []string{streamProgMiniBorn, streamProgMiniGone}, attachTracing},
	}},
	{Substate, "FIN_WAIT2 -> TIME_WAIT of a closed socket is known from reconciliation only", []candidate{
		{"fentry/__inet_twsk_schedule", []string{streamProgMiniState}, attachTracing},
		{refreshHook, []string{streamProgMiniRefresh}, attachNothing},
		// The last, as the kernel skips a kprobe that interrupts another one's program.
		{"kprobe/__inet_twsk_schedule", []string{streamProgMiniStateKprobe}, attachKprobe("__inet_twsk_schedule")},
	}},
	{Acceptor, "an accepted connection is attributed to its listener's process until its own uses it", []candidate{
		{"fexit/__inet_accept", []string{streamProgAcceptFexit}, attachTracing},
		{"fexit/inet_accept", []string{streamProgAcceptFexitOld}, attachTracing},
		{"kretprobe/inet_csk_accept", []string{streamProgAcceptKretprobe}, attachKretprobe("inet_csk_accept")},
	}},
	{Closer, "the inode of a closed socket is late", []candidate{
		{"fentry/tcp_close", []string{streamProgCloseFentry}, attachTracing},
		{"cgroup/sock_release", []string{streamProgCloseCgroup}, attachCgroup(ebpf.AttachCgroupInetSockRelease)},
	}},
	{Rows, "the snapshot is read from /proc, and nothing is reconciled", []candidate{
		{"iter/tcp", []string{streamProgRows}, attachIter},
	}},
	{Files, "owners of sockets opened earlier are searched in /proc", []candidate{
		{"iter/task_file", []string{streamProgFiles}, attachIter},
	}},
}

// Inexact says what is not exact without any hook for the capability.
func (c Capability) Inexact() string {
	for _, l := range ladders {
		if l.capability == c {
			return l.without
		}
	}
	return ""
}

func attachTracing(p *ebpf.Program) (io.Closer, error) {
	return link.AttachTracing(link.TracingOptions{Program: p})
}

// sockopsHook also sees the transitions, a second witness for the table.
const sockopsHook = "sockops/tcp_connect"

// refreshHook stands for a program that is run by us, not by the kernel.
const refreshHook = "syscall/refresh"

func attachNothing(*ebpf.Program) (io.Closer, error) { return io.NopCloser(nil), nil }

func attachIter(p *ebpf.Program) (io.Closer, error) {
	return link.AttachIter(link.IterOptions{Program: p})
}

func attachKprobe(symbol string) func(*ebpf.Program) (io.Closer, error) {
	return func(p *ebpf.Program) (io.Closer, error) { return link.Kprobe(symbol, p, nil) }
}

func attachKretprobe(symbol string) func(*ebpf.Program) (io.Closer, error) {
	return func(p *ebpf.Program) (io.Closer, error) { return link.Kretprobe(symbol, p, nil) }
}

func attachCgroup(at ebpf.AttachType) func(*ebpf.Program) (io.Closer, error) {
	return func(p *ebpf.Program) (io.Closer, error) {
		root, err := cgroupRoot("/proc/self/mountinfo")
		if errors.Is(err, errNoCgroup2) { // ip netns exec hides it
			var fd int
			if fd, err = mountCgroup(); err == nil {
				defer unix.Close(fd)
				root = "/proc/self/fd/" + strconv.Itoa(fd)
			}
		}
		if err != nil {
			return nil, err
		}
		return link.AttachCgroup(link.CgroupOptions{Path: root, Attach: at, Program: p})
	}
}

// cgroupRoot finds where the cgroup v2 hierarchy is mounted.
func cgroupRoot(mountinfo string) (string, error) {
	b, err := os.ReadFile(mountinfo)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		// "36 35 98:0 / MOUNTPOINT options - TYPE source …", proc(5)
		before, after, found := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if found && len(fields) > 4 && fields[3] == "/" && strings.HasPrefix(after, "cgroup2 ") {
			return fields[4], nil
		}
	}
	return "", errNoCgroup2
}

var errNoCgroup2 = errors.New("no cgroup v2 hierarchy is mounted")

// mountCgroup mounts the cgroup v2 hierarchy where nobody sees it and gives a
// descriptor of its root.
func mountCgroup() (int, error) {
	fs, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mount the cgroup v2 hierarchy: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("mount the cgroup v2 hierarchy: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("mount the cgroup v2 hierarchy: %w", err)
	}
	return fd, nil
}

// timerFunctions finds the timer functions in kallsyms. The kernel may hide the
// addresses (kptr_restrict, or no CAP_SYSLOG).
func timerFunctions(kallsyms string) (found timers) {
	f, err := os.Open(kallsyms)
	if err != nil {
		return found
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 256<<10)
	for found.tw == 0 || found.reqsk == 0 {
		line, err := r.ReadSlice('\n')
		if err != nil {
			break
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		switch {
		case bytes.HasSuffix(line, []byte(" tw_timer_handler")):
			found.tw = symbolAddress(line)
		case bytes.HasSuffix(line, []byte(" reqsk_timer_handler")):
			found.reqsk = symbolAddress(line)
		}
	}
	return found
}

func symbolAddress(line []byte) uint64 {
	hex, _, _ := bytes.Cut(line, []byte(" "))
	n, err := strconv.ParseUint(string(hex), 16, 64)
	if err != nil {
		return 0
	}
	return n
}

// settings are the constants of the BPF programs.
type settings struct {
	netns      uint32
	family     uint16 // of the sockets to trace; 0: both
	self       uint32
	wakeupAt   uint64
	cookie     bool // 5.12: tracing programs may ask for the cookie
	taskBTF    bool // 5.11: bpf_get_current_task_btf
	probe      bool // lockdown allows bpf_probe_read_kernel
	countAll   bool // count the records that are sent
	ringBytes  int
	kinds      []string // hooks to try by kind ("fentry", "kprobe", …); empty: all
	verifyLogs bool
}

func (s *settings) write(spec *ebpf.CollectionSpec) error {
	for name, value := range map[string]any{
		streamVarOnlyNetns:  s.netns,
		streamVarOnlyFamily: s.family,
		streamVarSelf:       s.self,
		streamVarWakeupAt:   s.wakeupAt,
		streamVarHasCookie:  s.cookie,
		streamVarHasTaskBtf: s.taskBTF,
		streamVarCanProbe:   s.probe,
		streamVarCountAll:   s.countAll,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// hooks are the loaded and attached programs. They live until close: a link
// that the garbage collector closes detaches silently.
type hooks struct {
	spec     *ebpf.CollectionSpec
	maps     *ebpf.Collection
	btf      *btf.Cache // the kernel's types, read once
	set      settings
	tried    []Hook
	chosen   map[Capability]string
	programs map[string]*ebpf.Program
	links    map[string]io.Closer
}

// newHooks makes the maps; no program is loaded yet.
func newHooks(set settings) (*hooks, error) {
	spec, err := loadStream()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %w", err)
	}
	spec.Maps[streamMapEvents].MaxEntries = uint32(set.ringBytes)
	maps := spec.Copy()
	maps.Programs = nil
	coll, err := ebpf.NewCollection(maps)
	if err != nil {
		return nil, fmt.Errorf("create the BPF maps: %w", err)
	}
	return &hooks{
		spec: spec, maps: coll, btf: btf.NewCache(), set: set,
		chosen:   make(map[Capability]string),
		programs: make(map[string]*ebpf.Program),
		links:    make(map[string]io.Closer),
	}, nil
}

func (h *hooks) close() {
	for _, l := range h.links {
		l.Close()
	}
	for _, p := range h.programs {
		p.Close()
	}
	h.maps.Close()
}

// choose tries the hooks of each capability in turn and keeps the first that
// loads and attaches.
func (h *hooks) choose(capabilities ...Capability) {
	for _, l := range ladders {
		if !slices.Contains(capabilities, l.capability) {
			continue
		}
		for _, c := range l.hooks {
			hook := Hook{Capability: l.capability, Name: c.name}
			if h.chosen[l.capability] == "" {
				hook.Err = h.try(c)
			}
			if h.chosen[l.capability] == "" && hook.Err == nil {
				hook.Chosen = true
				h.chosen[l.capability] = c.name
			}
			h.tried = append(h.tried, hook)
		}
	}
}

var errLeftOut = errors.New("left out by request")

func (h *hooks) try(c candidate) error {
	kind, _, _ := strings.Cut(c.name, "/")
	if len(h.set.kinds) > 0 && !slices.Contains(h.set.kinds, kind) {
		return errLeftOut
	}
	if kind == "sockops" || kind == "cgroup" {
		if !h.set.cookie {
			return errors.New("needs socket cookies in tracing programs (Linux 5.12) to tell which socket it saw")
		}
	}
	if err := h.load(c.programs); err != nil {
		return err
	}
	for _, name := range c.programs {
		l, err := c.attach(h.programs[name])
		if err != nil {
			h.drop(c.programs)
			return fmt.Errorf("attach %s: %w", c.name, err)
		}
		h.links[name] = l
	}
	return nil
}

func (h *hooks) drop(programs []string) {
	for _, name := range programs {
		if l := h.links[name]; l != nil {
			l.Close()
			delete(h.links, name)
		}
		if p := h.programs[name]; p != nil {
			p.Close()
			delete(h.programs, name)
		}
	}
}

// load loads programs, each by itself and all at the same time: the kernel takes
// up to 20 ms for one of them.
func (h *hooks) load(names []string) error {
	var (
		wg       sync.WaitGroup
		programs = make([]*ebpf.Program, len(names))
		errs     = make([]error, len(names))
	)
	for i, name := range names {
		wg.Go(func() { programs[i], errs[i] = h.loadOne(name) })
	}
	wg.Wait()
	for i, name := range names {
		if programs[i] != nil {
			h.programs[name] = programs[i]
		}
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		h.drop(names)
		return errs[i]
	}
	return nil
}

// loadOne loads a program on the shared maps.
func (h *hooks) loadOne(name string) (*ebpf.Program, error) {
	spec := h.spec.Copy()
	for other := range spec.Programs {
		if other != name {
			delete(spec.Programs, other)
		}
	}
	if err := h.set.write(spec); err != nil {
		return nil, err
	}
	replace := make(map[string]*ebpf.Map)
	for _, m := range []string{streamMapEvents, streamMapMarks, streamMapProcesses, streamMapCounts, streamMapTwins, streamMapMiniRefs, ".bss"} {
		replace[m] = h.maps.Maps[m]
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: replace,
		Cache:           h.btf,
		Programs:        ebpf.ProgramOptions{LogDisabled: !h.set.verifyLogs},
	})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", spec.Programs[name].SectionName, err)
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

// Reason says why the hook is not in use, and what that means.
func (h Hook) Reason() string {
	switch err := h.Err; {
	case err == nil:
		return ""
	case errors.Is(err, errLeftOut):
		return err.Error()
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, fs.ErrNotExist):
		return err.Error() + " (this kernel does not have it)"
	case errors.Is(err, fs.ErrPermission):
		return "refused by the kernel (EPERM): a capability is missing, or it is the machine's policy"
	default:
		return err.Error()
	}
}
