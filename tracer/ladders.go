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
	attach   func(*ebpf.Program) (io.Closer, error)
	attachAs func(program string, p *ebpf.Program) (io.Closer, error) // instead, where programs differ
}

// attachOne attaches one of the programs.
func (c *candidate) attachOne(name string, p *ebpf.Program) (io.Closer, error) {
	if c.attachAs != nil {
		return c.attachAs(name, p)
	}
	return c.attach(p)
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
		}, attachTracing, nil},
	}},
	{SourcePort, "SYN_SENT has no local port until the next event", []candidate{
		{"fentry/tcp_connect", []copies{
			{streamProgConnectFentryA, streamProgConnectFentryB},
			{streamProgListenFexitA, streamProgListenFexitB},
		}, attachTracing, nil},
		{"kprobe/tcp_connect", one(streamProgConnectKprobe), attachKprobe("tcp_connect"), nil},
		{sockopsHook, one(streamProgConnectSockops), attachCgroup(ebpf.AttachCGroupSockOps), nil},
		{sockopsPortHook, one(streamProgPortSockops), attachCgroup(ebpf.AttachCGroupSockOps), nil},
	}},
	{MiniSockets, "TIME_WAIT and SYN_RECV are known from reconciliation only", []candidate{
		{"tp_btf/timer_start", []copies{
			{streamProgMiniBorn}, {streamProgMiniGone}, {streamProgMiniExpired},
		}, attachTracing, nil},
	}},
	{Substate, "FIN_WAIT2 -> TIME_WAIT of a closed socket is known from reconciliation only", []candidate{
		{"fentry/__inet_twsk_schedule", []copies{{streamProgMiniStateA, streamProgMiniStateB}}, attachTracing, nil},
		{refreshHook, one(streamProgMiniRefresh), attachNothing, nil},
		// Last: the kernel skips a kprobe that interrupts the program of another one.
		{"kprobe/__inet_twsk_schedule", one(streamProgMiniStateKprobe), attachKprobe("__inet_twsk_schedule"), nil},
	}},
	{Acceptor, "an accepted connection is attributed to its listener's process until its own uses it", []candidate{
		{"fexit/__inet_accept", []copies{{streamProgAcceptFexitA, streamProgAcceptFexitB}}, attachTracing, nil},
		{"fexit/inet_accept", []copies{{streamProgAcceptFexitOldA, streamProgAcceptFexitOldB}}, attachTracing, nil},
		{"kretprobe/inet_csk_accept", one(streamProgAcceptKretprobe), attachKretprobe("inet_csk_accept"), nil},
	}},
	{Closer, "the inode of a closed socket is late", []candidate{
		{"fentry/tcp_close", []copies{{streamProgCloseFentryA, streamProgCloseFentryB}}, attachTracing, nil},
		{"cgroup/sock_release", one(streamProgCloseCgroup), attachCgroup(ebpf.AttachCgroupInetSockRelease), nil},
	}},
	{Resets, "the outcome of a connection that this side resets after its FIN is unknown", []candidate{
		{"tp_btf/tcp_send_reset", []copies{{streamProgResetSentA, streamProgResetSentB}}, attachTracing, nil},
	}},
	{TimewaitEnd, "the outcome of a closed connection that ends in FIN_WAIT2 is unknown, unless by timeout", []candidate{
		{"fexit/tcp_timewait_state_process", one(streamProgTimewaitFexit), attachTracing, nil},
	}},
	{Connects, "a connect that fails before SYN_SENT (no route) is not reported, one without a local port has no errno", []candidate{
		{"fexit/tcp_v4_connect", []copies{
			{streamProgConnect4FexitA, streamProgConnect4FexitB},
			{streamProgConnect6FexitA, streamProgConnect6FexitB},
		}, attachTracing, nil},
	}},
	{Rows, "the kernel's table is read from /proc: what was in TIME_WAIT or SYN_RECV before is shown and not followed", []candidate{
		{"sock_diag/tcp", nil, attachDiag, nil},
	}},
	{Files, "owners of sockets opened earlier are searched in /proc", []candidate{
		{"iter/task_file", one(streamProgFiles), attachIter, nil},
	}},
}

func attachTracing(p *ebpf.Program) (io.Closer, error) {
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

func attachNothing(*ebpf.Program) (io.Closer, error) { return io.NopCloser(nil), nil }

// attachDiag looks whether sock_diag has TCP sockets, in the caller's network namespace:
// each has the same modules.
func attachDiag(*ebpf.Program) (io.Closer, error) {
	d, err := snapshot.OpenDiag()
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // nothing is written
	listeners := snapshot.DiagQuery{Protocol: snapshot.TCP, Family: unix.AF_INET, States: 1 << snapshot.Listen}
	return io.NopCloser(nil), d.Dump(listeners, func(snapshot.DiagBatch) error { return nil })
}

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
