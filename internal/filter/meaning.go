package filter

import (
	"fmt"
	"slices"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// binder makes formulas of the predicates of one expression.
type binder struct {
	names   Names
	run     Run
	program *Program
	part    *Filter
	err     *Error
}

func (b *binder) fail(at span, what, hint string) *formula {
	if b.err == nil {
		b.err = &Error{What: what, Hint: hint, Option: b.part.option, text: b.part.text, at: at}
	}
	return constant(false)
}

// found notes what a name stands for.
func (b *binder) found(name string, what any) {
	line := fmt.Sprintf("%s = %v", name, what)
	if !slices.Contains(b.program.looked, line) {
		b.program.looked = append(b.program.looked, line)
	}
}

func (b *binder) node(n *node) *formula {
	switch n.kind {
	case leaf:
		return b.pred(n.pred)
	case not:
		return inverse(b.node(n.kids[0]))
	}
	list := make([]*formula, len(n.kids))
	for i, kid := range n.kids {
		list[i] = b.node(kid)
	}
	return combine(n.kind, list)
}

func (b *binder) pred(q *pred) *formula {
	p := b.program
	p.needs |= q.field.Need
	p.ends = p.ends || q.field.In&field.End != 0
	f := b.positive(q)
	if q.verb.negated() {
		return inverse(f)
	}
	return f
}

// positive returns the meaning of a predicate without the negation in its verb.
func (b *binder) positive(q *pred) *formula {
	if !q.either {
		return b.oneEnd(q, q.field)
	}
	other := field.Lookup("dst")
	if q.field.Type == field.Port {
		other = field.Lookup("dport")
	}
	return anyOf(b.oneEnd(q, q.field), b.oneEnd(q, other))
}

func (b *binder) oneEnd(q *pred, f *field.Field) *formula {
	switch {
	case q.verb == present:
		return isPresent(f)
	case q.verb == holds && f.Word == "outcome":
		var set uint64
		for o := range table.Outcomes {
			if o.Failed() {
				set |= 1 << o
			}
		}
		return inSet(f, set)
	case q.verb == holds:
		return inSet(f, 1<<1)
	case q.verb.ordered():
		return b.order(q, f)
	}
	switch f.Type {
	case field.Addr:
		return b.addresses(q, f)
	case field.State:
		return inSet(f, q.values[0].lo)
	case field.String:
		return b.texts(q, f)
	case field.Cgroup:
		return b.cgroups(q, f)
	case field.Mark:
		return b.marks(q, f)
	case field.Device:
		if f.Word == "iface" {
			return b.interfaces(q, f)
		}
	}
	return b.numbers(q, f)
}

// order compares a number, or a port, with one value.
func (b *binder) order(q *pred, f *field.Field) *formula {
	v := &q.values[0]
	low, high := uint64(0), ^uint64(0)
	if f.Type == field.Port {
		high = lastPort
	}
	n := v.lo
	if v.named {
		ports := b.service(v)
		if len(ports) == 0 {
			return constant(false)
		}
		n = uint64(ports[0])
	}
	switch q.verb {
	case less:
		if n == 0 {
			return constant(false)
		}
		high = n - 1
	case lessEqual:
		high = n
	case greater:
		if n == high {
			return constant(false)
		}
		low = n + 1
	case greaterEqual:
		low = n
	}
	if f.Type == field.Port {
		return b.inFamily(v, inRanges(f, []numberRange{{low, high}}, portAtom(f, []numberRange{{low, high}})))
	}
	if f.Word == "pid" {
		return ofPID([]numberRange{{low, high}})
	}
	if q.verb == greater || q.verb == greaterEqual {
		return beyond(f, low)
	}
	return inRanges(f, []numberRange{{low, high}}, nil)
}

// numbers asks whether a number is one of those listed.
func (b *binder) numbers(q *pred, f *field.Field) *formula {
	var list []*formula
	var ranges []numberRange
	for i := range q.values {
		v := &q.values[i]
		mine := b.rangesOf(f, v)
		if v.addr.family != 0 {
			list = append(list, b.inFamily(v, inRanges(f, mine, portAtom(f, mine))))
		} else {
			ranges = append(ranges, mine...)
		}
	}
	switch {
	case b.err != nil:
		return constant(false)
	case len(ranges) > 0 && f.Word == "pid":
		list = append(list, ofPID(ranges))
	case len(ranges) > 0 && f.Word == "transport":
		list = append(list, transport(f, ranges))
	case len(ranges) > 0:
		list = append(list, inRanges(f, ranges, b.atomOf(f, ranges)))
	}
	return anyOf(list...)
}

// ofPID asks for the number of one of the processes of a socket.
func ofPID(ranges []numberRange) *formula {
	return ofProcess(func(p *snapshot.Process) bool { return p.PID != 0 && inAny(ranges, uint64(p.PID)) })
}

func inAny(ranges []numberRange, n uint64) bool {
	return slices.ContainsFunc(ranges, func(r numberRange) bool { return r.low <= n && n <= r.high })
}

// transport asks for the protocol. In the kernel's condition every socket is one of TCP.
func transport(f *field.Field, ranges []numberRange) *formula {
	t := inRanges(f, ranges, nil)
	t.test.tcp = 1
	if !inAny(ranges, uint64(field.TCP)) {
		t.test.tcp = -1
	}
	return t
}

// inFamily keeps a condition to the family that a prefix named.
func (b *binder) inFamily(v *value, f *formula) *formula {
	if v.addr.family == 0 {
		return f
	}
	return allOf(familyIs(v.addr.family), f)
}

func familyIs(family byte) *formula {
	f := field.Lookup("family")
	word := "ipv4"
	if family == 6 {
		word = "ipv6"
	}
	n := enumOf(f, word)
	return inRanges(f, []numberRange{{n, n}}, &snapshot.Atom{Kind: snapshot.AtomFamily, Number: uint32(family)})
}

// atomOf returns the atom that says the same as a list of numbers, or nil.
func (b *binder) atomOf(f *field.Field, ranges []numberRange) *snapshot.Atom {
	if f.Type == field.Port {
		return portAtom(f, ranges)
	}
	if len(ranges) != 1 || ranges[0].low != ranges[0].high || b.run.In == field.View {
		return nil
	}
	n := ranges[0].low
	switch f.Word {
	case "family":
		return &snapshot.Atom{Kind: snapshot.AtomFamily, Number: uint32(2 + 2*n)} // 1: ipv4, 2: ipv6
	case "netns":
		return &snapshot.Atom{Kind: snapshot.AtomNetns, Number: uint32(n)}
	case "dev":
		return &snapshot.Atom{Kind: snapshot.AtomDevice, Number: uint32(n)}
	}
	return nil
}

// mostRanges bounds the ranges of an atom; the rest of the language has no bound.
const mostRanges = 64

func portAtom(f *field.Field, ranges []numberRange) *snapshot.Atom {
	if f.Type != field.Port || len(ranges) > mostRanges {
		return nil
	}
	a := &snapshot.Atom{Kind: snapshot.AtomLocalPort}
	if f.Word == "dport" {
		a.Kind = snapshot.AtomRemotePort
	}
	for _, r := range ranges {
		a.Ports = append(a.Ports, snapshot.PortRange{Low: uint16(r.low), High: uint16(r.high)})
	}
	return a
}
