package tracer

import (
	"errors"
	"io"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
)

// candidate is a hook that can be tried.
type candidate struct {
	name     string
	programs []copies // attached in this order; none: attach is called once, without one
	attach   attacher
}

// attacher attaches a program of a hook, of which it gets the name.
type attacher func(name string, p *ebpf.Program) (io.Closer, error)

// several is a hook of programs that are attached in different ways.
func several(name string, programs ...placed) candidate {
	c := candidate{name: name}
	at := make(map[string]attacher)
	for _, p := range programs {
		c.programs = append(c.programs, copies{p.program})
		at[p.program] = p.attach
	}
	c.attach = func(name string, p *ebpf.Program) (io.Closer, error) { return at[name](name, p) }
	return c
}

// placed is a program and how it is attached.
type placed struct {
	program string
	attach  attacher
}

// copies are programs that do the same, so that one sees what the kernel skips the
// others for: see bpf/twice.h and handle_once in bpf/state.c.
type copies []string

// reporters report the first transition of a connect, once it has a port (connect_reported,
// bpf/stream.h).
var reporters = []string{streamProgConnectFentryA, streamProgConnectSockops}

// reportsConnects reports whether one of them is chosen.
func (h *hooks) reportsConnects() bool {
	return slices.ContainsFunc(reporters, func(name string) bool { return h.programs[name] != nil })
}

// one is a program of which no copy is needed.
func one(program string) []copies { return []copies{{program}} }

// ladder lists the hooks of a capability, best first, and says what is inexact
// without any of them.
type ladder struct {
	capability Capability
	without    string
	hooks      []candidate
}

var ladders = slices.Concat(tcpLadders, inetLadders, unixLadders)

var tcpLadders = []ladder{
	{Transitions, "no stream: the table is polled", []candidate{
		{"tp_btf/inet_sock_set_state", []copies{
			{streamProgStateA, streamProgStateB, streamProgStateC}, // they must run in this order
		}, attachTracing},
	}},
	{SourcePort, "SYN_SENT has no local port until the next event", []candidate{
		{"fentry/tcp_connect", []copies{
			{streamProgConnectFentryA, streamProgConnectFentryB},
			{streamProgListenFexitA, streamProgListenFexitB},
		}, attachTracing},
		{"kprobe/tcp_connect", one(streamProgConnectKprobe), attachKprobe("tcp_connect")},
		{sockopsHook, one(streamProgConnectSockops), attachCgroup(ebpf.AttachCGroupSockOps)},
		{sockopsPortHook, one(streamProgPortSockops), attachCgroup(ebpf.AttachCGroupSockOps)},
	}},
	{MiniSockets, "TIME_WAIT and SYN_RECV are known from reconciliation only", []candidate{
		{"tp_btf/timer_start", []copies{
			{streamProgMiniBorn}, {streamProgMiniGone}, {streamProgMiniExpired},
		}, attachTracing},
	}},
	{Substate, "FIN_WAIT2 -> TIME_WAIT of a closed socket is known from reconciliation only", []candidate{
		{"fentry/__inet_twsk_schedule", []copies{{streamProgMiniStateA, streamProgMiniStateB}}, attachTracing},
		{refreshHook, one(streamProgMiniRefresh), attachNothing},
		// Last: the kernel skips a kprobe that interrupts the program of another one.
		{"kprobe/__inet_twsk_schedule", one(streamProgMiniStateKprobe), attachKprobe("__inet_twsk_schedule")},
	}},
	{Acceptor, "an accepted connection is attributed to its listener's process until its own uses it", []candidate{
		{"fexit/__inet_accept", []copies{{streamProgAcceptFexitA, streamProgAcceptFexitB}}, attachTracing},
		{"fexit/inet_accept", []copies{{streamProgAcceptFexitOldA, streamProgAcceptFexitOldB}}, attachTracing},
		{"kretprobe/inet_csk_accept", one(streamProgAcceptKretprobe), attachKretprobe("inet_csk_accept")},
	}},
	{Closer, "the inode of a closed socket is late", []candidate{
		{"fentry/tcp_close", []copies{{streamProgCloseFentryA, streamProgCloseFentryB}}, attachTracing},
		{"cgroup/sock_release", one(streamProgCloseCgroup), attachCgroup(ebpf.AttachCgroupInetSockRelease)},
	}},
	{Resets, "the outcome of a connection that this side resets after its FIN is unknown", []candidate{
		{"tp_btf/tcp_send_reset", []copies{{streamProgResetSentA, streamProgResetSentB}}, attachTracing},
	}},
	{TimewaitEnd, "the outcome of a closed connection that ends in FIN_WAIT2 is unknown, unless by timeout", []candidate{
		{"fexit/tcp_timewait_state_process", one(streamProgTimewaitFexit), attachTracing},
	}},
	{Connects, "a connect that fails before SYN_SENT (no route) is not reported, one without a local port has no errno", []candidate{
		{"fexit/tcp_v4_connect", []copies{
			{streamProgConnect4FexitA, streamProgConnect4FexitB},
			{streamProgConnect6FexitA, streamProgConnect6FexitB},
		}, attachTracing},
	}},
	{Rows, "the kernel's table is read from /proc: what was in TIME_WAIT or SYN_RECV before is shown and not followed", []candidate{
		{"sock_diag/tcp", nil, attachDiag},
	}},
	{Files, "owners of sockets opened earlier are searched in /proc", []candidate{
		{"iter/task_file", one(streamProgFiles), attachIter},
	}},
}

func attachTracing(_ string, p *ebpf.Program) (io.Closer, error) {
	return link.AttachTracing(link.TracingOptions{Program: p})
}

// The hooks of sock_ops also see the transitions: see bpf/witness.h. The second one is for
// kernels where the first may not ask for the process that connects.
const (
	sockopsHook     = "sockops/tcp_connect"
	sockopsPortHook = "sockops/port"
)

// hasSockops reports whether one of them is chosen.
func (h *hooks) hasSockops() bool {
	return h.chosen[SourcePort] == sockopsHook || h.chosen[SourcePort] == sockopsPortHook
}

// refreshHook is a program that the reader runs itself, with BPF_PROG_RUN.
const refreshHook = "syscall/refresh"

func attachNothing(string, *ebpf.Program) (io.Closer, error) { return io.NopCloser(nil), nil }

// attachDiag looks whether sock_diag has TCP sockets, in the caller's network namespace:
// each has the same modules.
func attachDiag(string, *ebpf.Program) (io.Closer, error) {
	d, err := snapshot.OpenDiag()
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // nothing is written
	listeners := snapshot.DiagQuery{Protocol: snapshot.TCP, Family: unix.AF_INET, States: 1 << snapshot.Listen}
	return io.NopCloser(nil), d.Dump(listeners, func(snapshot.DiagBatch) error { return nil })
}

func attachIter(_ string, p *ebpf.Program) (io.Closer, error) {
	return link.AttachIter(link.IterOptions{Program: p})
}

func attachKprobe(symbol string) attacher {
	return func(_ string, p *ebpf.Program) (io.Closer, error) { return link.Kprobe(symbol, p, nil) }
}

func attachKretprobe(symbol string) attacher {
	return func(_ string, p *ebpf.Program) (io.Closer, error) { return link.Kretprobe(symbol, p, nil) }
}

func attachCgroup(at ebpf.AttachType) attacher {
	return func(_ string, p *ebpf.Program) (io.Closer, error) {
		root, err := cgroupRoot("/proc/self/mountinfo")
		if errors.Is(err, errNoCgroup2) { // as below ip netns exec
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
