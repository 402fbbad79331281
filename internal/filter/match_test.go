package filter_test

import (
	"net/netip"
	"testing"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// scene has one record of each kind that differs, by name.
func scene() map[string]*field.Subject {
	nginx := &snapshot.Process{PID: 100, Comm: "nginx", Cmdline: "/usr/sbin/nginx\x00-g\x00daemon off;\x00", Exe: "/usr/sbin/nginx"}
	worker := &snapshot.Process{PID: 101, Comm: "worker", Cmdline: "nginx: worker\x00"}
	head := func(local, remote string, state snapshot.State) snapshot.Head {
		return snapshot.Head{
			State: state, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote),
			UID: 33, Inode: 7, RecvQ: 5, SendQ: 0,
		}
	}
	row := func(h snapshot.Head, p snapshot.Protocol) *field.Subject {
		h.Protocol = p
		s := &field.Subject{}
		s.SetSocket(&snapshot.Socket{Head: h})
		return s
	}
	m := map[string]*field.Subject{
		"listen": row(head("0.0.0.0:80", "0.0.0.0:0", snapshot.Listen), snapshot.TCP),
		"v4":     row(head("10.0.0.1:40001", "10.0.0.2:80", snapshot.Established), snapshot.TCP),
		"mapped": row(head("[::ffff:10.0.0.2]:8080", "[::ffff:10.0.0.1]:40002", snapshot.Established), snapshot.TCP),
		"v6":     row(head("[2001:db8::1]:40003", "[2001:db8::2]:443", snapshot.CloseWait), snapshot.TCP),
		"udp":    row(head("0.0.0.0:53", "0.0.0.0:0", snapshot.Close), snapshot.UDP),
	}
	wait := head("10.0.0.1:40305", "10.0.0.2:9000", snapshot.TimeWait)
	wait.UID, wait.Inode = 0, 0
	m["wait"] = row(wait, snapshot.TCP)
	m["listen"].Head.Owner = snapshot.Owner{Process: nginx, Source: snapshot.OwnerFiles}
	m["listen"].Others = []*snapshot.Process{worker}
	m["v4"].Attr = &field.Attributes{Device: 2, Mark: 0x13, CgroupID: 71, Autobound: true}
	m["wait"].Attr = &field.Attributes{Mark: 0x10}
	m["v4"].Head.Workload = &snapshot.Workload{
		ContainerID: "0123abc", ContainerName: "web", Namespace: "shop", Pod: "web-0", PodContainer: "web", PodUID: "1-2", Unit: "docker-0123abc.scope", Slice: "system.slice",
	}
	m["v6"].Head.Workload = &snapshot.Workload{Unit: "nginx.service", Slice: "system.slice"}
	m["udp"].Head.Workload = &snapshot.Workload{ContainerName: "web2", Unit: "machine-web2.scope", Slice: "machine.slice"}
	unix := &field.Subject{}
	unix.SetUnix(&snapshot.UnixSocket{Path: "/run/u/App.sock", State: 1, Flags: snapshot.UnixAccepting}, &snapshot.Head{})
	m["unix"] = unix
	return m
}

// streamScene has records of the stream.
func streamScene() map[string]*field.Subject {
	const second = 1_000_000_000
	conn := func(established uint64, known bool) *table.Conn {
		return &table.Conn{
			Head: snapshot.Head{
				State: snapshot.Established, UID: 0, Netns: 4026531840, Device: 1,
				Local: netip.MustParseAddrPort("10.0.0.1:40001"), Remote: netip.MustParseAddrPort("10.0.0.2:80"),
			},
			ID: 0xabc, Start: second, Established: established, StartKnown: known, HasUID: true, Direction: table.Outgoing,
		}
	}
	set := func(c *table.Change) *field.Subject {
		s := &field.Subject{}
		s.SetChange(c)
		return s
	}
	young := conn(0, true)
	young.Local = netip.MustParseAddrPort("10.0.0.1:0")
	return map[string]*field.Subject{
		"syn":     set(&table.Change{Time: second, Old: snapshot.Close, New: snapshot.SynSent, Conn: young}),
		"est":     set(&table.Change{Time: 2 * second, Old: snapshot.SynSent, New: snapshot.Established, Conn: conn(2*second, true)}),
		"refused": set(&table.Change{Time: 2 * second, Old: snapshot.SynSent, New: snapshot.Close, Conn: conn(0, true), Close: &table.Closed{Outcome: table.Refused, Errno: 111}}),
		"closed": set(&table.Change{Kind: table.ChangeClose, Time: 5 * second, Conn: conn(2*second, true), Close: &table.Closed{
			Outcome: table.Finished, ClosedBy: table.Local, HasStats: true, BytesSent: 12000, BytesReceived: 3, RTT: 1500, MinRTT: ^uint32(0),
		}}),
		"old": set(&table.Change{Kind: table.ChangeClose, Time: 5 * second, Conn: conn(0, false), Close: &table.Closed{Outcome: table.ResetRemote}}),
	}
}

func TestMatch(t *testing.T) {
	const all = "listen v4 mapped v6 udp wait unix"
	checkMatches(t, scene(), inView, [][2]string{
		{"", all},
		{"src :80", "listen"},
		{"sport = http", "listen"},
		{"sport http,domain", "listen udp"},
		{"port 80", "listen v4"},
		{"port != 80", "mapped v6 udp wait unix"},
		{"not port 80", "mapped v6 udp wait unix"},
		{"port in { 80, 8000-8080 }", "listen v4 mapped"},
		{"dst 10.0.0.0/8", "v4 mapped wait"},
		{"dst ::ffff:0:0/96", "mapped"},
		{"dst ::/0", "mapped v6"},
		{"not dst ::/0", "listen v4 udp wait unix"},
		{"src 0.0.0.0/0", "listen v4 mapped udp wait"},
		{"src 0.0.0.0", "listen udp"},
		{"src inet:10/8", "v4 wait"},
		{"src *", "listen v4 mapped v6 udp wait"},
		{"host both", "v4 mapped v6 wait"},
		{"dst both", "v4 v6 wait"},
		{"host 10.0.0.1", "v4 mapped wait"},
		{"net 10", "v4 mapped wait"},
		{"dst = web:80", "v4"},
		{"dst != web", "listen mapped v6 udp unix"},
		{"dst in { web:9000, 10.0.0.1 }", "mapped wait"},
		{"sport inet6:8080", "mapped"},
		{"dport >= :9000", "mapped wait"},
		{"dport > 65535", ""},
		{"dport <= 65535", "listen v4 mapped v6 udp wait"},
		{"dport < 0", ""},
		{"sport > http and sport < 40000", "mapped"},
		{"udp", "udp"},
		{"tcp port 53 or udp port 53", "udp"},
		{"ip6", "mapped v6"},
		{"family = ipv4", "listen v4 udp wait"},
		{"state established", "v4 mapped"},
		{"state listening", "listen unix"},
		{"exclude connected", "listen udp unix"},
		{"state LISTEN TIME_WAIT", ""},
		{"state LISTEN,TIME_WAIT", "listen wait unix"},
		{"sport = :80 or state = time-wait", "listen wait"},
		{"state established or sport = :80", "listen v4 mapped"},
		{"state established sport = :80 or dport = :80", "v4"},
		{"state established exclude established", ""},
		{"state != established", "listen v6 udp wait unix"},
		{"pid 101", "listen"},
		{"pid != 101", "v4 mapped v6 udp wait unix"},
		{"pid > 100", "listen"},
		{"pid in { 1-99, 103 }", ""},
		{"comm nginx", "listen"},
		{"comm ~ ^work", "listen"},
		{"comm !~ ^work", "v4 mapped v6 udp wait unix"},
		{"program nginx", "listen"},
		{"exe ~ /sbin/", "listen"},
		{"cmdline ~ 'nginx -g daemon'", "listen"},
		{"has pid", "listen"},
		{"owner files", "listen"},
		{"uid 33", "listen v4 mapped v6 udp"},
		{"uid 0", ""},
		{"user www-data", "listen v4 mapped v6 udp"},
		{"user != www-data", "wait unix"},
		{"dev eth0", "v4"},
		{"dev != eth0", "listen mapped v6 udp wait unix"},
		{"dev 0", "wait"},
		{"iface eth0", "v4 wait"},
		{"fwmark 0x10", "wait"},
		{"fwmark 0x10/0xfc", "v4 wait"},
		{"fwmark != 0x10/0xfc", "listen mapped v6 udp unix"},
		{"cgroup /web/a", "v4"},
		{"cgroup web", ""},
		{"cgroup /web/*", "v4"},
		{"cgroup ~ a$", "v4"},
		{"cgroup 71", "v4"},
		{"cgroup != /web/a", "listen mapped v6 udp wait unix"},
		{"container web", "v4"},
		{"container 0123", "v4"},
		{"container_id 0123abc", "v4"},
		{"container 012", ""},
		{"container 123a", ""},
		{"container in { web, web2 }", "v4 udp"},
		{"container ~ ^web", "v4 udp"},
		{"container ~ abc$", "v4"},
		{"container != web", "listen mapped v6 udp wait unix"},
		{"container !~ web", "listen mapped v6 wait unix"},
		{"has container", "v4"},
		{"has container_name", "v4 udp"},
		{"container_name = web2", "udp"},
		{"k8s_pod web-0 and k8s_namespace shop", "v4"},
		{"pod ~ ^web- and namespace = shop", "v4"},
		{"k8s_container web", "v4"},
		{"k8s_pod_uid 1-2", "v4"},
		{"unit nginx.service,machine-web2.scope", "v6 udp"},
		{"slice = system.slice", "v4 v6"},
		{"has slice", "v4 v6 udp"},
		{"autobound", "v4"},
		{"inode 7", "listen v4 mapped v6 udp"},
		{"recv_q > 4", "listen v4 mapped v6 udp wait"},
		{"src unix:/RUN/*.sock", "unix"},
		{"src unix:/run/*.soc", ""},
		{"src /run/u/[Aa]pp.sock", "unix"},
		{"src @*", ""},
		{"unix", "unix"},
		{"src [fe80::1%eth0]", ""},
	})
}

func TestMatchStream(t *testing.T) {
	checkMatches(t, streamScene(), inStream, [][2]string{
		{"sport != 1", "syn est refused closed old"},
		{"has sport", "est refused closed old"},
		{"state established", "est closed old"},
		{"old_state syn-sent", "est refused"},
		{"( state established or old_state established )", "est closed old"},
		{"new_state = established", "est closed old"},
		{"direction out", "syn est refused closed old"},
		{"direction = in", ""},
		{"failed", "refused"},
		{"outcome = refused", "refused"},
		{"outcome in { closed, reset_remote }", "closed old"},
		{"errno ECONNREFUSED", "refused"},
		{"closed_by local", "closed"},
		{"latency >= 1s", "est closed"},
		{"latency < 1s", ""},
		{"established_ns > 999ms", "est closed"},
		{"duration > 2s", "closed old"},
		{"duration > 4s", ""},
		{"duration >= 4s", "closed old"},
		{"duration < 5s", "refused closed"},
		{"duration = 4s", "closed"},
		{"duration != 4s", "syn est refused old"},
		{"bytes > 12k", "closed"},
		{"sent <= 12000", "closed"},
		{"received 3", "closed"},
		{"rtt >= 1500us", "closed"},
		{"has rtt_min", ""},
		{"netns web", "syn est refused closed old"},
		{"netns != 4026531840", ""},
		{"dev lo", "syn est refused closed old"},
		{"uid 0", "syn est refused closed old"},
		{"conn_id 0xabc", "syn est refused closed old"},
		{"inferred = true", ""},
		{"tcp", "syn est refused closed old"},
		{"udp", ""},
	})
}

func checkMatches(t *testing.T, records map[string]*field.Subject, run filter.Run, table [][2]string) {
	t.Helper()
	for _, row := range table {
		f, err := filter.Parse(row[0], filter.Options{})
		if err != nil {
			if row[0] != "state LISTEN TIME_WAIT" {
				t.Errorf("%v", err)
			}
			continue
		}
		p, err := f.Bind(fakeNames{}, run)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		want := map[string]bool{}
		for _, name := range words(row[1]) {
			want[name] = true
		}
		for name, s := range records {
			if got := p.Match(s); got != want[name] {
				t.Errorf("%q and %s: %v", row[0], name, got)
			}
		}
		again, err := filter.Parse(f.String(), filter.Options{})
		if err != nil || again.String() != f.String() {
			t.Errorf("%q is printed as %q, and that as %v: %v", row[0], f, again, err)
		}
	}
}

// TestAllocs checks that a decision allocates nothing once a process is known.
func TestAllocs(t *testing.T) {
	for _, tt := range []struct {
		run     filter.Run
		records map[string]*field.Subject
		text    string
	}{
		{inView, scene(), "( src 10/8 or dst 2001:db8::/32 or port in { 80, 8000-8080 } ) and not comm ~ x and program != y and cmdline !~ z and cgroup != /web/* and user root,nobody and dev != lo and iface != eth0 and container != x and unit !~ y and fwmark != 1/3 and uid > 3"},
		{inStream, streamScene(), "duration > 1s or failed or latency < 3ms or bytes > 10k or old_state established or netns != web or pid 7 or direction in { incoming }"},
	} {
		p := compile(t, tt.text, tt.run)
		if n := testing.AllocsPerRun(100, func() {
			for _, s := range tt.records {
				p.Match(s)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", tt.text, n)
		}
	}
}
