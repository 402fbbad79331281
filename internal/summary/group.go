package summary

import (
	"encoding/binary"
	"net/netip"

	"github.com/nettrace/nettrace/internal/field"
)

// group is what has the same values of the keys.
type group struct {
	keys []keyValue // nil: the rest, which has several
	counts
	amounts []amount // one for each field that is measured
}

// keyValue is the value of a key; it may be absent.
type keyValue struct {
	field.Value
	known bool
}

// counts are what was counted in a window.
type counts struct {
	count  uint64 // rows, transitions or ends
	opened uint64
	failed uint64
	open   uint64 // at the end of the window; it outlives it
}

func (c *counts) add(other *counts) {
	c.count += other.count
	c.opened += other.opened
	c.failed += other.failed
	c.open += other.open
}

// idle reports whether there is nothing to tell of the group.
func (c *counts) idle() bool { return *c == counts{} }

// groups are the groups of a window.
type groups struct {
	spec    *Spec
	byKey   map[string]*group
	rest    group  // of what found no place
	over    uint64 // how often something was counted there
	values  []keyValue
	encoded []byte
	devices Devices
}

// Devices returns the names of interfaces, as output.Devices does. nil: there are none.
type Devices interface {
	Device(netns, index uint32) string
}

func newGroups(spec *Spec, devices Devices) *groups {
	g := &groups{spec: spec, byKey: make(map[string]*group), values: make([]keyValue, len(spec.keys)), devices: devices}
	g.rest.amounts = newAmounts(spec)
	return g
}

// of returns the group of a subject. It allocates only for a new group.
func (g *groups) of(s *field.Subject) *group {
	g.encoded = g.encoded[:0]
	for i := range g.spec.keys {
		g.values[i] = g.read(&g.spec.keys[i], s)
		g.encoded = g.values[i].append(g.encoded)
	}
	if found := g.byKey[string(g.encoded)]; found != nil {
		return found
	}
	if len(g.byKey) >= g.spec.groups {
		return &g.rest
	}
	made := &group{keys: append([]keyValue(nil), g.values...), amounts: newAmounts(g.spec)}
	g.byKey[string(g.encoded)] = made
	return made
}

// counted notes that something was counted in a group.
func (g *groups) counted(one *group) {
	if one == &g.rest {
		g.over++
	}
}

// read reads the value of a key. An IPv4 address is the same whatever socket it is of,
// and an address may be folded to its network. An interface goes by its name.
func (g *groups) read(k *key, s *field.Subject) keyValue {
	v, known := k.field.Value(s)
	if !known {
		return keyValue{}
	}
	switch k.field.Type {
	case field.Addr:
		v.Addr = v.Addr.Unmap()
		if k.bits >= 0 {
			v.Addr = network(v.Addr, k.bits)
		}
	case field.Port:
		if v.Number == 0 { // there is none
			return keyValue{}
		}
	case field.Device:
		if v.Number == 0 {
			return keyValue{}
		}
		if g.devices != nil {
			v.Text = g.devices.Device(s.Head.Netns, uint32(v.Number))
		}
	}
	v.AtLeast = false
	return keyValue{v, true}
}

// network returns the first address of a network. A length that is too long for the
// family means the address itself.
func network(a netip.Addr, bits int) netip.Addr {
	if p, err := a.WithZone("").Prefix(min(bits, a.BitLen())); err == nil {
		return p.Addr()
	}
	return a
}

// append appends bytes that are the same for equal values, and for no others.
func (v *keyValue) append(dst []byte) []byte {
	if !v.known {
		return append(dst, 0)
	}
	a := v.Addr.As16()
	dst = append(dst, 1, byte(v.Addr.BitLen()))
	dst = append(dst, a[:]...)
	dst = binary.BigEndian.AppendUint64(dst, v.Number)
	for _, text := range [...]string{v.Addr.Zone(), v.Text} {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(text)))
		dst = append(dst, text...)
	}
	return dst
}

// next begins a window: what is open stays, all else is forgotten.
func (g *groups) next() {
	for encoded, one := range g.byKey {
		if one.open == 0 {
			delete(g.byKey, encoded)
			continue
		}
		one.restart()
	}
	g.rest.restart()
	g.over = 0
}

func (one *group) restart() {
	one.counts = counts{open: one.open}
	for i := range one.amounts {
		one.amounts[i].reset()
	}
}

// measure has the values of a subject enter.
func (one *group) measure(spec *Spec, s *field.Subject) {
	for i, f := range spec.fields {
		// A lower bound is not the value.
		if v, known := f.Value(s); known && !v.AtLeast {
			one.amounts[i].add(v.Number)
		}
	}
}
