package view

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/testnet"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// interfaceTrials are the command lines of -i.
func interfaceTrials(source snapshot.InterfaceSource) []trial {
	var trials []trial
	add := func(args string, o Options) {
		trials = append(trials, trial{args, interfacesOf(source, o)})
	}
	add("-i", Options{})
	add("-ia", Options{All: true})
	add("-ie", Options{Extend: 1})
	add("-iaee", Options{All: true, Extend: 2})
	return trials
}

// interfacesOf returns the view of what a source says.
func interfacesOf(source snapshot.InterfaceSource, o Options) view {
	return func(w, diag io.Writer, proc string) error {
		o.Kind = Interfaces
		return Run(Env{Stdout: unbuffered{w}, Stderr: diag, Proc: proc, Interfaces: source}, o)
	}
}

// linkTypes are the ARPHRD numbers that netstat knows, and some that it does not.
// For ash (781), and for unknown types with addresses of less than eight bytes,
// netstat prints uninitialised memory; they are left out.
var linkTypes = []int{
	0, 1, 3, 7, 15, 27, 256, 257, 258, 259, 264, 270, 271, 512, 513, 516, 768, 770, 772, 774, 776, 780, 782, 783,
	32, 801, 823, 65534,
}

// interfaceSetup makes interfaces of every kind in a network namespace.
var interfaceSetup = []string{
	"link set lo up",
	"link add veth0 mtu 1300 type veth peer name abcdefghijklmno",
	"link set veth0 up txqueuelen 77",
	"link set abcdefghijklmno up promisc on",
	"addr add 10.9.8.7/24 broadcast 10.9.8.255 dev veth0",
	"addr add 10.9.8.8/24 broadcast 10.9.8.255 dev veth0 label veth0:1",
	"addr add 10.9.9.8/30 dev veth0 label veth0:x",
	"addr add 2001:db8::1/64 dev veth0 nodad",
	"addr add ::1.2.3.4/96 dev veth0 nodad",
	"addr add fec0::5/10 dev veth0 nodad",
	"addr add 10.20.0.1 peer 10.20.0.2 dev abcdefghijklmno",
	"link add br0 type bridge",
	"link set br0 up allmulticast on multicast off",
	"addr add 172.16.5.4/20 broadcast + dev br0",
	"link add eth01 type veth peer name eth1",
	"link add eth10 type veth peer name eth2",
	"link set eth2 up arp off",
	"link add abcdefghijklmn type veth peer name a-1",
	"link set abcdefghijklmn up",
	"addr add 10.1.1.1/32 dev abcdefghijklmn",
}

// makeInterfaces makes a network namespace with interfaces and returns its name, and
// the source of ioctls in it.
func makeInterfaces(t *testing.T) (netns string, source *snapshot.Ioctl) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	netns = fmt.Sprintf("nt-%d", os.Getpid())
	ip(t, "netns", "add", netns)
	t.Cleanup(func() { ip(t, "netns", "del", netns) })
	for _, line := range interfaceSetup {
		ip(t, append([]string{"-n", netns}, strings.Fields(line)...)...)
	}
	var err error
	inNetns(t, netns, func() {
		for _, number := range linkTypes {
			if err == nil {
				err = makeTun(fmt.Sprintf("t%d", number), number)
			}
		}
		if err == nil {
			source, err = snapshot.NewIoctl()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close() })
	ip(t, "-n", netns, "link", "set", "t513", "up")
	ip(t, "-n", netns, "addr", "add", "10.77.0.1/16", "dev", "t513")
	return netns, source
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %q: %v\n%s", args, err, out)
	}
}

// inNetns calls a function on a thread in a network namespace.
func inNetns(t *testing.T, name string, f func()) {
	t.Helper()
	testnet.In(t, filepath.Join("/run/netns", name), f)
}

// makeTun makes a tun interface that has a link type.
func makeTun(name string, linkType int) error {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN)
	return errors.Join(
		unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, ifr),
		unix.IoctlSetInt(int(f.Fd()), unix.TUNSETPERSIST, 1),
		unix.IoctlSetInt(int(f.Fd()), unix.TUNSETLINK, linkType),
	)
}

// needTun skips a test where there are no tun interfaces.
func needTun(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("needs tun interfaces: %v", err)
	}
}

// TestInterfacesLikeNetstat compares with netstat itself in a namespace: first
// its own counters, then random ones.
func TestInterfacesLikeNetstat(t *testing.T) {
	needNetstat(t)
	needTun(t)
	netns, source := makeInterfaces(t)
	etc := etcDir(t)
	compared, differ := 0, 0
	check := func(c trial, want, got result) {
		compared++
		if diff := cmp.Diff(want, got); diff != "" {
			differ++
			t.Errorf("netstat %s (-netstat +nettrace):\n%s", c.args, diff)
		}
	}
	for _, c := range interfaceTrials(source) {
		// Interfaces that have just come up still send packets on their own.
		want, got := settled(t, etc, netns, c)
		check(c, want, got)
	}
	names := interfaceNames()
	for seed := range seeds(50) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		dir := t.TempDir()
		if rnd.IntN(10) > 0 {
			write(t, dir, "net/dev", randomCounters(rnd, names))
		}
		if rnd.IntN(4) > 0 {
			write(t, dir, "net/if_inet6", randomAddrs6(rnd, names))
		}
		write(t, dir, "net/igmp", "")
		for _, c := range interfaceTrials(source) {
			check(c, runNetstat(t, etc, dir, netns, strings.Fields(c.args)...), viewIn(t, netns, c.view, dir))
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d compared, %d differ", compared, differ)
}

// viewIn runs a view in a network namespace.
func viewIn(t *testing.T, netns string, v view, proc string) (r result) {
	t.Helper()
	if proc == "/proc" {
		proc = "/proc/thread-self"
	}
	inNetns(t, netns, func() { r = runView(t, v, proc) })
	return r
}

// interfaceNames returns the interfaces of a namespace, without aliases.
func interfaceNames() []string {
	names := []string{"lo", "veth0", "abcdefghijklmno", "br0", "eth01", "eth1", "eth10", "eth2", "abcdefghijklmn", "a-1"}
	for _, number := range linkTypes {
		names = append(names, fmt.Sprintf("t%d", number))
	}
	return names
}

const deviceHeader = "Inter-|   Receive                                                |  Transmit\n" +
	" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"

func randomCounters(rnd *rand.Rand, names []string) string {
	var b strings.Builder
	b.WriteString(deviceHeader)
	for _, i := range rnd.Perm(len(names)) {
		if rnd.IntN(15) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%6s:", names[i])
		columns := 16
		if rnd.IntN(30) == 0 {
			columns = rnd.IntN(17)
		}
		for range columns {
			value := fmt.Sprint(rnd.Uint64() >> rnd.IntN(64))
			if rnd.IntN(3) == 0 {
				value = pick(rnd, "0", "1", "1023", "1024", "1025", "1048576", "1048577", "18446744073709551615", "99999999999999999999999", "-1", "07")
			}
			b.WriteString(" " + value)
		}
		b.WriteString("\n")
		if rnd.IntN(40) == 0 {
			b.WriteString(" lo: 1 2 3\n")
		}
	}
	if rnd.IntN(10) == 0 {
		b.WriteString("  gone0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")
	}
	return b.String()
}

func randomAddrs6(rnd *rand.Rand, names []string) string {
	var b strings.Builder
	for range rnd.IntN(15) {
		fmt.Fprintf(&b, "%s %02x %02x %02x %02x %8s\n", randomHex6(rnd), rnd.IntN(60), rnd.IntN(129),
			[]int{0, 0x10, 0x20, 0x40, 0x80, 0x90, 0xa0, 0xc0, 0x30, 0x01, 0xff}[rnd.IntN(11)], rnd.IntN(256),
			names[rnd.IntN(len(names))])
	}
	return b.String()
}

// recorded is what the kernel reported of interfaces when a golden file was made.
type recorded struct {
	Names      []string // of those with an IPv4 address
	Interfaces map[string]snapshot.Interface
}

func (r *recorded) Addressed() ([]string, error) { return r.Names, nil }

func (r *recorded) Query(i *snapshot.Interface) error {
	known, ok := r.Interfaces[i.Name]
	if !ok {
		return unix.ENODEV
	}
	known.Name, known.Counters, known.Addrs6 = i.Name, i.Counters, i.Addrs6
	*i = known
	return nil
}

func TestInterfaces(t *testing.T) {
	const record = "testdata/interfaces.json"
	golden := filepath.Join("testdata", "interfaces.golden")
	if *update {
		recordInterfaces(t, record, golden)
	}
	b, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	var source recorded
	if err := json.Unmarshal(b, &source); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, c := range interfaceTrials(&source) {
		fmt.Fprintf(&got, "== netstat %s\n%s", c.args, runView(t, c.view, "testdata/proc"))
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-netstat +nettrace):\n%s", diff)
	}
}

// recordInterfaces makes interfaces, and writes what the kernel and netstat report
// of them to the golden files.
func recordInterfaces(t *testing.T, record, golden string) {
	needNetstat(t)
	needTun(t)
	netns, source := makeInterfaces(t)
	rnd := rand.New(rand.NewPCG(6, 5))
	names := interfaceNames()
	write(t, "testdata/proc", "net/dev", randomCounters(rnd, names))
	write(t, "testdata/proc", "net/if_inet6", randomAddrs6(rnd, names))
	addressed, err := source.Addressed()
	if err != nil {
		t.Fatal(err)
	}
	r := recorded{addressed, map[string]snapshot.Interface{}}
	for _, name := range append(names, addressed...) {
		i := snapshot.Interface{Name: name}
		if err := source.Query(&i); err != nil {
			t.Fatal(err)
		}
		r.Interfaces[name] = i
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	write(t, ".", record, string(b)+"\n")
	proc, err := filepath.Abs("testdata/proc")
	if err != nil {
		t.Fatal(err)
	}
	etc := etcDir(t)
	var text strings.Builder
	for _, c := range interfaceTrials(source) {
		fmt.Fprintf(&text, "== netstat %s\n%s", c.args, runNetstat(t, etc, proc, netns, strings.Fields(c.args)...))
	}
	write(t, ".", golden, text.String())
}

// TestInterfaceParts checks the lines that no interface of the tests above has: those
// for SLIP, for media ports and for hardware resources.
func TestInterfaceParts(t *testing.T) {
	source := &recorded{nil, map[string]snapshot.Interface{
		"sl0": {
			Flags: snapshot.InterfaceUp | snapshot.InterfacePortSel | snapshot.InterfaceAutoMedia, MTU: 296,
			HWType: unix.ARPHRD_CSLIP, TxQueueLen: -1, SLIP: snapshot.SLIP{OutFill: 5, KeepAlive: 7},
			Addr: netip.MustParseAddr("10.0.0.1"),
			Map:  snapshot.InterfaceMap{MemStart: 0xd0000, MemEnd: 0xd3fff, BaseAddr: 0x300, IRQ: 11, DMA: 3, Port: 2},
		},
		"none": {HWType: unix.ARPHRD_ROSE, HWAddr: [14]byte{0x12, 0x34, 0x56, 0x78, 0x90}, Map: snapshot.InterfaceMap{BaseAddr: 0xff}},
		"odd":  {Flags: 0x2000, HWType: unix.ARPHRD_AX25, HWAddr: [14]byte{'A' << 1, 'B' << 1, ' ' << 1, ' ' << 1, ' ' << 1, ' ' << 1, 5 << 1}},
	}}
	dir := t.TempDir()
	write(t, dir, "net/dev", "one\ntwo\n sl0: 2048 1 2 3 4 5 6 7 1025 9 10 11 12 13 14 15\nnone:\nodd:\n")
	got := runView(t, func(w, diag io.Writer, proc string) error {
		s := testSession(w, diag, proc, Options{All: true, Extend: 1}, output.Names{})
		s.env.Interfaces, s.rounds = source, 1 // a later round has no title
		return s.interfaces()
	}, dir)
	want := result{Stdout: `none: flags=0<  mtu 0
        rose 1234567890  txqueuelen 0  (AMPR ROSE)
        RX packets 0  bytes 0 (0.0 B)
        RX errors 0  dropped 0  overruns 0  frame 0
        TX packets 0  bytes 0 (0.0 B)
        TX errors 0  dropped 0 overruns 0  carrier 0  collisions 0

odd: flags=8192  mtu 0
        ax25 AB-5  txqueuelen 0  (AMPR AX.25)
        media unknown
        RX packets 0  bytes 0 (0.0 B)
        RX errors 0  dropped 0  overruns 0  frame 0
        TX packets 0  bytes 0 (0.0 B)
        TX errors 0  dropped 0 overruns 0  carrier 0  collisions 0

sl0: flags=24577<UP>  mtu 296  outfill 5  keepalive 7
        inet 10.0.0.1  netmask [NONE SET]
        cslip  (VJ Serial Line IP)
        media 10baseTautoselect
        RX packets 1  bytes 2048 (2.0 KiB)
        RX compressed:6
        RX errors 2  dropped 3  overruns 4  frame 5
        TX packets 9  bytes 1025 (1.0 KiB)
        TX compressed 15
        TX errors 10  dropped 11 overruns 12  carrier 14  collisions 13
        device interrupt 11  base 0x300  memory 0xd0000-d3fff    dma 0x3

`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestInterfaceAddrs4 checks that a record has all IPv4 addresses of its interface,
// or of its alias. The judge is ip(8).
func TestInterfaceAddrs4(t *testing.T) {
	needTun(t)
	netns, _ := makeInterfaces(t)
	ip(t, "-n", netns, "addr", "add", "10.9.7.7/32", "dev", "veth0")
	out, err := exec.Command("ip", "-j", "-4", "-n", netns, "addr").Output()
	if err != nil {
		t.Fatal(err)
	}
	var links []struct {
		AddrInfo []struct {
			Local     string
			Prefixlen int
			Label     string
		} `json:"addr_info"`
	}
	if err := json.Unmarshal(out, &links); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	for _, link := range links {
		for _, a := range link.AddrInfo {
			want[a.Label] = append(want[a.Label], fmt.Sprintf("%s/%d", a.Local, a.Prefixlen))
		}
	}
	if len(want["veth0"]) != 2 || len(want["veth0:1"]) != 1 {
		t.Fatalf("ip(8) shows %v", want)
	}
	var r result
	inNetns(t, netns, func() { r = runView(t, interfacesOf(nil, Options{All: true, JSON: true}), "/proc/thread-self") })
	got := map[string][]string{}
	for line := range strings.Lines(r.Stdout) {
		var i struct {
			Iface  string
			Addrs4 []string
		}
		if err := json.Unmarshal([]byte(line), &i); err != nil {
			t.Fatal(err)
		}
		if i.Addrs4 != nil {
			got[i.Iface] = i.Addrs4
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-ip +nettrace):\n%s", diff)
	}
}

// TestInterfaceNames compares rows of net/dev with names that kernels from 4.12 on
// do not allow with netstat's.
func TestInterfaceNames(t *testing.T) {
	needNetstat(t)
	netns := filepath.Base(testnet.New(t))
	ip(t, "-n", netns, "addr", "add", "10.0.0.1/8", "dev", "lo", "label", "lo:1")
	ip(t, "-n", netns, "addr", "add", "10.0.0.2/8", "dev", "lo", "label", "lo:x")
	const counters = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
	for _, name := range []string{"lo:", "lo:1:", "lo:x:", "lo:1", "lo:1:2:", "lo: 7:8", "l o:", "lo :", "lo:1 2:", "lo::"} {
		proc := t.TempDir()
		write(t, proc, "net/dev", deviceHeader+"  "+name+counters)
		want := runNetstat(t, etcDir(t), proc, netns, "-ia")
		got := viewIn(t, netns, interfacesOf(nil, Options{All: true}), proc)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-netstat +nettrace):\n%s", name, diff)
		}
	}
}
