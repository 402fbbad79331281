package view

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// routeSetup adds routes of every kind to the interfaces of interfaceSetup.
var routeSetup = []string{
	"route add default via 10.9.8.1 dev veth0",
	"route add 128.0.0.0/1 via 10.9.8.2 dev veth0 metric 3000000000",
	"route add 10.1.2.3/32 via 10.9.8.3 dev veth0",
	"route add 192.168.100.0/24 via 10.9.8.4 dev veth0 advmss 1400 window 8192 rtt 300ms",
	"route add 10.0.0.0/8 via 10.1.2.3 dev veth0 onlink",
	"route add unreachable 203.0.113.0/24",
	"route add prohibit 203.0.113.128/25 metric 5",
	"route add blackhole 198.51.100.0/24",
	"route add 198.18.0.0/15 nexthop via 10.9.8.5 dev veth0 nexthop via 10.9.8.6 dev veth0",
	"route add 192.0.2.0/24 dev abcdefghijklmno",
	"route add 172.31.0.0/16 via inet6 2001:db8::9 dev veth0",
	"-6 route add default via 2001:db8::fe dev veth0",
	"-6 route add 2001:db8:1111:2222:3333:4444:5555:6666/128 via 2001:db8::ffff dev veth0 metric 4294967295",
	"-6 route add unreachable 2001:db8:dead::/48",
	"-6 route add 2001:db8:e::/48 via 2001:db8::2 dev veth0 expires 3000",
	"-6 route add 2001:db8:5::/48 dev abcdefghijklmno",
	"addr add 224.1.2.3/32 dev veth0 autojoin",
	"addr add ff05::1:3/128 dev veth0 autojoin",
	"maddr add 33:33:00:00:00:77 dev veth0",
}

// TestLive compares with netstat itself over the kernel's own files in a namespace.
func TestLive(t *testing.T) {
	needNetstat(t)
	needTun(t)
	netns, _ := makeInterfaces(t)
	for _, line := range routeSetup {
		ip(t, append([]string{"-n", netns}, strings.Fields(line)...)...)
	}
	inNetns(t, netns, func() { makeTraffic(t) })
	etc := etcDir(t)
	trials := append(routeTrials(), statisticsTrials()...)
	trials = append(trials, groupTrials()[:2]...)
	trials = append(trials, masqueradeTrials()[0])
	trials = append(trials, legacyTrials()...)
	trials = append(trials, legacyRouteTrials()...)
	compared := 0
	for _, c := range trials {
		want, got := settled(t, etc, netns, c)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("netstat %s (-netstat +nettrace):\n%s", c.args, diff)
		}
		compared++
	}
	t.Logf("%d compared", compared)
}

// settled returns the results of netstat and of a view. It repeats until netstat has
// the same result before and after the view.
func settled(t *testing.T, etc, netns string, c trial) (want, got result) {
	t.Helper()
	for range 20 {
		want = runNetstat(t, etc, "/proc", netns, strings.Fields(c.args)...)
		got = viewIn(t, netns, c.view, "/proc")
		if want == runNetstat(t, etc, "/proc", netns, strings.Fields(c.args)...) {
			return want, got
		}
	}
	t.Fatalf("netstat %s does not agree with itself", c.args)
	return want, got
}

// makeTraffic makes counters count: a few datagrams to ports that are open and
// to ports that are not, and a TCP connection, all over lo.
func makeTraffic(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		l, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Error(err)
			return
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, "hello")
		c.Close()
		l.Close()
		if c, err := net.Dial("tcp", host+":1"); err == nil {
			c.Close()
		}
		if u, err := net.Dial("udp", host+":9"); err == nil {
			_, _ = io.WriteString(u, "nobody")
			_, _ = io.WriteString(u, "is there")
			u.Close()
		}
	}
}
