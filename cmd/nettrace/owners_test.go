package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
)

// Whose a socket is: the process that called connect, listen or accept, as it was
// then, or nobody.

// The ports that the actors listen on; nobody listens on actorPort+1.
const actorPort = 7100

// program gives the path of a program of the machine.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("needs ", name, ": ", err)
	}
	return path
}

// isClient says that a record is of the side that called connect.
func (c *claim) isClient() bool { return c.RemotePort >= actorPort && c.RemotePort < actorPort+100 }

// peer is the port that the client was given: it names a connection of a test.
func (c *claim) peer() uint16 {
	if c.isClient() {
		return c.LocalPort
	}
	return c.RemotePort
}

// readsNames says that the kernel lets BPF programs read the names of files.
func readsNames() bool {
	b, err := os.ReadFile("/sys/kernel/security/lockdown")
	return err != nil || !strings.Contains(string(b), "[confidentiality]")
}

// TestOwnerRenamed has a process call itself otherwise between its calls, the last
// time with a title longer than its arguments. The judge is /proc at each call.
func TestOwnerRenamed(t *testing.T) {
	here := place{netns: newNetns(t)}
	a := here.actor(t)
	tr := here.trace(t)
	titles := []string{"", "worker: idle", "worker: job 17", "worker: job 18", strings.Repeat("a long title ", 12)}
	want := make(map[uint16]portrait)
	for i, title := range titles {
		if title != "" {
			a.do(order{Do: "rename", Name: fmt.Sprintf("name %d", i/2), Title: title})
		}
		got := a.do(order{Do: "connect", Port: actorPort + 1})
		want[got.Local] = got.Self
	}
	told := make(map[uint16]portrait)
	for _, c := range tr.claims(here.netns) {
		if c.NewState == "SYN_SENT" {
			told[c.LocalPort] = portrait{c.PID, c.Comm, c.Cmdline, c.Exe}
		}
	}
	for port, self := range want { // the start of a long command line is kept
		self.Cmdline = self.Cmdline[:min(len(self.Cmdline), 256)]
		want[port] = self
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("what is reported differs from /proc (-/proc +reported):\n%s", diff)
	}
}

// TestOwnerExec has processes become another program right after connect. The judge
// is /proc/self/exe before.
func TestOwnerExec(t *testing.T) {
	here := place{netns: newNetns(t)}
	sleep := program(t, "sleep")
	server := here.actor(t)
	server.do(order{Do: "listen", Port: actorPort})
	tr := here.trace(t)
	want := make(map[int]portrait)
	for range 10 {
		a := here.actor(t)
		want[a.pid] = a.do(order{}).Self
		a.send(order{Do: "exec", Port: actorPort, Argv: []string{sleep, "0.1"}})
		_ = a.cmd.Wait() // sleep has no status that matters
	}
	seen := 0
	for _, c := range tr.claims(here.netns) {
		if !c.isClient() {
			continue
		}
		self := want[c.PID]
		if c.NewState == "SYN_SENT" {
			seen++
		}
		if c.Comm != self.Comm || c.Exe != self.Exe && (c.Exe != "" || readsNames()) {
			t.Errorf("%s: pid %d is %q, %q; it connected as %q, %q", c.NewState, c.PID, c.Comm, c.Exe, self.Comm, self.Exe)
		}
	}
	if seen != len(want) {
		t.Errorf("%d connections were reported, want %d", seen, len(want))
	}
}

// TestOwnerHandsOn has a process connect and hand the socket to a program that it
// starts, whose exit closes it. The owner is who connected.
func TestOwnerHandsOn(t *testing.T) {
	here := place{netns: newNetns(t)}
	sleep := program(t, "sleep")
	a := here.actor(t)
	a.do(order{Do: "listen", Port: actorPort})
	tr := here.trace(t)
	made := a.do(order{Do: "connect", Port: actorPort})
	a.do(order{Do: "hand", FD: made.FD, Argv: []string{sleep, "0.2"}})
	closed := false
	for _, c := range tr.claims(here.netns) {
		if !c.isClient() {
			continue
		}
		closed = closed || c.NewState == "FIN_WAIT1"
		if c.PID != made.Self.PID || c.Comm != made.Self.Comm || c.Exe != made.Self.Exe {
			t.Errorf("%s: pid %d %q %q, want %+v", c.NewState, c.PID, c.Comm, c.Exe, made.Self)
		}
	}
	if !closed {
		t.Error("the end of the program did not close the socket")
	}
}

// workers are processes that listen on one address and port.
type workers []*actor

// take has all but the first accept what is in their queues, and gives the pid of the
// one that accepted each connection, by the client's port.
func (w workers) take(fds []int, took map[uint16]int) {
	for i, a := range w {
		for _, port := range a.do(order{Do: "accept", FD: fds[i]}).Peers {
			took[port] = a.pid
		}
	}
}

// TestOwnerReusePort has four workers listen on one port, each with a queue of its
// own. The first is stuck: it accepts only when all was reported. The judge is accept().
func TestOwnerReusePort(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(map[bool]string{true: "listening before", false: "listening later"}[first], func(t *testing.T) {
			here := place{netns: newNetns(t)}
			var w workers
			var fds []int
			listen := func() {
				for range 4 {
					a := here.actor(t)
					fds = append(fds, a.do(order{Do: "listen", Port: actorPort, ReusePort: true}).FD)
					w = append(w, a)
				}
			}
			if first {
				listen()
			}
			tr := here.trace(t)
			if !first {
				listen()
			}
			client := here.actor(t)
			took := make(map[uint16]int)
			const count = 60
			for range count {
				client.do(order{Do: "connect", Port: actorPort})
				w[1:].take(fds[1:], took)
			}
			claims := tr.claims(here.netns)
			w.take(fds, took)
			checkTaken(t, claims, took, count)
		})
	}
}

// checkTaken wants each connection to belong to the process that took it out of its
// queue, from its first record on, or for that moment to nobody.
func checkTaken(t *testing.T, claims []claim, took map[uint16]int, count int) {
	t.Helper()
	if len(took) != count {
		t.Fatalf("%d connections were accepted, want %d", len(took), count)
	}
	known, records := 0, 0
	wrong := problems{t: t}
	for _, c := range claims {
		if c.isClient() || c.RemotePort == 0 {
			continue
		}
		records++
		switch c.PID {
		case took[c.peer()]:
			known++
		case 0:
			if c.Comm != "" || c.Exe != "" {
				wrong.add("a process without number: %+v", c)
			}
		default:
			wrong.add("%s -> %s of %d is of pid %d (%s), %d accepted it", c.OldState, c.NewState, c.peer(), c.PID, c.OwnerSrc, took[c.peer()])
		}
	}
	t.Logf("%d records: %d owners known, %d wrong", records, known, wrong.n)
	if known < records/2 {
		t.Errorf("of %d records %d have an owner", records, known)
	}
}

// TestOwnerShared has two processes accept from a listener that they were handed. Until
// then a connection has the owner of its listener, and says so; from then on, and at its
// end at the latest, it is of the one that accepted it.
func TestOwnerShared(t *testing.T) {
	here := place{netns: newNetns(t)}
	tr := here.trace(t)
	var listener *os.File
	testnet.In(t, here.netns, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		listener = os.NewFile(uintptr(fd), "listener")
		if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: actorPort}), unix.Listen(fd, 16)); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	w := workers{here.newActor(t, actorActs, 0, listener), here.newActor(t, actorActs, 0, listener)}
	client := here.actor(t)
	took := make(map[uint16]int)
	for i := range 10 {
		client.do(order{Do: "connect", Port: actorPort})
		w[i%2:][:1].take([]int{3}, took)
	}
	tr.settle()
	for _, a := range append(w, client) {
		a.end()
	}
	wrong := problems{t: t}
	closed := 0
	for _, c := range tr.claims(here.netns) {
		switch {
		case c.isClient():
		case c.RemotePort == 0:
			if c.NewState == "LISTEN" && c.PID != os.Getpid() {
				wrong.add("the listener is of pid %d, want %d", c.PID, os.Getpid())
			}
		case c.OwnerSrc == "listener":
			if c.Event == "tcp_close" || c.PID != os.Getpid() {
				wrong.add("%s -> %s is of pid %d by the listener", c.OldState, c.NewState, c.PID)
			}
		case c.PID != took[c.peer()]:
			wrong.add("%s -> %s is of pid %d (%s), %d accepted it", c.OldState, c.NewState, c.PID, c.OwnerSrc, took[c.peer()])
		case c.Event == "tcp_close":
			closed++
		}
	}
	if closed != len(took) || closed != 10 {
		t.Errorf("%d closes of %d connections were reported with their owner, want 10", closed, len(took))
	}
	runtime.KeepAlive(listener)
}

// TestOwnerDevice has two processes listen on one port of a device each, with nothing in
// their addresses to tell them by. What comes in by one device goes to its listener.
func TestOwnerDevice(t *testing.T) {
	for first, name := range []string{"used first", "used second"} {
		t.Run(name, func(t *testing.T) {
			here := place{netns: newNetns(t)}
			addDevice(t, here.netns, "other")
			tr := here.trace(t)
			devices := []string{"lo", "other"}
			if first != 0 {
				slices.Reverse(devices)
			}
			var w workers
			var fds []int
			for _, device := range devices {
				a := here.actor(t)
				fds = append(fds, a.do(order{Do: "listen", Port: actorPort, Device: device}).FD)
				w = append(w, a)
			}
			client := here.actor(t)
			const count = 10
			for range count {
				client.do(order{Do: "connect", Port: actorPort})
			}
			claims := tr.claims(here.netns)
			took := make(map[uint16]int)
			w.take(fds, took)
			checkTaken(t, claims, took, count)
		})
	}
}

// addDevice makes a network device that carries nothing.
func addDevice(t *testing.T, netns, name string) {
	t.Helper()
	var errs []string
	for _, kind := range []string{"dummy", "bridge", "veth"} {
		out, err := exec.Command("ip", "-n", filepath.Base(netns), "link", "add", name, "type", kind).CombinedOutput()
		if err == nil {
			return
		}
		errs = append(errs, fmt.Sprintf("%s: %s", kind, out))
	}
	t.Skip("needs a second network device: ", errs)
}

// TestOwnerMPTCP has a process with MPTCP sockets from before the tracer, which
// accepts more later. The judge is netstat -p. The kernel's own threads, which close
// subflows, own nothing.
func TestOwnerMPTCP(t *testing.T) {
	here := place{netns: newNetns(t)}
	netstat := program(t, "netstat")
	server, client := here.actor(t), here.actor(t)
	made := server.try(order{Do: "listen", Port: actorPort, MPTCP: true})
	if made.Error != "" {
		if made.Missing || strings.Contains(made.Error, "protocol") {
			t.Skip("needs a kernel with MPTCP: ", made.Error)
		}
		t.Fatal(made.Error)
	}
	connect := order{Do: "connect", Port: actorPort, MPTCP: true}
	accept := order{Do: "accept", FD: made.FD}
	old := client.do(connect)
	oldTaken := server.do(accept)
	tr := here.trace(t)
	client.do(connect)
	server.do(accept)
	tr.settle()
	judge := netstatOwners(t, here.netns, netstat)
	if len(judge) != 5 {
		t.Fatalf("netstat shows %v, want five sockets", judge)
	}
	for _, c := range []struct {
		a  *actor
		fd int
	}{{client, old.FD}, {server, oldTaken.FDs[0]}} {
		c.a.do(order{Do: "close", FD: c.fd})
	}
	tr.settle()
	later := client.do(connect) // accepted and closed before anybody looks
	laterTaken := server.do(accept)
	server.do(order{Do: "close", FD: laterTaken.FDs[0]})
	client.do(order{Do: "close", FD: later.FD})
	rows, began := make(map[string]int), make(map[string]bool)
	for _, c := range tr.claims(here.netns) {
		want := server.pid
		if c.isClient() {
			want = client.pid
		}
		name := fmt.Sprintf("%d %d", c.LocalPort, c.RemotePort)
		if c.Event != "socket" {
			began[name] = true
		} else if !began[name] { // else its owner was found late
			rows[name] = c.PID
		}
		if c.PID != want && c.PID != 0 || c.PID == 0 && c.Comm != "" {
			t.Errorf("%d -> %d %s>%s: pid %d %q by %q, want %d", c.LocalPort, c.RemotePort, c.OldState, c.NewState, c.PID, c.Comm, c.OwnerSrc, want)
		}
	}
	for name := range judge {
		if _, there := rows[name]; !there {
			delete(judge, name) // it came later
		}
	}
	if len(rows) != 3 {
		t.Errorf("the initial table has %v, want three sockets", rows)
	}
	if diff := cmp.Diff(judge, rows); diff != "" {
		t.Errorf("the initial table differs from netstat -p (-netstat +reported):\n%s", diff)
	}
}

// netstatOwners gives the pids that netstat shows, by the ports.
func netstatOwners(t *testing.T, netns, netstat string) map[string]int {
	t.Helper()
	var out []byte
	var err error
	testnet.In(t, netns, func() { out, err = exec.Command(netstat, "-tanp").Output() })
	if err != nil {
		t.Fatal(err)
	}
	port := func(endpoint string) string {
		return strings.TrimPrefix(strings.ReplaceAll(endpoint[strings.LastIndexByte(endpoint, ':'):], "*", "0"), ":")
	}
	owners := make(map[string]int)
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 7 || f[0] != "tcp" {
			continue
		}
		number, _, _ := strings.Cut(f[6], "/")
		pid, _ := strconv.Atoi(number) // "-" is none
		owners[port(f[3])+" "+port(f[4])] = pid
	}
	return owners
}

// TestOwnerUser has the table read while connections of a user end: the kernel has no
// user for what is left of them, and 0 is root.
func TestOwnerUser(t *testing.T) {
	here := place{netns: newNetns(t)}
	const uid = 12345
	server, client := here.actor(t), here.newActor(t, actorActs, uid)
	listener := server.do(order{Do: "listen", Port: actorPort})
	end := func(o answer) { // the client closes first
		client.do(order{Do: "close", FD: o.FD})
	}
	answerEnd := func() {
		for _, fd := range server.do(order{Do: "accept", FD: listener.FD}).FDs {
			server.do(order{Do: "close", FD: fd})
		}
	}
	end(client.do(order{Do: "connect", Port: actorPort}))
	answerEnd() // and is in TIME_WAIT before the tracer
	tr := here.trace(t)
	for range 5 {
		end(client.do(order{Do: "connect", Port: actorPort})) // in FIN_WAIT2
		tr.resync()
		answerEnd()
		tr.resync()
	}
	timewait, last := 0, 0
	for _, c := range tr.claims(here.netns) {
		switch {
		case !c.isClient():
		case c.Event == "socket": // the kernel has forgotten the user
			timewait++
			if c.UID != nil {
				t.Errorf("a socket in %s has the user %d (%s)", c.State, *c.UID, c.User)
			}
		default:
			if c.NewState == "TIME_WAIT" {
				last++
			}
			if c.UID == nil || *c.UID != uid {
				t.Errorf("%s %s -> %s is of the user %v (%s), want %d", c.Event, c.OldState, c.NewState, c.UID, c.User, uid)
			}
		}
	}
	if timewait != 1 || last != 5 {
		t.Errorf("%d sockets were in TIME_WAIT before, %d came there, want 1 and 5", timewait, last)
	}
}

// TestOwnerDestroyed has ss(8) destroy a connection that nobody has accepted: it works
// on other processes' sockets and owns none.
func TestOwnerDestroyed(t *testing.T) {
	here := place{netns: newNetns(t)}
	ss := program(t, "ss")
	server, client := here.actor(t), here.actor(t)
	tr := here.trace(t)
	server.do(order{Do: "listen", Port: actorPort})
	made := client.do(order{Do: "connect", Port: actorPort})
	testnet.In(t, here.netns, func() {
		out, err := exec.Command(ss, "-KtH", "sport", "=", strconv.Itoa(actorPort), "dport", "=", strconv.Itoa(int(made.Local))).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	ended := false
	for _, c := range tr.claims(here.netns) {
		ended = ended || !c.isClient() && c.OldState == "ESTABLISHED" && c.NewState == "CLOSE"
		if pids := []int{0, server.pid, client.pid}; !slices.Contains(pids, c.PID) {
			t.Errorf("%s -> %s is of pid %d (%s, %s)", c.OldState, c.NewState, c.PID, c.Comm, c.OwnerSrc)
		}
	}
	if !ended {
		t.Skip("needs a kernel that destroys sockets on demand (CONFIG_INET_DIAG_DESTROY)")
	}
}
