package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
)

// The processes that make the load are this binary, started again.
func init() { load.Main() }

// inMachine says that the test runs on a stock kernel under an emulator: every
// hook must be there, and time is slow.
var inMachine = os.Getenv("NETTRACE_VM") != ""

// variants are the sets of hooks that are forced in turn, by kind. The last two
// are what a kernel without trampolines, and one without kprobes too, has.
var variants = []struct{ name, hooks string }{
	{"best", ""},
	{"kprobe", "tp_btf,kprobe,kretprobe,iter,syscall"},
	{"tracepoint", "tp_btf,sockops,cgroup,iter,syscall"},
}

// record is a line of NDJSON.
type record struct {
	Event      string `json:"event"`
	Seq        int    `json:"seq"`
	MonoNS     int64  `json:"mono_ns"`
	ConnID     string `json:"conn_id"`
	LocalAddr  string `json:"local_addr"`
	LocalPort  uint16 `json:"local_port"`
	RemoteAddr string `json:"remote_addr"`
	RemotePort uint16 `json:"remote_port"`
	Direction  string `json:"direction"`
	OldState   string `json:"old_state"`
	NewState   string `json:"new_state"`
	State      string `json:"state"`
	PID        int    `json:"pid"`
	Comm       string `json:"comm"`
	Cmdline    string `json:"cmdline"`
	OwnerSrc   string `json:"owner_src"`
	Inferred   bool   `json:"inferred"`
	Outcome    string `json:"outcome"`
	History    string `json:"history"`
	ClosedBy   string `json:"closed_by"`
	Reason     string `json:"reason"`
	Lost       int    `json:"lost"`
	Added      int    `json:"added"`
	Removed    int    `json:"removed"`
	Changed    int    `json:"changed"`
	Filtered   int    `json:"filtered"`
	Retrans    int    `json:"retrans"`

	Hooks []string `json:"hooks"`
}

// newNetns makes a network namespace with room for the load, which by default
// depends on the size of the machine.
func newNetns(t *testing.T) string {
	t.Helper()
	netns := testnet.New(t)
	testnet.Set(t, netns, "net/ipv4/tcp_max_tw_buckets", "262144")
	testnet.Set(t, netns, "net/core/somaxconn", "65535") // a slow server must not make it drop requests
	return netns
}

// tracing is a nettrace that streams NDJSON to a file.
type tracing struct {
	t      *testing.T
	cmd    *exec.Cmd
	path   string
	stderr bytes.Buffer
	read   int64 // bytes of the file that counts stands for
	counts map[string]int
}

// trace starts a nettrace on a namespace and waits until it has the full picture.
func trace(t *testing.T, netns, hooks string, args ...string) *tracing {
	t.Helper()
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil && !inMachine {
		t.Skip("needs a kernel with BTF: ", err)
	}
	tr := &tracing{t: t, counts: make(map[string]int), path: filepath.Join(t.TempDir(), "records")}
	out, err := os.Create(tr.path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--json", "-acp", "--require-bpf", "--interval", "1h", "--netns", netns}, args...)
	if hooks != "" {
		args = append(args, "--hooks", hooks)
	}
	if inMachine { // which may stand still for seconds, and not all of its processes alike
		args = append(args, "--ring-size", "64M")
	}
	tr.cmd = exec.Command(exe, args...)
	tr.cmd.Env = append(os.Environ(), roleVar+"="+roleMain)
	tr.cmd.Stdout, tr.cmd.Stderr = out, &tr.stderr
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // ends it when the test failed before stop
		_ = tr.cmd.Process.Kill()
		_ = tr.cmd.Wait()
	})
	tr.wait("snapshot_end", 1)
	return tr
}

// wait waits until n records of a kind were written since the start.
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

// count gives the number of records of a kind so far. It reads each byte once.
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

// quiet waits until no more records come.
func (tr *tracing) quiet() {
	tr.t.Helper()
	pause := 300 * time.Millisecond
	if inMachine {
		pause *= 5
	}
	for size := int64(-1); ; time.Sleep(pause) {
		st, err := os.Stat(tr.path)
		if err != nil {
			tr.t.Fatal(err)
		}
		if st.Size() == size {
			return
		}
		size = st.Size()
	}
}

// resync asks for a comparison with the kernel's table and waits for its end.
func (tr *tracing) resync() {
	tr.t.Helper()
	n := tr.count("resync")
	if err := tr.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		tr.t.Fatal(err)
	}
	tr.wait("resync", n+1)
}

// stop ends nettrace and gives all its records.
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

// records reads what was written so far, and checks the numbering.
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

// nextStates is the TCP state diagram (RFC 9293, 3.3.2) as Linux walks it. A
// reset or the end of a timer leads to CLOSE from everywhere.
var nextStates = map[string][]string{
	"CLOSE":       {"LISTEN", "SYN_SENT"},
	"LISTEN":      {"SYN_RECV", "CLOSE"},
	"SYN_SENT":    {"ESTABLISHED", "SYN_RECV", "CLOSE"},
	"SYN_RECV":    {"ESTABLISHED", "FIN_WAIT1", "CLOSE_WAIT", "CLOSE"},
	"ESTABLISHED": {"FIN_WAIT1", "CLOSE_WAIT", "CLOSE"},
	"FIN_WAIT1":   {"FIN_WAIT2", "CLOSING", "TIME_WAIT", "CLOSE"},
	"FIN_WAIT2":   {"TIME_WAIT", "CLOSE"},
	"CLOSING":     {"TIME_WAIT", "CLOSE"},
	"TIME_WAIT":   {"CLOSE"},
	"CLOSE_WAIT":  {"LAST_ACK", "CLOSE"},
	"LAST_ACK":    {"CLOSE"},
}

// life is all that was told of one connection.
type life struct {
	first    record // its socket record or its first transition
	last     record // its last transition
	states   []string
	closes   []record
	inferred int
}

// lives puts the records together by connection and walks each through the
// state diagram.
func lives(t *testing.T, records []record) map[string]*life {
	t.Helper()
	all := make(map[string]*life)
	problems := 0
	problem := func(format string, args ...any) {
		if problems++; problems < 20 {
			t.Errorf(format, args...)
		}
	}
	for _, r := range records {
		if r.ConnID == "" {
			continue
		}
		l := all[r.ConnID]
		switch {
		case l == nil && r.Event == "tcp_close":
			problem("close of an unknown connection: %+v", r)
			continue
		case l == nil:
			l = &life{first: r, last: r, states: []string{r.State}}
			all[r.ConnID] = l
			if r.Event == "socket" {
				continue
			}
			l.states[0] = r.OldState
		case r.Event == "socket":
			problem("a second socket record: %+v", r)
			continue
		}
		last := l.states[len(l.states)-1]
		switch r.Event {
		case "tcp_state":
			if r.OldState != last {
				problem("%s: %s -> %s after %v", r.ConnID, r.OldState, r.NewState, l.states)
			}
			if r.Inferred {
				l.inferred++
			} else if !slices.Contains(nextStates[r.OldState], r.NewState) {
				problem("%s: impossible transition %s -> %s after %v", r.ConnID, r.OldState, r.NewState, l.states)
			}
			l.states = append(l.states, r.NewState)
			l.last = r
		case "tcp_close":
			if last != "CLOSE" && last != "TIME_WAIT" {
				problem("closed in %s: %+v", last, r)
			}
			if len(l.closes) > 0 {
				problem("closed twice: %+v", r)
			}
			l.closes = append(l.closes, r)
		}
	}
	return all
}

// compareTables compares the sockets that the records leave open with those of
// /proc/net/tcp and tcp6, read between the times from and to. A timewait socket
// that expires then may have gone from one of the two: TCP_TIMEWAIT_LEN and
// tcp_fin_timeout are 60 s.
func compareTables(t *testing.T, kernel []string, from, to int64, all map[string]*life) {
	t.Helper()
	const timewait, margin = int64(60 * time.Second), int64(2 * time.Second)
	var rows []string
	expiring := make(map[string]bool)
	for _, l := range all {
		state := l.states[len(l.states)-1]
		r := l.last
		ended := state == "CLOSE"
		if ended {
			if state = r.OldState; r.MonoNS < from-margin {
				continue
			}
		}
		expires := state == "TIME_WAIT" || state == "FIN_WAIT2"
		row := fmt.Sprintf("%s:%d %s:%d %s", r.LocalAddr, r.LocalPort, r.RemoteAddr, r.RemotePort, state)
		switch {
		case expires && (ended || to-r.MonoNS > timewait-margin):
			expiring[row] = true
		case !ended:
			rows = append(rows, row)
		}
	}
	slices.Sort(rows)
	kernel = slices.DeleteFunc(kernel, func(row string) bool { return expiring[row] })
	slices.Sort(kernel)
	if diff := cmp.Diff(kernel, rows); diff != "" {
		t.Errorf("the table differs from the kernel's (-kernel +nettrace):\n%.4000s", diff)
	}
}

func monotonic(t *testing.T) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Nano()
}

// kernelTable reads /proc/net/tcp and tcp6 of a namespace.
func kernelTable(t *testing.T, netns string) []string {
	t.Helper()
	var rows []string
	testnet.In(t, netns, func() {
		for _, ipv6 := range []bool{false, true} {
			sockets, err := snapshot.ReadSockets("/proc/thread-self", snapshot.TCP, ipv6)
			if err != nil {
				t.Error(err)
				return
			}
			for s, err := range sockets {
				if err != nil {
					t.Error(err)
					continue
				}
				rows = append(rows, fmt.Sprintf("%s:%d %s:%d %s",
					s.Local.Addr(), s.Local.Port(), s.Remote.Addr(), s.Remote.Port(), s.State))
			}
		}
	})
	return rows
}

// TestStreamChurn makes connections at full speed and wants every one's whole
// life told, on both sides, with the right process.
func TestStreamChurn(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			skipVariant(t, v.hooks)
			count := 30000
			if v.hooks != "" {
				count = 6000 // under an emulator a second is ten
			}
			churn(t, v.hooks, count)
		})
	}
}

// skipVariant skips the variants that are not for this kernel.
func skipVariant(t *testing.T, hooks string) {
	t.Helper()
	if !inMachine && hooks != "" {
		t.Skip("this variant is for the kernels of make test-kernels")
	}
	if os.Getenv("NETTRACE_KERNEL") == "5.10" && strings.Contains(hooks, "sockops") {
		t.Skip("needs socket cookies in tracing programs (Linux 5.12)")
	}
}

func churn(t *testing.T, hooks string, count int) {
	netns := newNetns(t)
	tr := trace(t, netns, hooks)
	server, err := load.Start(load.Server(), netns)
	if err != nil {
		t.Fatal(err)
	}
	var clients []*load.Process
	for i := range 2 {
		c, err := load.Start(load.Client(i*count/2, count/2, -1), netns)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	start := time.Now()
	for _, c := range clients {
		if err := c.Go(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range clients {
		if err := c.Done(); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(start)
	tr.quiet()
	tr.resync()
	tr.quiet()
	from := monotonic(t)
	kernel := kernelTable(t, netns)
	to := monotonic(t)
	records := tr.records()
	for _, p := range append(clients, server) {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	tr.stop()

	all := lives(t, records)
	compareTables(t, kernel, from, to, all)
	checkChurn(t, all, count, server.PID(), []int{clients[0].PID(), clients[1].PID()})
	inferred := 0
	for _, l := range all {
		if l.inferred > 0 {
			inferred++
		}
	}
	allowed := 0
	if !inMachine && !stockKernel() {
		allowed = count / 10000
	}
	if inferred > allowed {
		t.Errorf("%d connections were mended by reconciliation, at most %d may be", inferred, allowed)
		for _, l := range all {
			if l.inferred > 0 {
				t.Logf("mended: %v, begun as %+v", l.states, l.first)
			}
		}
	}
	t.Logf("%d connections in %v, %d records, %d inferred", count, took.Round(time.Millisecond), len(records), inferred)
}

// stockKernel reports whether tracing programs see every event: on a machine
// that refuses trampolines by a policy of its own they may be blind in places.
func stockKernel() bool {
	b, err := os.ReadFile("/proc/kallsyms")
	return err == nil && bytes.Contains(b, []byte(" arm_kprobe"))
}

// story is what TCP says must happen to the connections of load.Story, side by side.
var story = []string{
	"127.0.0.1: client CLOSE>SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT closed by local",
	"127.0.0.1: server LISTEN>SYN_RECV>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSE closed by remote",
	"127.0.0.2: client CLOSE>SYN_SENT>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSE closed by remote",
	"127.0.0.2: server LISTEN>SYN_RECV>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT closed by local",
	"127.0.0.3: client CLOSE>SYN_SENT>ESTABLISHED>CLOSE reset_local by local",
	"127.0.0.3: server LISTEN>SYN_RECV>ESTABLISHED>CLOSE reset_remote by remote",
	"127.0.0.4: client CLOSE>SYN_SENT>CLOSE refused by remote",
	"127.0.0.5: client CLOSE>SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT closed by local",
	"127.0.0.5: server LISTEN>SYN_RECV>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSE closed by remote",
	"::1: client CLOSE>SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT closed by local",
	"::1: server LISTEN>SYN_RECV>ESTABLISHED>CLOSE_WAIT>LAST_ACK>CLOSE closed by remote",
	"listener CLOSE>LISTEN>CLOSE",
	"listener CLOSE>LISTEN>CLOSE",
}

// TestStreamStory plays one connection of each kind. What is told of it is the same
// on every kernel and with every set of hooks.
func TestStreamStory(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			skipVariant(t, v.hooks)
			netns := newNetns(t)
			tr := trace(t, netns, v.hooks)
			pid := playStory(t, tr, netns)
			records := tr.stop()
			if diff := cmp.Diff(story, storyOf(t, lives(t, records), pid)); diff != "" {
				t.Errorf("the story differs (-want +told):\n%s\n%v", diff, records[0].Hooks)
			}
		})
	}
}

// TestStreamFamily plays the same for the sockets of one address family: those of
// the other must not even come out of the kernel.
func TestStreamFamily(t *testing.T) {
	for _, v := range variants {
		for _, option := range []string{"-4", "-6"} {
			t.Run(v.name+option, func(t *testing.T) {
				skipVariant(t, v.hooks)
				var want []string
				listeners := 0
				for _, line := range story {
					switch {
					case strings.HasPrefix(line, "listener "): // one a family
						if listeners++; listeners == 1 {
							want = append(want, line)
						}
					case strings.HasPrefix(line, "::1: ") == (option == "-6"):
						want = append(want, line)
					}
				}
				netns := newNetns(t)
				tr := trace(t, netns, v.hooks, option)
				pid := playStory(t, tr, netns)
				records := tr.stop()
				if diff := cmp.Diff(want, storyOf(t, lives(t, records), pid)); diff != "" {
					t.Errorf("the story differs (-want +told):\n%s\n%v", diff, records[0].Hooks)
				}
				if last := records[len(records)-1]; last.Filtered != 0 {
					t.Errorf("%d changes were left out after the kernel had told them", last.Filtered)
				}
			})
		}
	}
}

// playStory plays the story while it is traced, and gives the id of its process.
func playStory(t *testing.T, tr *tracing, netns string) int {
	t.Helper()
	player, err := load.Start(load.Story(), netns)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(player.Go(), player.Done()); err != nil {
		t.Fatal(err)
	}
	tr.quiet()
	if err := player.Stop(); err != nil {
		t.Error(err)
	}
	return player.PID()
}

func storyOf(t *testing.T, all map[string]*life, pid int) []string {
	t.Helper()
	var told []string
	for _, l := range all {
		walk := strings.Join(l.states, ">")
		if l.inferred > 0 {
			walk += " (inferred)"
		}
		if len(l.closes) == 0 {
			told = append(told, "listener "+walk)
			continue
		}
		c := l.closes[0]
		if c.PID != pid {
			t.Errorf("%s belongs to pid %d (%s), want %d", walk, c.PID, c.OwnerSrc, pid)
		}
		line := c.RemoteAddr + ": client "
		if c.Direction == "incoming" {
			line = c.LocalAddr + ": server "
		}
		told = append(told, line+walk+" "+c.Outcome+" by "+c.ClosedBy)
	}
	slices.Sort(told)
	return told
}

// TestStreamShortLived wants the name and the command line of processes that
// connect and are gone at once.
func TestStreamShortLived(t *testing.T) {
	netns := newNetns(t)
	tr := trace(t, netns, "")
	const count = 50
	pids := make(map[int]string)
	for n := range count {
		p, err := load.Start(load.Client(n, 1, load.Refused), netns)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.Go(), p.Done(), p.Stop()); err != nil {
			t.Fatal(err)
		}
		pids[p.PID()] = load.Address(n).String()
	}
	tr.quiet()
	for _, l := range lives(t, tr.stop()) {
		r := l.closes[0]
		if pids[r.PID] != r.RemoteAddr {
			t.Errorf("%s belongs to pid %d, which connected to %q", r.RemoteAddr, r.PID, pids[r.PID])
		}
		delete(pids, r.PID)
		exe, _ := os.Executable() // cannot fail where it was started from
		if comm := filepath.Base(exe); !strings.HasPrefix(comm, r.Comm) || r.Comm == "" {
			t.Errorf("pid %d is called %q, want the start of %q", r.PID, r.Comm, comm)
		}
		if !strings.HasPrefix(exe, r.Cmdline) || r.Cmdline == "" {
			t.Errorf("pid %d has the command line %q, want %q", r.PID, r.Cmdline, exe)
		}
	}
	if len(pids) > 0 {
		t.Errorf("nothing was told of %v", pids)
	}
}

// halfDead finds connections that the kernel left in FIN_WAIT2 for good (the table
// was compared with its own): a packet that comes while a timewait socket takes the
// place of its full socket may find neither (inet_twsk_hashdance_schedule,
// net/ipv4/inet_timewait_sock.c, puts it at the head of a chain that is read without
// a lock), and the FIN of the other side is answered with RST.
func halfDead(all map[string]*life) map[int]bool {
	dead := make(map[int]bool)
	for _, l := range all {
		if n, outgoing, ok := l.numberOf(); ok && outgoing && l.halfDead() {
			dead[n] = true
		}
	}
	return dead
}

// halfDead reports whether the FIN of the other side never came. On a slow machine
// tcp_fin_timeout is over before the load is.
func (l *life) halfDead() bool {
	return l.last.NewState == "FIN_WAIT2" ||
		l.last.OldState == "FIN_WAIT2" && l.last.NewState == "CLOSE" && !l.last.Inferred
}

// numberOf gives the connection of the load that a life is a side of.
func (l *life) numberOf() (n int, outgoing, ok bool) {
	r := l.last
	outgoing = r.RemotePort == load.Port || r.RemotePort == load.ClosedPort
	addr := r.LocalAddr
	if outgoing {
		addr = r.RemoteAddr
	}
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return 0, outgoing, false
	}
	n, ok = load.Number(a)
	return n, outgoing, ok
}

// askedAgain finds the connections whose client sent a segment twice. It may have
// been the SYN, which makes a request of its own when it comes in after the end.
func askedAgain(all map[string]*life) map[int]bool {
	again := make(map[int]bool)
	for _, l := range all {
		if n, outgoing, ok := l.numberOf(); ok && outgoing && len(l.closes) > 0 && l.closes[0].Retrans > 0 {
			again[n] = true
		}
	}
	return again
}

// checkChurn wants each connection of the load once on each of its sides.
func checkChurn(t *testing.T, all map[string]*life, count, server int, clients []int) {
	t.Helper()
	type sides struct{ out, in int }
	told := make([]sides, count)
	problems := 0
	problem := func(format string, args ...any) {
		if problems++; problems < 20 {
			t.Errorf(format, args...)
		}
	}
	dead, again := halfDead(all), askedAgain(all)
	if most := max(1, count/10000); len(dead) > most {
		problem("%d connections stay in FIN_WAIT2, at most %d may", len(dead), most)
	}
	for id, l := range all {
		if l.states[0] == "CLOSE" && l.states[1] == "LISTEN" {
			continue
		}
		if l.halfDead() {
			continue // counted above
		}
		if len(l.closes) != 1 {
			problem("%s: closed %d times: %v", id, len(l.closes), l.states)
			continue
		}
		c := l.closes[0]
		n, outgoing, ok := l.numberOf()
		if !ok || n >= count {
			problem("%s: no connection of the load: %+v", id, c)
			continue
		}
		if !outgoing && again[n] && c.Outcome == "handshake_dropped" {
			continue
		}
		wantPID := server
		if outgoing {
			told[n].out++
			wantPID = clients[n/(count/2)]
		} else {
			told[n].in++
		}
		if c.PID != wantPID {
			problem("connection %d (outgoing %v): pid %d %s by %s, want %d", n, outgoing, c.PID, c.Comm, c.OwnerSrc, wantPID)
		}
		if dead[n] && c.Outcome == "reset_remote" {
			continue
		}
		checkEnding(problem, n, outgoing, l)
	}
	for n, s := range told {
		want := sides{1, 1}
		if load.EndingOf(n) == load.Refused {
			want.in = 0
		}
		if dead[n] {
			want.out = 0
		}
		if s != want {
			problem("connection %d: told %+v times, want %+v (asked again: %t)", n, s, want, again[n])
		}
	}
}

func checkEnding(problem func(string, ...any), n int, outgoing bool, l *life) {
	c := l.closes[0]
	walk := strings.Join(l.states, ">")
	wantWalk := "CLOSE>SYN_SENT>"
	if !outgoing {
		wantWalk = "LISTEN>SYN_RECV>ESTABLISHED>"
	}
	var outcomes []string
	switch load.EndingOf(n) {
	case load.FIN:
		outcomes = []string{"closed"}
		if outgoing {
			wantWalk += "ESTABLISHED>FIN_WAIT1>"
		} else {
			wantWalk += "CLOSE_WAIT>LAST_ACK>CLOSE"
		}
	case load.RST:
		outcomes = []string{"reset_remote"}
		if outgoing {
			wantWalk += "ESTABLISHED>CLOSE"
			outcomes = []string{"reset_local"}
		}
	case load.Refused:
		outcomes = []string{"refused"}
		wantWalk += "CLOSE"
	}
	if l.inferred == 0 && !strings.HasPrefix(walk, wantWalk) {
		problem("connection %d (outgoing %v) walked %s, want %s", n, outgoing, walk, wantWalk)
	}
	if l.inferred == 0 && !slices.Contains(outcomes, c.Outcome) {
		problem("connection %d (outgoing %v) ended as %s, want %v: %s", n, outgoing, c.Outcome, outcomes, walk)
	}
}

// nettraceIn runs this binary as nettrace in a namespace until it ends.
func nettraceIn(t *testing.T, netns string, uid uint32, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if uid != 0 { // who may not reach the directory of the test binary
		exe = copyForAll(t, exe)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), roleVar+"="+roleMain)
	cmd.Dir = "/"
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	testnet.In(t, netns, func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the status says it
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

// Without privilege the stream polls, says so, and says what is missing.
func TestStreamPolls(t *testing.T) {
	netns := newNetns(t)
	server, err := load.Start(load.Server(), netns)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	}()
	const nobody = 65534
	stdout, stderr, status := nettraceIn(t, netns, nobody, "--json", "-ac", "--duration", "1500ms")
	if status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
	for _, want := range []string{"CAP_BPF, CAP_PERFMON missing", "short-lived connections will be missed"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr does not say %q: %s", want, stderr)
		}
	}
	for _, want := range []string{`"mode":"poll"`, `"event":"socket"`, `"source":"poll"`, `"local_port":7000`, `"reason":"duration"`} {
		if !strings.Contains(stdout, want) {
			t.Errorf("stdout has no %s:\n%s", want, stdout)
		}
	}
	_, stderr, status = nettraceIn(t, netns, nobody, "-c", "--require-bpf", "--duration", "1s")
	if status != 1 || !strings.Contains(stderr, "CAP_BPF") {
		t.Errorf("--require-bpf: status %d: %s", status, stderr)
	}
}

// The options of netstat's table mean the same for the stream.
func TestStreamOptions(t *testing.T) {
	for _, c := range []struct {
		option     string
		has, hasNo string
	}{
		{"-c", "SYN_SENT", "LISTEN -> CLOSE"},
		{"-ac", "LISTEN -> CLOSE", ""},
		{"-lc", "LISTEN -> CLOSE", "SYN_SENT"},
		{"-4c", "127.0.0.1", "tcp6"},
		{"-6c", "tcp6", "127.0.0.1"},
		{"-tcp", filepath.Base(os.Args[0]), ""},
		{"-ce", "INODE", ""},
	} {
		t.Run(c.option, func(t *testing.T) {
			netns := newNetns(t)
			stdout, stderr := textDuring(t, netns, c.option, func() {
				player, err := load.Start(load.Story(), netns)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(player.Go(), player.Done(), player.Stop()); err != nil {
					t.Fatal(err)
				}
			})
			_, changes, _ := strings.Cut(stdout, "\nTIME ")
			if !strings.Contains(changes, c.has) || c.hasNo != "" && strings.Contains(changes, c.hasNo) {
				t.Errorf("want %q and not %q in:\n%s", c.has, c.hasNo, stdout)
			}
			if !strings.Contains(stderr, "changes told") {
				t.Errorf("no totals on stderr: %s", stderr)
			}
		})
	}
}

// textDuring streams text while f runs, from the header on.
func textDuring(t *testing.T, netns, option string, f func()) (stdout, stderr string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tr := &tracing{t: t, path: filepath.Join(t.TempDir(), "text")}
	out, err := os.Create(tr.path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	tr.cmd = exec.Command(exe, option, "--require-bpf", "--netns", netns)
	tr.cmd.Env = append(os.Environ(), roleVar+"="+roleMain)
	tr.cmd.Stdout, tr.cmd.Stderr = out, &tr.stderr
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		b, err := os.ReadFile(tr.path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for i := 0; !strings.Contains(read(), "\nTIME "); i++ {
		if i == 3000 {
			t.Fatalf("no header: %s%s", read(), tr.stderr.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	f()
	tr.quiet()
	if err := errors.Join(tr.cmd.Process.Signal(syscall.SIGINT), tr.cmd.Wait()); err != nil {
		t.Errorf("%v: %s", err, tr.stderr.String())
	}
	return read(), tr.stderr.String()
}

// The stream ends after the changes asked for, and quietly when nobody reads.
func TestStreamEnds(t *testing.T) {
	netns := newNetns(t)
	tr := trace(t, netns, "", "--count", "3")
	player, err := load.Start(load.Story(), netns)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(player.Go(), player.Done(), player.Stop()); err != nil {
		t.Fatal(err)
	}
	if err := tr.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, tr.stderr.String())
	}
	records := tr.records()
	if n := tr.count("tcp_state"); n != 3 {
		t.Errorf("%d changes, want 3", n)
	}
	if last := records[len(records)-1]; last.Event != "stop" || last.Reason != "count" {
		t.Errorf("the last record is %+v", last)
	}

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-c", "--require-bpf", "--netns", netns, "--duration", "20s")
	cmd.Env = append(os.Environ(), roleVar+"="+roleMain)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	for range 50 { // until it writes
		p, err := load.Start(load.Client(1, 1, load.Refused), netns)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.Go(), p.Done(), p.Stop()); err != nil {
			t.Fatal(err)
		}
		if cmd.Process.Signal(syscall.Signal(0)) != nil {
			break
		}
	}
	_ = cmd.Wait() // the status says it
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGPIPE {
		t.Errorf("ended with %v, want SIGPIPE (141 to a shell)", cmd.ProcessState)
	}
	if strings.Contains(strings.ToLower(stderr.String()), "pipe") {
		t.Errorf("it was not quiet: %s", stderr.String())
	}
}

// The initial table has the owners of what was opened before.
func TestStreamKnowsOwners(t *testing.T) {
	netns := newNetns(t)
	server, err := load.Start(load.Server(), netns)
	if err != nil {
		t.Fatal(err)
	}
	tr := trace(t, netns, "")
	records := tr.stop()
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	for _, r := range records {
		if r.Event != "socket" {
			continue
		}
		if r.PID != server.PID() || r.State != "LISTEN" || r.LocalPort != load.Port || r.OwnerSrc != "files" || r.Comm == "" {
			t.Errorf("the listener of pid %d is told as %+v", server.PID(), r)
		}
		return
	}
	t.Error("the listener is not in the initial table")
}

func TestDoctor(t *testing.T) {
	netns := newNetns(t)
	stdout, stderr, status := nettraceIn(t, netns, 0, "--doctor")
	for _, want := range []string{"kernel  ", "BTF  ", "lockdown  ", "CAP_BPF", "yes transitions", "tp_btf/inet_sock_set_state"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("status %d, no %q in:\n%s%s", status, want, stdout, stderr)
		}
	}
	if inMachine && os.Getenv("NETTRACE_KERNEL") != "5.10" && !strings.Contains(stdout, "Everything is exact here.") {
		t.Errorf("something is inexact on a stock kernel:\n%s", stdout)
	}
	stdout, _, status = nettraceIn(t, netns, 65534, "--doctor")
	if status != 1 || !strings.Contains(stdout, "no  CAP_BPF") || !strings.Contains(stdout, "polls") {
		t.Errorf("without privilege: status %d:\n%s", status, stdout)
	}
}
