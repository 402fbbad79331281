package snapshot

import (
	"net/netip"
	"testing"
)

// atomOf makes the atom of a prefix.
func atomOf(kind AtomKind, prefix string) Atom {
	p := netip.MustParsePrefix(prefix)
	a := Atom{Kind: kind, Addr: p.Addr().As16(), Bits: uint8(p.Bits()), OnlyIPv6: p.Addr().Is6()}
	if p.Addr().Is4() {
		a.Bits += 96
	}
	return a
}

func TestAtoms(t *testing.T) {
	head := func(local, remote string) *Head {
		return &Head{Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote), Netns: 5, Device: 2}
	}
	v4, mapped, v6 := head("10.0.0.1:80", "10.0.0.2:1000"), head("[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.2]:1000"), head("[2001:db8::1]:80", "[2001:db8::2]:1000")
	for _, tt := range []struct {
		atom                 Atom
		isV4, isMapped, isV6 bool
	}{
		{atomOf(AtomLocalAddr, "10.0.0.1/32"), true, true, false},
		{atomOf(AtomLocalAddr, "10.0.0.0/31"), true, true, false},
		{atomOf(AtomRemoteAddr, "10.0.0.0/31"), false, false, false},
		{atomOf(AtomRemoteAddr, "10.0.0.0/30"), true, true, false},
		{atomOf(AtomLocalAddr, "0.0.0.0/0"), true, true, false},
		{atomOf(AtomLocalAddr, "::/0"), false, true, true},
		{atomOf(AtomLocalAddr, "::ffff:0:0/96"), false, true, false},
		{atomOf(AtomLocalAddr, "::ffff:10.0.0.1/128"), false, true, false},
		{atomOf(AtomLocalAddr, "2001:db8::/32"), false, false, true},
		{atomOf(AtomLocalAddr, "2001:db8::1/128"), false, false, true},
		{atomOf(AtomLocalAddr, "2001:db8::2/127"), false, false, false},
		{Atom{Kind: AtomLocalPort, Ports: []PortRange{{1, 79}, {80, 80}}}, true, true, true},
		{Atom{Kind: AtomRemotePort, Ports: []PortRange{{1, 999}, {1001, 65535}}}, false, false, false},
		{Atom{Kind: AtomFamily, Number: 4}, true, false, false},
		{Atom{Kind: AtomFamily, Number: 6}, false, true, true},
		{Atom{Kind: AtomNetns, Number: 5}, true, true, true},
		{Atom{Kind: AtomDevice, Number: 1}, false, false, false},
	} {
		if tt.atom.Holds(v4) != tt.isV4 || tt.atom.Holds(mapped) != tt.isMapped || tt.atom.Holds(v6) != tt.isV6 {
			t.Errorf("%+v: %v %v %v", tt.atom, tt.atom.Holds(v4), tt.atom.Holds(mapped), tt.atom.Holds(v6))
		}
		for _, h := range []*Head{v4, mapped, v6} {
			positive := Condition{Atoms: []Atom{tt.atom}, Terms: []Term{{Pos: 1}}}
			negative := Condition{Atoms: []Atom{tt.atom}, Terms: []Term{{Neg: 1}}}
			if positive.Admits(h, 0) == negative.Admits(h, 0) {
				t.Errorf("%+v and its negation agree about %+v", tt.atom, h)
			}
			unknown := Unknown(1) << tt.atom.Kind
			if !positive.Admits(h, unknown) || !negative.Admits(h, unknown) {
				t.Errorf("%+v excludes what is not known", tt.atom)
			}
		}
	}
}

func TestCondition(t *testing.T) {
	h := &Head{Local: netip.MustParseAddrPort("10.0.0.1:80"), Remote: netip.MustParseAddrPort("10.0.0.2:1000")}
	none, all := Condition{}, Condition{Terms: []Term{{Pos: 1}, {}}, Atoms: []Atom{{Kind: AtomFamily, Number: 6}}}
	if none.Admits(h, 127) || none.Always() || !all.Admits(h, 0) || !all.Always() {
		t.Error("without terms a condition admits something, or with an empty one it does not")
	}
	port := Condition{Atoms: []Atom{{Kind: AtomRemotePort, Ports: []PortRange{{443, 443}}}, {Kind: AtomLocalPort, Ports: []PortRange{{443, 443}}}}, Terms: []Term{{Pos: 1}}}
	if port.Admits(h, 0) || !port.Admits(h, UnknownOfListener) {
		t.Error("a listener is decided by its peer")
	}
	port.Terms[0].Pos = 2
	if port.Admits(h, UnknownOfListener) {
		t.Error("a listener is not decided by its port")
	}
}
