package snapshot

import (
	"bytes"
	"net/netip"
)

// Condition is what a TCP socket must fulfil, as far as its addresses, its network
// namespace and its interface tell. It is a disjunction of terms over atoms, small
// enough for a tracing program. A value that is not known yet fulfils it.
type Condition struct {
	Atoms []Atom // at most MaxAtoms
	Terms []Term // at most MaxTerms; none: no socket fulfils it
}

// Bounds of a Condition.
const (
	MaxAtoms = 16
	MaxTerms = 8
)

// Term is a conjunction: the atoms of Pos hold and those of Neg do not. Each bit is an
// atom. The empty term always holds.
type Term struct{ Pos, Neg uint16 }

// AtomKind says what an atom is about.
type AtomKind uint8

// The kinds of atoms.
const (
	AtomLocalAddr AtomKind = iota
	AtomRemoteAddr
	AtomLocalPort
	AtomRemotePort
	AtomFamily
	AtomNetns
	AtomDevice
)

// Atom is one fact about a socket.
type Atom struct {
	Kind AtomKind
	// OnlyIPv6 keeps a prefix to sockets of the IPv6 family. An IPv4 prefix is kept as
	// a v4-mapped one without it: it holds for both.
	OnlyIPv6 bool
	Bits     uint8       // of Addr that are compared, 0 to 128
	Addr     [16]byte    // in network order, further bits are zero
	Ports    []PortRange // of a port
	Number   uint32      // of the others: 4 or 6, the inode, the index
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ Low, High uint16 }

// Unknown is a set of kinds of atoms whose values are not known.
type Unknown uint8

// UnknownOfListener is what does not decide about a listener: its children take over
// from it, and have addresses of their own.
const UnknownOfListener Unknown = 1<<AtomLocalAddr | 1<<AtomRemoteAddr | 1<<AtomRemotePort | 1<<AtomDevice

// Always reports whether every socket fulfils the condition.
func (c *Condition) Always() bool {
	for _, t := range c.Terms {
		if t == (Term{}) {
			return true
		}
	}
	return false
}

// Admits reports whether a socket may fulfil the condition, whatever the values are
// that are not known.
func (c *Condition) Admits(h *Head, unknown Unknown) bool {
	var holds, open uint16 // of the atoms
	for i := range c.Atoms {
		a := &c.Atoms[i]
		switch {
		case unknown&(1<<a.Kind) != 0:
			open |= 1 << i
		case a.Holds(h):
			holds |= 1 << i
		}
	}
	for _, t := range c.Terms {
		if t.Pos&^(holds|open) == 0 && t.Neg&holds == 0 {
			return true
		}
	}
	return false
}

// Holds reports whether the atom is true of a socket whose values are known.
func (a *Atom) Holds(h *Head) bool {
	switch a.Kind {
	case AtomLocalAddr:
		return a.holdsAddr(h.Local.Addr())
	case AtomRemoteAddr:
		return a.holdsAddr(h.Remote.Addr())
	case AtomLocalPort:
		return a.holdsPort(h.Local.Port())
	case AtomRemotePort:
		return a.holdsPort(h.Remote.Port())
	case AtomFamily:
		return (a.Number == 4) == h.Local.Addr().Is4()
	case AtomNetns:
		return a.Number == h.Netns
	default:
		return a.Number == h.Device
	}
}

func (a *Atom) holdsAddr(addr netip.Addr) bool {
	if a.OnlyIPv6 && addr.Is4() || !addr.IsValid() {
		return false
	}
	there := addr.As16() // of IPv4: v4-mapped
	whole := a.Bits / 8
	if !bytes.Equal(a.Addr[:whole], there[:whole]) {
		return false
	}
	rest := a.Bits % 8
	return rest == 0 || (a.Addr[whole]^there[whole])>>(8-rest) == 0
}

func (a *Atom) holdsPort(port uint16) bool {
	for _, r := range a.Ports {
		if r.Low <= port && port <= r.High {
			return true
		}
	}
	return false
}

// Equal reports whether two atoms are about the same fact.
func (a *Atom) Equal(b *Atom) bool {
	if a.Kind != b.Kind || a.OnlyIPv6 != b.OnlyIPv6 || a.Bits != b.Bits || a.Addr != b.Addr ||
		a.Number != b.Number || len(a.Ports) != len(b.Ports) {
		return false
	}
	for i := range a.Ports {
		if a.Ports[i] != b.Ports[i] {
			return false
		}
	}
	return true
}
