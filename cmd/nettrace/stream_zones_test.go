package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/testnet"
)

// linkLocalNetns makes a network namespace with two interfaces, one of which has
// the address fe80::5.
func linkLocalNetns(t *testing.T) string {
	t.Helper()
	netns := newNetns(t)
	for _, line := range []string{
		"link add v0 type veth peer name v1", "link set v0 up", "link set v1 up", "addr add fe80::5/64 dev v0 nodad",
	} {
		words := append([]string{"-n", filepath.Base(netns)}, strings.Fields(line)...)
		if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v: %s", words, err, out)
		}
	}
	return netns
}

// connectLinkLocal listens on fe80::5, connects to it and hands the ends over.
func connectLinkLocal(t *testing.T, netns string, while func()) {
	t.Helper()
	testnet.In(t, netns, func() {
		l, err := net.ListenTCP("tcp6", &net.TCPAddr{IP: net.ParseIP("fe80::5"), Port: 8001, Zone: "v0"})
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Close()
		client, err := net.DialTCP("tcp6", nil, &net.TCPAddr{IP: net.ParseIP("fe80::5"), Port: 8001, Zone: "v0"})
		if err != nil {
			t.Error(err)
			return
		}
		server, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		while()
		client.Close()
		_, _ = server.Read(make([]byte, 1)) // the FIN
		server.Close()
	})
}

// TestStreamZones checks that a link-local address has its zone in each record of
// the stream, those of request and timewait sockets too. The judge are the
// addresses that the sockets were bound and connected to.
func TestStreamZones(t *testing.T) {
	netns := linkLocalNetns(t)
	tr := trace(t, netns, "")
	connectLinkLocal(t, netns, func() {})
	tr.quiet()
	states := map[string]bool{}
	for _, r := range tr.stop() {
		if r.ConnID == "" {
			continue
		}
		states[r.NewState] = true
		if r.LocalAddr != "fe80::5%v0" || r.RemoteAddr != "fe80::5%v0" && r.RemoteAddr != "::" {
			t.Errorf("%s %s -> %s of %s, %s", r.Event, r.OldState, r.NewState, r.LocalAddr, r.RemoteAddr)
		}
	}
	for _, state := range []string{"LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "TIME_WAIT"} {
		if !states[state] {
			t.Errorf("no record of %s", state)
		}
	}
}

// TestRowZones checks the same of the rows of a view. The judge is ss.
func TestRowZones(t *testing.T) {
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skip("needs ss(8), package iproute2")
	}
	netns := linkLocalNetns(t)
	name := filepath.Base(netns)
	var want, got []string
	connectLinkLocal(t, netns, func() {
		u, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.ParseIP("fe80::5"), Port: 8002, Zone: "v0"})
		if err != nil {
			t.Error(err)
			return
		}
		defer u.Close()
		out, err := exec.Command("ip", "netns", "exec", name, "ss", "-Htuan").Output()
		if err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(string(out)) {
			want = append(want, strings.NewReplacer("[", "", "]", "").Replace(strings.Fields(line)[4]))
		}
		records, err := nettraceCommand(t, "-antu", "--json", "--netns", name).Output()
		if err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(string(records)) {
			var r record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Error(err)
			}
			got = append(got, fmt.Sprintf("%s:%d", r.LocalAddr, r.LocalPort))
		}
	})
	slices.Sort(want)
	slices.Sort(got)
	if len(want) != 4 || !slices.Equal(want, got) {
		t.Errorf("the view has the sockets %q, ss %q", got, want)
	}
}

// TestStreamRowZones checks the same of the initial table, from iterators, from /proc
// and where the stream polls.
func TestStreamRowZones(t *testing.T) {
	netns := linkLocalNetns(t)
	const args = "-acn --json --duration 1200ms"
	connectLinkLocal(t, netns, func() {
		for _, source := range []struct {
			name string
			uid  uint32
			args string
		}{
			{"iterators", 0, args + " --require-bpf"},
			{"/proc", 0, args + " --require-bpf --hooks tp_btf,cgroup,syscall"},
			{"polling", 65534, args},
		} {
			stdout, stderr, status := nettraceIn(t, netns, source.uid, strings.Fields(source.args)...)
			if status != 0 {
				t.Errorf("%s: status %d: %s", source.name, status, stderr)
			}
			rows := 0
			for line := range strings.Lines(stdout) {
				var r record
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Error(err)
				}
				if r.Event != "socket" {
					continue
				}
				rows++
				if r.LocalAddr != "fe80::5%v0" {
					t.Errorf("%s: a row of %s", source.name, r.LocalAddr)
				}
			}
			if rows != 3 {
				t.Errorf("%s: %d rows, want 3", source.name, rows)
			}
		}
	})
}
