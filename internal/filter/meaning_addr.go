package filter

import (
	"fmt"
	"net/netip"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/snapshot"
)

// rangesOf returns the numbers that a value stands for, and looks its name up.
func (b *binder) rangesOf(f *field.Field, v *value) []numberRange {
	if !v.named {
		return []numberRange{{v.lo, v.hi}}
	}
	n, ok := uint64(0), false
	where := ""
	switch f.Type {
	case field.Port:
		var list []numberRange
		for _, port := range b.service(v) {
			list = append(list, numberRange{uint64(port), uint64(port)})
		}
		return list
	case field.User:
		var uid uint32
		uid, ok = b.names.User(v.text)
		n, where = uint64(uid), "no user '%s' in /etc/passwd"
	case field.Device:
		var index uint32
		index, _, ok = b.names.Device(v.text)
		n, where = uint64(index), "no interface '%s' in this network namespace"
	case field.Netns:
		var inode uint32
		inode, ok = b.names.Netns(v.text)
		n, where = uint64(inode), "no network namespace '%s' in /run/netns"
	}
	if !ok {
		b.missing(f.Type, v, where)
		return nil
	}
	b.found(v.text, n)
	return []numberRange{{n, n}}
}

// missing says that a name is nowhere.
func (b *binder) missing(t field.Type, v *value, format string) {
	b.fail(v.at, fmt.Sprintf(format, v.text), nearHint("", field.Nearest(v.text, b.names.Known(t))))
}

// service returns the ports of a named service.
func (b *binder) service(v *value) []uint16 {
	ports := b.names.Service(v.text)
	if len(ports) == 0 {
		b.missing(field.Port, v, "no TCP or UDP service '%s'")
		return nil
	}
	b.found(v.text, ports)
	return ports
}

// addresses asks whether an address is one of those listed.
func (b *binder) addresses(q *pred, f *field.Field) *formula {
	var list []*formula
	for i := range q.values {
		v := &q.values[i]
		if v.addr.unix {
			list = append(list, b.unixName(v.text, f.Word == "dst"))
			continue
		}
		one := allOf(b.inFamily(v, b.prefixes(v, f)), b.portOf(v, f))
		if one.kind == leaf && one.test == nil && one.value {
			one = isPresent(f) // any address: Unix sockets have none
			one.test.tcp = 1
		}
		list = append(list, one)
	}
	return anyOf(list...)
}

// prefixes asks for the address of a value, whatever its port.
func (b *binder) prefixes(v *value, f *field.Field) *formula {
	get, kind := localAddr, snapshot.AtomLocalAddr
	if f.Word == "dst" {
		get, kind = remoteAddr, snapshot.AtomRemoteAddr
	}
	switch {
	case v.addr.prefix.IsValid() && v.named: // with a zone
		dev := field.Lookup("dev")
		b.program.needs |= dev.Need
		zone := &value{text: v.text, named: true, at: v.at}
		ranges := b.rangesOf(dev, zone)
		return allOf(inPrefix(get, kind, v.addr.prefix), inRanges(dev, ranges, b.atomOf(dev, ranges)))
	case v.addr.prefix.IsValid():
		return inPrefix(get, kind, v.addr.prefix)
	case !v.named:
		return constant(true)
	}
	addrs := b.names.Host(v.text)
	if len(addrs) == 0 {
		return b.fail(v.at, fmt.Sprintf("no host '%s'", v.text), "the hosts file and DNS were asked")
	}
	b.found(v.text, addrs)
	list := make([]*formula, len(addrs))
	for i, a := range addrs {
		list[i] = inPrefix(get, kind, netip.PrefixFrom(a, a.BitLen()))
	}
	return anyOf(list...)
}

// portOf asks for the port of an address.
func (b *binder) portOf(v *value, f *field.Field) *formula {
	if v.addr.port == nil {
		return constant(true)
	}
	port := field.Lookup("sport")
	if f.Word == "dst" {
		port = field.Lookup("dport")
	}
	ranges := b.rangesOf(port, v.addr.port)
	return inRanges(port, ranges, portAtom(port, ranges))
}

// unixName asks for the name of a Unix socket, or of its peer, by a pattern as ss has
// them: * is any text, / too, and letters match in any case.
func (b *binder) unixName(pattern string, ofPeer bool) *formula {
	if ofPeer {
		b.program.needs |= field.Peers
		return asked(func(s *field.Subject) bool {
			return s.Transport == field.Unix && s.HasPeer && matchesPattern(pattern, s.Peer)
		}, nil)
	}
	return asked(func(s *field.Subject) bool {
		return s.Transport == field.Unix && matchesPattern(pattern, s.Name)
	}, nil)
}
