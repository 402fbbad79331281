package main

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/testnet"
)

// streamFilters are told by the stream as ss selects them at a quiet moment. What the
// stream is asked for may be more: where the last record that is told of a connection
// has to be the one that shows its state, those that leave it are told, too.
var streamFilters = []struct{ ss, stream string }{
	{"sport = :7000", "sport = :7000"},
	{"dport = :7001 or sport = :7001", "port 7001"},
	{"sport >= :50000 sport <= :50049", "sport in {50000-50049}"}, // ports that the kernel chooses
	{"src 127.0.0.2", "src 127.0.0.2"},
	{"dst ::ffff:0:0/96", "dst ::ffff:0:0/96"},
	{"not dst 127.0.0.0/8", "not dst 127/8"},
	{"src [::1]", "ip6 and src ::1"},
	{"state established", "( state established or old_state established )"},
	{"state established dport = :7000", "dport = :7000 and ( state established or old_state established )"},
	{"state close-wait", "( state close-wait or old_state close-wait )"},
	{"exclude time-wait", "( state != time-wait or old_state != time-wait )"},
}

// TestFilterSSStream holds connections of every kind open in front of streams with
// filters, and compares what each told of those that are open with ss: of unbound
// connects, of children of listeners, of mapped peers.
func TestFilterSSStream(t *testing.T) {
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skip("needs ss(8), package iproute2")
	}
	ns := newNetns(t)
	testnet.Set(t, ns, "net/ipv4/ip_local_port_range", "50000 50099")
	before := holdConnections(t, ns, 0)
	defer before()
	var streams []*tracing
	for _, f := range streamFilters {
		streams = append(streams, trace(t, ns, "", "--filter", f.stream))
	}
	after := holdConnections(t, ns, 1)
	defer after()
	compared, differ := 0, 0
	for i, f := range streamFilters {
		streams[i].quiet()
		want := ssIn(t, ns, f.ss)
		got := openTold(streams[i].records(), strings.HasPrefix(f.ss, "state ") || strings.HasPrefix(f.ss, "exclude "), f.ss)
		compared += len(want)
		if len(want) == 0 || !slices.Equal(got, want) {
			differ++
			t.Errorf("--filter %q told of\n%s\nss %s selects\n%s", f.stream, strings.Join(got, "\n"), f.ss, strings.Join(want, "\n"))
		}
		streams[i].stop()
	}
	t.Logf("%d filters with %d sockets compared, %d differ", len(streamFilters), compared, differ)
}

// holdConnections opens listeners, the first time, and connections of IPv4, IPv6 and
// from IPv4 to a listener of both; some are closed by one side or by both.
func holdConnections(t *testing.T, ns string, round int) (end func()) {
	t.Helper()
	var held []interface{ Close() error }
	testnet.In(t, ns, func() {
		for port, addr := range map[int]string{7000: "127.0.0.1:7000", 7001: "[::]:7001"} {
			l, err := net.Listen("tcp", fmt.Sprint(addr[:strings.LastIndexByte(addr, ':')+1], port+10*round))
			if err != nil {
				t.Error(err)
				return
			}
			held = append(held, l)
			peers := []string{"127.0.0.1"}
			if port == 7001 {
				peers = []string{"127.0.0.1", "::1"}
			}
			for i := range 8 {
				held = append(held, connectHeld(t, l, peers[i%len(peers)], i)...)
			}
		}
	})
	return func() {
		for _, c := range held {
			c.Close()
		}
	}
}

// connectHeld connects to a listener; the number decides from where and what then
// happens to the connection.
func connectHeld(t *testing.T, l net.Listener, peer string, i int) (held []interface{ Close() error }) {
	var d net.Dialer
	if i == 2 && peer == "127.0.0.1" {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	client, err := d.Dial("tcp", net.JoinHostPort(peer, port))
	if err != nil {
		t.Error(err)
		return nil
	}
	server, err := l.Accept()
	if err != nil {
		t.Error(err)
		return []interface{ Close() error }{client}
	}
	switch i {
	case 5: // its peer is left in CLOSE_WAIT
		client.Close()
		_, _ = server.Read(make([]byte, 1))
		return []interface{ Close() error }{server}
	case 6, 7:
		client.Close()
		_, _ = server.Read(make([]byte, 1))
		server.Close()
		return nil
	}
	return []interface{ Close() error }{client, server}
}

// ssIn returns what ss lists of the TCP sockets of a namespace.
func ssIn(t *testing.T, ns, expression string) []string {
	t.Helper()
	var out []byte
	var err error
	testnet.In(t, ns, func() {
		out, err = exec.Command("ss", append([]string{"-Htan"}, strings.Fields(expression)...)...).Output()
	})
	if err != nil {
		t.Fatalf("ss %s: %v", expression, err)
	}
	var ids []string
	for line := range strings.Lines(string(out)) {
		columns := strings.Fields(line)
		local, remote := ssEndpoint(columns[len(columns)-2]), ssEndpoint(columns[len(columns)-1])
		ids = append(ids, socketID("tcp", local, remote))
	}
	slices.Sort(ids)
	return ids
}

// openTold returns the sockets that a stream told of and that its last record of each
// shows as ones that are there. With states only those that are in the states that ss
// is asked for.
func openTold(records []record, states bool, expression string) []string {
	last := map[string]record{}
	for _, r := range records {
		switch r.Event {
		case "socket":
			r.NewState = r.State
			last[r.ConnID] = r
		case "tcp_state":
			last[r.ConnID] = r
		}
	}
	ids := []string{}
	for _, r := range last {
		switch {
		case r.NewState == "CLOSE",
			states && strings.HasPrefix(expression, "state established") && r.NewState != "ESTABLISHED",
			states && strings.HasPrefix(expression, "state close-wait") && r.NewState != "CLOSE_WAIT",
			states && strings.HasPrefix(expression, "exclude time-wait") && r.NewState == "TIME_WAIT":
			continue
		}
		local, _ := netip.ParseAddr(r.LocalAddr)
		remote, _ := netip.ParseAddr(r.RemoteAddr)
		ids = append(ids, socketID("tcp", netip.AddrPortFrom(local, r.LocalPort), netip.AddrPortFrom(remote, r.RemotePort)))
	}
	slices.Sort(ids)
	return ids
}
