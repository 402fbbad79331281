package privilege

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
)

// Feature is something that takes capabilities.
type Feature struct {
	Name    string         // what it is
	When    string         // where or when it takes them; empty: always
	Start   capability.Set // needed until the run has begun
	Run     capability.Set // needed as long as it goes on
	Without string         // what comes of it where they are missing

	asked func(*Needs) bool // whether a run has it
}

// Features are all that take capabilities, in the order of their weight.
var Features = []Feature{
	{
		Name: "the stream", Start: capability.Of(unix.CAP_BPF, unix.CAP_PERFMON),
		Without: "the table is polled, or --require-bpf fails",
		asked:   func(n *Needs) bool { return !n.Polls },
	},
	{
		Name: "the stream goes on", When: "before Linux 5.19, which asks for it at each call of bpf(2)",
		Run: capability.Of(unix.CAP_BPF, unix.CAP_PERFMON), Without: "the run would end",
		asked: func(n *Needs) bool { return n.BPF },
	},
	{
		Name: "memory for BPF maps", When: "before Linux 5.11, unless the limit is lifted (LimitMEMLOCK=infinity)",
		Start: capability.Of(unix.CAP_SYS_RESOURCE), Without: "as without the stream",
		asked: func(n *Needs) bool { return n.Memlock },
	},
	{
		Name: "executables", When: "of processes of other users, or with other capabilities",
		Start: capability.Of(unix.CAP_SYS_PTRACE), Run: capability.Of(unix.CAP_SYS_PTRACE),
		Without: "no exe of sockets that were open at the start",
		asked:   func(n *Needs) bool { return n.Owners },
	},
	{
		Name: "owners from /proc", When: "where the iterator over open files (iter/task_file) does not load, or the table is polled",
		Start:   capability.Of(unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH),
		Run:     capability.Of(unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH),
		Without: "no owner of other users' sockets that were open at the start",
		asked:   func(n *Needs) bool { return n.Owners && n.ProcOwners },
	},
	{
		Name: "the hooks of the cgroup", When: "where fentry does not load",
		Start: capability.Of(unix.CAP_NET_ADMIN), Without: "SYN_SENT has no local port, the inode of a closed socket is late",
		asked: func(n *Needs) bool { return n.Cgroup },
	},
	{
		Name: "mounting the cgroup hierarchy", When: "for the hooks of the cgroup, where it is not mounted, as below ip netns exec",
		Start: capability.Of(unix.CAP_SYS_ADMIN), Without: "as without the hooks of the cgroup",
		asked: func(n *Needs) bool { return n.Cgroup && n.Mount },
	},
	{
		Name: "kprobes", When: "where fentry does not load and kernel.perf_event_paranoid is above 2",
		Start: capability.Of(unix.CAP_SYS_ADMIN), Without: "the hooks of the cgroup instead",
		asked: func(n *Needs) bool { return n.Kprobes },
	},
	{
		Name: "another network namespace", When: "--netns",
		Start: capability.Of(unix.CAP_SYS_ADMIN), Without: "it fails",
		asked: func(n *Needs) bool { return n.Netns },
	},
	{
		Name: "all network namespaces", When: "--all-netns",
		Start:   capability.Of(unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE),
		Run:     capability.Of(unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE),
		Without: "of the others only what events show is known",
		asked:   func(n *Needs) bool { return n.AllNetns },
	},
	{
		Name: "files in a directory of another user", When: "--output, where the user of the run may not write there",
		Start: capability.Of(unix.CAP_DAC_OVERRIDE), Run: capability.Of(unix.CAP_DAC_OVERRIDE),
		Without: "they cannot be opened, rotated and opened again",
		asked:   func(n *Needs) bool { return n.Files },
	},
	{
		Name: "another user", When: "--run-as",
		Start: capability.Of(unix.CAP_SETUID, unix.CAP_SETGID), Without: "it fails",
		asked: func(n *Needs) bool { return n.User },
	},
	{
		Name: "cutting the bounding set", When: "if it is there",
		Start: capability.Of(unix.CAP_SETPCAP), Without: "the bounding set stays, and gives nothing to a process with no_new_privs",
		asked: func(*Needs) bool { return false },
	},
}

// Needs are what of Features a run has.
type Needs struct {
	Polls      bool // the table is polled, without BPF
	BPF        bool // the kernel asks for privilege at each call of bpf(2)
	Memlock    bool // the kernel counts maps against RLIMIT_MEMLOCK
	Owners     bool // owners are told
	ProcOwners bool // and read from /proc
	Cgroup     bool // hooks of the cgroup are used
	Mount      bool // and its hierarchy has to be mounted
	Kprobes    bool // kprobes are used, and PERFMON does not do for them
	Netns      bool // another network namespace is traced
	AllNetns   bool // all of them are
	Files      bool // files are written where the user may not
	User       bool // another user goes on
}

// Start returns the capabilities that the run takes until it has begun.
func (n *Needs) Start() (s capability.Set) {
	for _, f := range Features {
		if f.asked(n) {
			s |= f.Start | f.Run
		}
	}
	return s
}

// Run returns the capabilities that the run takes as long as it goes on.
func (n *Needs) Run() (s capability.Set) {
	for _, f := range Features {
		if f.asked(n) {
			s |= f.Run
		}
	}
	return s
}

// all returns the capabilities that any feature takes.
func all() (s capability.Set) {
	for _, f := range Features {
		s |= f.Start | f.Run
	}
	return s
}

// Uses names the features that take a capability.
func Uses(c capability.Set) string {
	var uses []string
	for _, f := range Features {
		if (f.Start|f.Run)&c != 0 {
			uses = append(uses, f.Name)
		}
	}
	return strings.Join(uses, "; ")
}
