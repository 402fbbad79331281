package tracer

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
)

// tupleWords are a socket as the programs decide it (bpf/wanted.h, struct tuple).
type tupleWords struct {
	Local, Remote         [4]uint32
	Family, Netns, Device uint32
	LocalPort, RemotePort uint32
	Unknown               uint32
}

func newTupleWords(h *snapshot.Head, unknown snapshot.Unknown) *tupleWords {
	words := func(a netip.Addr) (w [4]uint32) {
		b := a.As16()
		for i := range w {
			w[i] = binary.NativeEndian.Uint32(b[4*i:])
		}
		return w
	}
	t := &tupleWords{
		Local: words(h.Local.Addr()), Remote: words(h.Remote.Addr()),
		Family: unix.AF_INET6, Netns: h.Netns, Device: h.Device,
		LocalPort: uint32(h.Local.Port()), RemotePort: uint32(h.Remote.Port()),
	}
	if h.Local.Addr().Is4() {
		t.Family = unix.AF_INET
	}
	for kind, field := range fieldOf {
		t.Unknown |= uint32(unknown>>kind&1) << field
	}
	return t
}

// drawAddr draws from few addresses, so that prefixes meet them.
func drawAddr(t *rapid.T, label string) netip.Addr {
	return rapid.SampledFrom([]netip.Addr{
		netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.9.0.1"),
		netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::"), netip.MustParseAddr("::1"),
		netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:1::1"),
		netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("::ffff:10.9.0.1"),
	}).Draw(t, label)
}

func drawPort(t *rapid.T, label string) uint16 {
	return rapid.SampledFrom([]uint16{0, 1, 79, 80, 81, 443, 32768, 65534, 65535}).Draw(t, label)
}

func drawAtom(t *rapid.T) snapshot.Atom {
	a := snapshot.Atom{Kind: snapshot.AtomKind(rapid.IntRange(0, int(snapshot.AtomDevice)).Draw(t, "kind"))}
	a.Number = rapid.SampledFrom([]uint32{0, 1, 2, 4026531840}).Draw(t, "number")
	if a.Kind == snapshot.AtomFamily {
		a.Number = rapid.SampledFrom([]uint32{4, 6}).Draw(t, "family")
	}
	addr := drawAddr(t, "prefix")
	length := rapid.IntRange(0, addr.BitLen()).Draw(t, "length")
	a.Addr = netip.PrefixFrom(addr, length).Masked().Addr().As16()
	if a.OnlyIPv6 = !addr.Is4(); addr.Is4() {
		length += 96
	}
	a.Bits = uint8(length)
	for range rapid.IntRange(0, 9).Draw(t, "ranges") {
		a.Ports = append(a.Ports, snapshot.PortRange{Low: drawPort(t, "low"), High: drawPort(t, "high")})
	}
	return a
}

func drawCondition(t *rapid.T) *snapshot.Condition {
	c := new(snapshot.Condition)
	for range rapid.IntRange(0, snapshot.MaxAtoms).Draw(t, "atoms") {
		c.Atoms = append(c.Atoms, drawAtom(t))
	}
	for range rapid.IntRange(0, snapshot.MaxTerms).Draw(t, "terms") {
		bits := rapid.Uint16Max(uint16(1<<len(c.Atoms) - 1))
		c.Terms = append(c.Terms, snapshot.Term{Pos: bits.Draw(t, "pos"), Neg: bits.Draw(t, "neg")})
	}
	return c
}

func drawHead(t *rapid.T) *snapshot.Head {
	local := drawAddr(t, "local")
	remote := rapid.Custom(func(t *rapid.T) netip.Addr { return drawAddr(t, "remote") }).
		Filter(func(a netip.Addr) bool { return a.Is4() == local.Is4() }).Draw(t, "remote")
	return &snapshot.Head{
		Netns:  rapid.SampledFrom([]uint32{1, 4026531840}).Draw(t, "netns"),
		Device: rapid.SampledFrom([]uint32{0, 1, 2}).Draw(t, "device"),
		Local:  netip.AddrPortFrom(local, drawPort(t, "sport")),
		Remote: netip.AddrPortFrom(remote, drawPort(t, "dport")),
	}
}

// TestConditionInKernel has the kernel side decide made-up tuples: it decides as the
// table does, and what is unknown only ever lets more through.
func TestConditionInKernel(t *testing.T) {
	switch {
	case os.Geteuid() != 0:
		t.Skip("needs root: loads BPF programs")
	case os.Getenv("NETTRACE_KERNEL") == "5.10":
		t.Skip("needs programs that a system call runs (Linux 5.14)")
	}
	h, err := newHooks(settings{ringBytes: os.Getpagesize(), helpers: helpers{cookie: true, taskBTF: true, probe: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	var verdicts [2]int
	rapid.Check(t, func(t *rapid.T) {
		c := drawCondition(t)
		h.set.wanted = mustWant(t, c)
		if err := h.set.wanted.writeSets(h.maps.Maps[streamMapPortSets]); err != nil {
			t.Fatal(err)
		}
		defer h.drop([]string{streamProgDecide})
		if err := h.load([]string{streamProgDecide}); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			of, unknown := drawHead(t), snapshot.Unknown(rapid.IntRange(0, 127).Draw(t, "unknown"))
			want := c.Admits(of, unknown)
			got, err := h.programs[streamProgDecide].Run(&ebpf.RunOptions{Context: newTupleWords(of, unknown)})
			if err != nil {
				t.Fatal(err)
			}
			if want != (got == 1) {
				t.Fatalf("%+v of %+v without %b: the kernel side says %d, the table %v", c, of, unknown, got, want)
			}
			if c.Admits(of, 0) && !want {
				t.Fatalf("%+v of %+v: left out for what is unknown", c, of)
			}
			verdicts[got]++
		}
	})
	if slices.Min(verdicts[:]) == 0 {
		t.Errorf("one verdict alone: %v", verdicts)
	}
}

func mustWant(t *rapid.T, c *snapshot.Condition) *wanted {
	w, err := newWanted(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}
