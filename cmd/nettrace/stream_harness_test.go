package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
)

// The test starts its own binary again to make the load.
func init() { load.Main() }

// inMachine reports whether the test runs on a stock kernel in an emulator. Every
// hook must be there then, and everything takes much longer.
var inMachine = os.Getenv("NETTRACE_VM") != ""

// variants are the sets of hooks that the tests force in turn. "kprobe" is what a
// kernel without trampolines has; "tracepoint" has no kprobes either.
var variants = []struct{ name, hooks string }{
	{"best", ""},
	{"kprobe", "tp_btf,kprobe,kretprobe,iter,sock_diag,syscall"},
	{"tracepoint", "tp_btf,sockops,cgroup,iter,sock_diag,syscall"},
}

// skipVariant skips the test if a variant is not for this kernel.
func skipVariant(t *testing.T, hooks string) {
	t.Helper()
	if !inMachine && hooks != "" {
		t.Skip("this variant is for the kernels of make test-kernels")
	}
	if os.Getenv("NETTRACE_KERNEL") == "5.10" && strings.Contains(hooks, "sockops") {
		t.Skip("needs socket cookies in tracing programs (Linux 5.12)")
	}
}

// record is a line of NDJSON.
type record struct {
	Timestamp  time.Time `json:"timestamp"`
	Start      time.Time `json:"start"`
	Event      string    `json:"event"`
	Seq        int       `json:"seq"`
	MonoNS     int64     `json:"mono_ns"`
	ConnID     string    `json:"conn_id"`
	LocalAddr  string    `json:"local_addr"`
	LocalPort  uint16    `json:"local_port"`
	RemoteAddr string    `json:"remote_addr"`
	RemotePort uint16    `json:"remote_port"`
	Direction  string    `json:"direction"`
	OldState   string    `json:"old_state"`
	NewState   string    `json:"new_state"`
	State      string    `json:"state"`
	PID        int       `json:"pid"`
	Comm       string    `json:"comm"`
	Cmdline    string    `json:"cmdline"`
	Exe        string    `json:"exe"`
	OwnerSrc   string    `json:"owner_src"`
	Inferred   bool      `json:"inferred"`
	Outcome    string    `json:"outcome"`
	History    string    `json:"history"`
	ClosedBy   string    `json:"closed_by"`
	Reason     string    `json:"reason"`
	Lost       int       `json:"lost"`
	Added      int       `json:"added"`
	Removed    int       `json:"removed"`
	Changed    int       `json:"changed"`
	Filtered   int       `json:"filtered"`
	Retrans    int       `json:"retrans"`
	BytesSent  *int64    `json:"bytes_sent"` // nil: the counters were not read

	Hooks []string `json:"hooks"`
}

// newNetns makes a network namespace whose limits are high enough for the load. The
// kernel's defaults depend on the size of the machine.
func newNetns(t *testing.T) string {
	t.Helper()
	netns := testnet.New(t)
	testnet.Set(t, netns, "net/ipv4/tcp_max_tw_buckets", "262144")
	testnet.Set(t, netns, "net/core/somaxconn", "65535") // so that no request is dropped when the server is slow
	return netns
}

// tracing is a running nettrace that streams NDJSON to a file.
type tracing struct {
	t      *testing.T
	cmd    *exec.Cmd
	path   string
	stderr bytes.Buffer
	read   int64 // bytes of the file that are counted in counts
	counts map[string]int
}

// trace starts nettrace on a namespace and waits until its initial table is complete.
func trace(t *testing.T, netns, hooks string, args ...string) *tracing {
	t.Helper()
	return traceUnder(t, nil, netns, hooks, args...)
}

// traceUnder is trace by a program such as unshare(1), which gets the command line
// as its last arguments.
func traceUnder(t *testing.T, program []string, netns, hooks string, args ...string) *tracing {
	t.Helper()
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil && !inMachine {
		t.Skip("needs a kernel with BTF: ", err)
	}
	args = append([]string{"--json", "-acp", "--require-bpf", "--interval", "1h", "--netns", netns}, args...)
	if hooks != "" {
		args = append(args, "--hooks", hooks)
	}
	if inMachine { // the emulator may stop nettrace for seconds while the load runs on
		args = append(args, "--ring-size", "64M")
	}
	cmd := nettraceCommand(t, args...)
	if len(program) > 0 {
		path, err := exec.LookPath(program[0])
		if err != nil {
			t.Skip("needs ", err)
		}
		cmd.Path, cmd.Args = path, slices.Concat(program, []string{cmd.Path}, args)
	}
	return traceBy(t, cmd, func(f func()) { f() })
}

// traceBy is trace by a command that is started in a function.
func traceBy(t *testing.T, cmd *exec.Cmd, in func(func())) *tracing {
	t.Helper()
	tr := &tracing{t: t, cmd: cmd, counts: make(map[string]int), path: filepath.Join(t.TempDir(), "records")}
	out, err := os.Create(tr.path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	tr.cmd.Stdout, tr.cmd.Stderr = out, &tr.stderr
	in(func() { err = tr.cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // in case the test fails before stop
		_ = tr.cmd.Process.Kill()
		_ = tr.cmd.Wait()
	})
	tr.wait("snapshot_end", 1)
	return tr
}

// wait waits until nettrace has written n records of a kind.
func (tr *tracing) wait(event string, n int) {
	tr.t.Helper()
	for range 6000 {
		if tr.count(event) >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	tr.t.Fatalf("no %d %s records came; stderr: %s", n, event, tr.stderr.String())
}

// count returns the number of records of a kind so far. It reads only what is new
// in the file.
func (tr *tracing) count(event string) int {
	tr.t.Helper()
	f, err := os.Open(tr.path)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, tr.read, 1<<40))
	if err != nil {
		tr.t.Fatal(err)
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	tr.read += int64(len(b))
	for line := range bytes.Lines(b) {
		_, after, _ := bytes.Cut(line, []byte(`"event":"`))
		kind, _, _ := bytes.Cut(after, []byte(`"`))
		tr.counts[string(kind)]++
	}
	return tr.counts[event]
}

// quiet waits until the file no longer grows.
func (tr *tracing) quiet() {
	tr.t.Helper()
	pause := 300 * time.Millisecond
	if inMachine {
		pause *= 5
	}
	for before := int64(-1); ; time.Sleep(pause) {
		now := tr.size()
		if now == before {
			return
		}
		before = now
	}
}

// size returns how much nettrace has written.
func (tr *tracing) size() int64 {
	tr.t.Helper()
	st, err := os.Stat(tr.path)
	if err != nil {
		tr.t.Fatal(err)
	}
	return st.Size()
}

// resync makes nettrace compare its table with the kernel's and waits for the result.
func (tr *tracing) resync() {
	tr.t.Helper()
	n := tr.count("resync")
	if err := tr.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		tr.t.Fatal(err)
	}
	tr.wait("resync", n+1)
}

// stop ends nettrace, checks how it ended and returns all its records.
func (tr *tracing) stop() []record {
	tr.t.Helper()
	if err := tr.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tr.t.Fatal(err)
	}
	if err := tr.cmd.Wait(); err != nil {
		tr.t.Fatalf("nettrace: %v; stderr: %s", err, tr.stderr.String())
	}
	records := tr.records()
	last := records[len(records)-1]
	if last.Event != "stop" || last.Reason != "signal" {
		tr.t.Errorf("the last record is %+v", last)
	}
	return records
}

// records returns the records so far. It fails on a gap in their numbers and on
// lost events.
func (tr *tracing) records() []record {
	tr.t.Helper()
	f, err := os.Open(tr.path)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer f.Close()
	var records []record
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			tr.t.Fatalf("%v: %s", err, lines.Text())
		}
		records = append(records, r)
		if r.Seq != len(records) {
			tr.t.Fatalf("record %d has seq %d", len(records), r.Seq)
		}
		if r.Event == "lost" {
			tr.t.Errorf("events were lost: %s", lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		tr.t.Fatal(err)
	}
	return records
}

// nettraceCommand returns this binary as nettrace, to be started.
func nettraceCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), roleVar+"="+roleMain)
	return cmd
}

// startLoad starts a role of the load in a namespace.
func startLoad(t *testing.T, role, netns string) *load.Process {
	t.Helper()
	p, err := load.Start(role, netns)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// runLoad starts a client of the load, lets it do its work and ends it. It
// returns its process id.
func runLoad(t *testing.T, role, netns string) (pid int) {
	t.Helper()
	p := startLoad(t, role, netns)
	if err := errors.Join(p.Go(), p.Done(), p.Stop()); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(role, "client ") {
		testnet.WaitClosed(t, netns)
	}
	return p.PID()
}

// nettraceIn runs this binary as nettrace in a namespace, as a user, until it ends.
func nettraceIn(t *testing.T, netns string, uid uint32, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := nettraceCommand(t, args...)
	if uid != 0 { // another user may have no access to the test binary's directory
		cmd.Path = copyForAll(t, cmd.Path)
		cmd.Args[0] = cmd.Path
	}
	cmd.Dir = "/"
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	var err error
	testnet.In(t, netns, func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit status is returned
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func copyForAll(t *testing.T, exe string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nettrace")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "nettrace")
	if err := errors.Join(os.WriteFile(path, b, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}
