package main

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// TestStreamChurn makes connections at full speed. Every transition of both ends of
// each must be reported, with the right process.
func TestStreamChurn(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			skipVariant(t, v.hooks)
			count := 30000
			if inMachine {
				count = 3000 // to read the records takes longest there
			}
			churn(t, v.hooks, count)
		})
	}
}

func churn(t *testing.T, hooks string, count int) {
	netns := newNetns(t)
	// All records fit, so that nothing hangs on the turns that the reader gets.
	tr := trace(t, netns, hooks, "--ring-size", "64M")
	server := startLoad(t, load.Server(), netns)
	var clients []*load.Process
	for i := range 2 {
		clients = append(clients, startLoad(t, load.Client(i*count/2, count/2, -1), netns))
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

// stockKernel reports whether tracing programs see every event. On kernels that
// refuse trampolines by a policy of their own they may miss some. These kernels have
// no kprobes either, and that is what is looked for.
func stockKernel() bool {
	b, err := os.ReadFile("/proc/kallsyms")
	return err == nil && bytes.Contains(b, []byte(" arm_kprobe"))
}

// halfDead finds connections that the kernel itself left in FIN_WAIT2. While a
// timewait socket replaces its full socket, a packet may find neither of the two:
// inet_twsk_hashdance_schedule (net/ipv4/inet_timewait_sock.c) puts it at the head
// of a chain that is read without a lock. If that packet is the other side's FIN,
// the kernel answers with RST and the connection stays in FIN_WAIT2.
func halfDead(all map[string]*life) map[int]bool {
	dead := make(map[int]bool)
	for _, l := range all {
		if n, outgoing, ok := l.numberOf(); ok && outgoing && l.halfDead() {
			dead[n] = true
		}
	}
	return dead
}

// halfDead reports whether the other side's FIN never came. The last state is then
// FIN_WAIT2, or CLOSE on a slow machine, where tcp_fin_timeout ends before the load.
func (l *life) halfDead() bool {
	return l.last.NewState == "FIN_WAIT2" ||
		l.last.OldState == "FIN_WAIT2" && l.last.NewState == "CLOSE" && !l.last.Inferred
}

// numberOf returns which connection of the load this is, and whether it is the
// client's side.
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

// askedAgain finds the connections whose client retransmitted a segment. If that was
// the SYN, and it arrives after the connection's end, it makes a request socket of
// its own.
func askedAgain(all map[string]*life) map[int]bool {
	again := make(map[int]bool)
	for _, l := range all {
		if n, outgoing, ok := l.numberOf(); ok && outgoing && len(l.closes) > 0 && l.closes[0].Retrans > 0 {
			again[n] = true
		}
	}
	return again
}

// checkChurn checks that each side of each connection of the load was reported once,
// with its process and its ending.
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
	// Where the kernel preempts, a process may sit in each copy of the state program.
	// sock_ops sees a transition then, and not what says why a connection ends.
	unseen := 0
	if most := max(1, count/10000); len(dead) > most {
		problem("%d connections stay in FIN_WAIT2, at most %d may", len(dead), most)
	}
	for id, l := range all {
		if l.states[0] == "CLOSE" && l.states[1] == "LISTEN" {
			continue
		}
		if l.halfDead() {
			continue // counted in dead
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
		if inMachine && c.Outcome == "unknown" && c.BytesSent == nil {
			unseen++
			continue
		}
		checkEnding(problem, n, outgoing, l)
	}
	if most := max(1, count/1000); unseen > most {
		problem("of %d ends every copy of the program was skipped, at most %d may be", unseen, most)
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
