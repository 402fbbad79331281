package tracer

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
)

// wanted is a condition as the programs read it (bpf/wanted.h).
type wanted struct {
	atoms                [snapshot.MaxAtoms]streamWantedAtom
	terms                [snapshot.MaxTerms]streamWantedTerm
	atomCount, termCount uint32
	addrs                bool            // atoms are about addresses
	netns                bool            // about network namespaces
	sets                 *streamPortBits // of atoms with many ranges of ports; nil: there are none
}

// newWanted translates a condition. None, and one that every socket fulfils, become
// one without terms, which costs nothing. A condition that no socket fulfils becomes a
// term that never holds.
func newWanted(c *snapshot.Condition) (*wanted, error) {
	w := new(wanted)
	if c == nil || c.Always() {
		return w, nil
	}
	if len(c.Atoms) > len(w.atoms) || len(c.Terms) > len(w.terms) {
		return nil, fmt.Errorf("a condition of %d atoms in %d terms is too long for the kernel side", len(c.Atoms), len(c.Terms))
	}
	for i := range c.Atoms {
		w.setAtom(i, &c.Atoms[i])
	}
	for i, t := range c.Terms {
		w.terms[i] = streamWantedTerm{Pos: t.Pos, Neg: t.Neg}
	}
	w.atomCount, w.termCount = uint32(len(c.Atoms)), uint32(len(c.Terms))
	if w.termCount == 0 {
		w.atomCount, w.termCount = 0, 1
		w.terms[0] = streamWantedTerm{Pos: 1} // of an atom that is not there
	}
	return w, nil
}

var fieldOf = [...]streamWantedField{
	snapshot.AtomLocalAddr:  streamWantedFieldWANTED_LOCAL_ADDR,
	snapshot.AtomRemoteAddr: streamWantedFieldWANTED_REMOTE_ADDR,
	snapshot.AtomLocalPort:  streamWantedFieldWANTED_LOCAL_PORT,
	snapshot.AtomRemotePort: streamWantedFieldWANTED_REMOTE_PORT,
	snapshot.AtomFamily:     streamWantedFieldWANTED_FAMILY,
	snapshot.AtomNetns:      streamWantedFieldWANTED_NETNS,
	snapshot.AtomDevice:     streamWantedFieldWANTED_DEVICE,
}

func (w *wanted) setAtom(i int, from *snapshot.Atom) {
	a := &w.atoms[i]
	a.Field, a.Value = uint32(fieldOf[from.Kind]), from.Number
	if from.Kind == snapshot.AtomFamily {
		a.Value = map[uint32]uint32{4: unix.AF_INET, 6: unix.AF_INET6}[from.Number]
	}
	if from.OnlyIPv6 {
		a.Only6 = ^uint32(0)
	}
	w.addrs = w.addrs || from.Kind == snapshot.AtomLocalAddr || from.Kind == snapshot.AtomRemoteAddr
	w.netns = w.netns || from.Kind == snapshot.AtomNetns
	for j := range a.Mask {
		ones := min(max(int(from.Bits)-32*j, 0), 32)
		var word [4]byte
		binary.BigEndian.PutUint32(word[:], uint32((1<<32-1)<<(32-ones)&(1<<32-1)))
		a.Mask[j] = binary.NativeEndian.Uint32(word[:])
		a.Prefix[j] = binary.NativeEndian.Uint32(from.Addr[4*j:]) & a.Mask[j]
	}
	w.setPorts(i, from.Ports)
}

// setPorts writes ranges beside the atom, or as a set of bits where they are many.
func (w *wanted) setPorts(i int, ports []snapshot.PortRange) {
	a := &w.atoms[i]
	for j := range a.Ports {
		a.Ports[j].First = 1 // to 0: an empty range
	}
	if len(ports) > 1 {
		a.Several = 1
	}
	if len(ports) <= len(a.Ports) {
		for j, r := range ports {
			a.Ports[j].First, a.Ports[j].Last = r.Low, r.High
		}
		return
	}
	if w.sets == nil {
		w.sets = new(streamPortBits)
	}
	a.InSet = 1
	for _, r := range ports {
		for port := int(r.Low); port <= int(r.High); port++ {
			w.sets.Bits[i][port/8] |= 1 << (port % 8)
		}
	}
}

// writeSets fills the map of the port sets.
func (w *wanted) writeSets(m *ebpf.Map) error {
	if w.sets == nil {
		return nil
	}
	if err := m.Put(uint32(0), w.sets); err != nil {
		return fmt.Errorf("write the port sets: %w", err)
	}
	return nil
}
