package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/snapshot"
)

// sameTuple makes a connection in a namespace, always between the same addresses.
// Where it is to end it is left in TIME_WAIT, else it stays, with keepalives.
func sameTuple(t *testing.T, netns string, ended bool) {
	t.Helper()
	testnet.In(t, netns, func() {
		l, err := net.Listen("tcp", "127.0.0.1:8000")
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Close()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9000}}
		client, err := d.Dial("tcp", "127.0.0.1:8000")
		if err != nil {
			t.Error(err)
			return
		}
		server, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		if !ended {
			t.Cleanup(func() { _, _ = client.Close(), server.Close() })
			return
		}
		client.Close()
		_, _ = server.Read(make([]byte, 1)) // the FIN
		server.Close()
	})
}

// TestStreamTimers checks that a row of the initial table has the timer of its own
// socket, where that is in another namespace and where a socket between the same
// addresses is in a third one, also where the rows come from /proc. The judge is /proc/net/tcp of each.
func TestStreamTimers(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil && !inMachine {
		t.Skip("needs a kernel with BTF: ", err)
	}
	ended, lives := newNetns(t), newNetns(t)
	sameTuple(t, ended, true)
	sameTuple(t, lives, false)
	timers := map[uint8]string{2: "keepalive (", 3: "timewait ("}
	want := map[string]int{}
	for _, netns := range []string{ended, lives} {
		for _, s := range testnet.TCPSockets(t, netns) {
			if s.State == snapshot.Established || s.State == snapshot.TimeWait {
				want[fmt.Sprint(s.State, " ", timers[s.Timer])]++
			}
		}
	}
	if len(want) != 2 || want["TIME_WAIT timewait ("] != 1 || want["ESTABLISHED keepalive ("] != 2 {
		t.Fatalf("/proc has the timers %v", want)
	}
	fromProc := []string{"--all-netns", "--hooks", "tp_btf,cgroup,syscall"} // no iterator
	for _, scope := range [][]string{{"--netns", ended}, {"--netns", lives}, {"--all-netns"}, fromProc} {
		args := append([]string{"-cano", "--require-bpf", "--duration", "300ms"}, scope...)
		out, err := nettraceCommand(t, args...).Output()
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		table, _, _ := strings.Cut(string(out), "\nTIME ")
		for row := range strings.Lines(table) {
			if !strings.Contains(row, "127.0.0.1:8000") || !strings.Contains(row, "127.0.0.1:9000") {
				continue
			}
			right := false
			for pair := range want {
				state, timer, _ := strings.Cut(pair, " ")
				right = right || strings.Contains(row, state) && strings.Contains(row, timer)
			}
			if !right {
				t.Errorf("%q: a wrong timer in %q", scope, row)
			}
		}
		if !strings.Contains(table, "127.0.0.1:9000") {
			t.Errorf("%q: no row of the connections in %q", scope, table)
		}
	}
}
