package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
)

// Capabilities of the tests.
var (
	bpf    = capability.Of(unix.CAP_BPF, unix.CAP_PERFMON)
	ptrace = capability.Of(unix.CAP_SYS_PTRACE)
	admin  = capability.Of(unix.CAP_SYS_ADMIN)
)

// always is what the kernel asks for at each call of bpf(2), before 5.19.
func always() capability.Set {
	if os.Getenv("NETTRACE_KERNEL") == "5.10" {
		return bpf
	}
	return 0
}

// owning is what telling owners takes. The iterator over open files does not load on 5.10,
// so that they are read from /proc.
func owning() capability.Set {
	if os.Getenv("NETTRACE_KERNEL") == "5.10" {
		return ptrace | capability.Of(unix.CAP_DAC_READ_SEARCH)
	}
	return ptrace
}

// TestPrivilegeDropped looks at every thread of a run that was started by root:
// the documented capabilities are left, and all that the run is asked for goes on.
func TestPrivilegeDropped(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		keep capability.Set
		user int
	}{
		{"plain", nil, owning(), 0},
		{"no owners", []string{"--no-owner"}, 0, 0},
		{"another user", []string{"--run-as", fmt.Sprint(nobody)}, owning(), nobody},
		{"another user, no owners", []string{"--run-as", fmt.Sprint(nobody), "--no-owner"}, 0, nobody},
	} {
		t.Run(c.name, func(t *testing.T) {
			netns := newNetns(t)
			server := startLoad(t, load.Server(), netns)
			defer func() { _ = server.Stop() }()
			tr := trace(t, netns, "", c.args...)
			checkThreads(t, tr, c.keep|always(), c.user)
			owners := !strings.Contains(c.name, "no owners")
			checkWorks(t, tr, netns, server, owners, owners)
		})
	}
}

// TestPrivilegeNamespaces traces all namespaces: one that is made after the drop
// is entered.
func TestPrivilegeNamespaces(t *testing.T) {
	home := newNetns(t)
	args := []string{"--json", "-acp", "--require-bpf", "--all-netns"}
	for name, cmd := range map[string]*exec.Cmd{
		"root":         nettraceCommand(t, args...),
		"no SYS_ADMIN": nobodyCommand(t, bpf|ptrace, args...),
	} {
		t.Run(name, func(t *testing.T) {
			if name != "root" && os.Getenv("NETTRACE_KERNEL") == "5.10" {
				t.Skip("needs CAP_SYS_RESOURCE too before Linux 5.11")
			}
			tr := traceBy(t, cmd, func(start func()) { testnet.In(t, home, start) })
			if name == "root" {
				checkThreads(t, tr, admin|owning(), 0) // the first stands for what BPF asks for always
			}
			later := newNetns(t)
			server := startLoad(t, load.Server(), later)
			runLoad(t, load.Client(0, 5, load.EndingOf(0)), later)
			tr.resync()
			tr.stop()
			if unread := strings.Contains(tr.stderr.String(), "CAP_SYS_ADMIN"); unread == (name == "root") {
				t.Errorf("namespaces were not read: %v; %s", unread, tr.stderr.String())
			}
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPrivilegeSets runs as nobody with sets of capabilities: with the documented
// one everything works, and without each of it what is documented does not.
func TestPrivilegeSets(t *testing.T) {
	start := bpf | owning()
	if os.Getenv("NETTRACE_KERNEL") == "5.10" {
		start |= capability.Of(unix.CAP_SYS_RESOURCE)
	}
	for _, c := range []struct {
		name    string
		set     capability.Set
		exe     bool
		refused string // in its message
	}{
		{"all of it", start, true, ""},
		{"more of it", start | capability.Of(unix.CAP_NET_ADMIN, unix.CAP_SYSLOG, unix.CAP_KILL), true, ""},
		{"no SYS_PTRACE", start &^ ptrace, false, ""},
		{"no BPF", start &^ capability.Of(unix.CAP_BPF), false, "CAP_BPF missing"},
		{"no PERFMON", start &^ capability.Of(unix.CAP_PERFMON), false, "CAP_PERFMON missing"},
		{"no SYS_RESOURCE", start &^ capability.Of(unix.CAP_SYS_RESOURCE), true, "CAP_SYS_RESOURCE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.refused == "CAP_SYS_RESOURCE" && os.Getenv("NETTRACE_KERNEL") != "5.10" {
				t.Skip("since Linux 5.11 maps do not count against RLIMIT_MEMLOCK")
			}
			netns := newNetns(t)
			server := startLoad(t, load.Server(), netns)
			defer func() { _ = server.Stop() }()
			cmd := nobodyCommand(t, c.set, "--json", "-acp", "--require-bpf", "--interval", "1h")
			if c.refused != "" {
				checkRefused(t, cmd, netns, c.refused)
				return
			}
			tr := traceBy(t, cmd, func(start func()) { testnet.In(t, netns, start) })
			checkThreads(t, tr, c.set&(owning()|always()), nobody)
			// On 5.10 who has a socket is read from /proc, which asks for it too.
			owners := c.exe || os.Getenv("NETTRACE_KERNEL") != "5.10"
			checkWorks(t, tr, netns, server, owners, c.exe)
		})
	}
}

// TestPrivilegeFileCapabilities runs a file with capabilities, as setcap(8) gives them.
func TestPrivilegeFileCapabilities(t *testing.T) {
	if _, err := exec.LookPath("setcap"); err != nil {
		t.Skip("needs setcap: ", err)
	}
	if os.Getenv("NETTRACE_KERNEL") == "5.10" {
		t.Skip("needs CAP_SYS_RESOURCE too before Linux 5.11")
	}
	netns := newNetns(t)
	server := startLoad(t, load.Server(), netns)
	defer func() { _ = server.Stop() }()
	cmd := nobodyCommand(t, 0, "--json", "-acp", "--require-bpf", "--interval", "1h")
	if out, err := exec.Command("setcap", "cap_bpf,cap_perfmon,cap_sys_ptrace+ep", cmd.Path).CombinedOutput(); err != nil {
		t.Skipf("setcap: %v: %s", err, out) // a file system may not have them
	}
	tr := traceBy(t, cmd, func(start func()) { testnet.In(t, netns, start) })
	checkThreads(t, tr, ptrace, nobody)
	checkWorks(t, tr, netns, server, true, true)
}

// nobodyCommand returns nettrace, to be started by nobody with a set of capabilities.
func nobodyCommand(t *testing.T, set capability.Set, args ...string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	cmd := nettraceCommand(t, args...)
	cmd.Path = copyForAll(t, cmd.Path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	for n := range uint(64) {
		if set.Has(n) {
			cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, uintptr(n))
		}
	}
	return cmd
}

// checkRefused checks that a command ends with a message.
func checkRefused(t *testing.T, cmd *exec.Cmd, netns, message string) {
	t.Helper()
	var said strings.Builder
	cmd.Stderr = &said
	testnet.In(t, netns, func() { _ = cmd.Run() }) // the exit status is looked at
	if status := cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(said.String(), message) {
		t.Errorf("status %d, no %q in: %s", status, message, said.String())
	}
	if strings.Contains(said.String(), "seccomp") || strings.Contains(said.String(), "RemoveMemlock") {
		t.Errorf("a wrong reason: %s", said.String())
	}
}

// checkThreads checks the capabilities of every thread of a run, once it has begun.
func checkThreads(t *testing.T, tr *tracing, want capability.Set, user int) {
	t.Helper()
	threads := func() []string {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", tr.cmd.Process.Pid))
		if err != nil || len(files) < 2 {
			t.Fatalf("%d threads, %v", len(files), err)
		}
		return files
	}
	mayCut := func(file string) bool { // CAP_SETPCAP is given up last, by one thread after the other
		left, err := capability.Read(file, "CapPrm")
		return err == nil && left.Has(unix.CAP_SETPCAP)
	}
	for end := time.Now().Add(30 * time.Second); slices.ContainsFunc(threads(), mayCut) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	files := threads()
	for _, file := range files {
		status, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		text := string(status)
		sets := map[string]capability.Set{"CapPrm": want, "CapEff": want, "CapInh": 0, "CapAmb": 0}
		if tr.cmd.SysProcAttr == nil { // it was root, and may cut this one
			sets["CapBnd"] = want
		}
		for which, want := range sets {
			if got, err := capability.Parse(text, which); err != nil || got != want {
				t.Errorf("%s: %s is %v, want %v; %v", file, which, got, want, err)
			}
		}
		for _, line := range []string{"NoNewPrivs:\t1\n", fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", user), fmt.Sprintf("Gid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", user)} {
			if !strings.Contains(text, line) {
				t.Errorf("%s: no line %q", file, line)
			}
		}
	}
}

// checkWorks has a run told of connections, compares its table with the kernel's, and
// ends it: all is told, with owners and executables where they are due.
func checkWorks(t *testing.T, tr *tracing, netns string, server *load.Process, owners, exe bool) {
	t.Helper()
	const count = 20
	runLoad(t, load.Client(0, count, load.EndingOf(0)), netns)
	tr.resync()
	runLoad(t, load.Client(count, count, load.EndingOf(0)), netns)
	tr.quiet()
	closes, states, listening := 0, make(map[string]int), false
	for _, r := range tr.stop() {
		switch r.Event {
		case "tcp_close":
			closes++
			// What is accepted late has no owner on 5.10, where no program sees that.
			if (r.PID == 0 || r.Comm == "") && (r.Direction == "outgoing" || always() == 0) {
				t.Errorf("a close without its owner: %+v", r)
			}
		case "tcp_state":
			states[r.NewState]++
		case "resync":
			if r.Added+r.Removed+r.Changed > 0 {
				t.Errorf("the table differed: %+v", r)
			}
		case "socket":
			listening = true
			if (r.PID == server.PID()) != owners || (r.Exe != "") != exe {
				t.Errorf("the listener: pid %d, executable %q, want them: %v, %v", r.PID, r.Exe, owners, exe)
			}
		}
	}
	if closes < 2*count || states["ESTABLISHED"] != 4*count || states["TIME_WAIT"] == 0 || !listening {
		t.Errorf("%d closes, a listener: %v, transitions %v", closes, listening, states)
	}
	if text := tr.stderr.String(); strings.Contains(text, "permitted") || strings.Contains(text, "denied") {
		t.Error(text)
	}
}
