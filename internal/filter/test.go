package filter

import (
	"net/netip"
	"slices"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/snapshot"
)

// formula is an expression of tests: what a predicate means once its names are known.
// Its nodes are as those of the expression; constants have no kids and no test.
type formula struct {
	kind  kind
	kids  []*formula
	test  *test // of a leaf; nil: it is constant
	value bool  // of a constant
}

// test is one question to a record.
type test struct {
	holds func(*field.Subject) bool
	atom  *snapshot.Atom // that says the same in the kernel; nil: it cannot be asked there
	tcp   int            // what it says of every TCP socket: 1 yes, -1 no, 0 it depends
}

func constant(value bool) *formula { return &formula{value: value} }

func asked(holds func(*field.Subject) bool, atom *snapshot.Atom) *formula {
	return &formula{test: &test{holds: holds, atom: atom}}
}

func inverse(f *formula) *formula {
	if f.kind == leaf && f.test == nil {
		return constant(!f.value)
	}
	return &formula{kind: not, kids: []*formula{f}}
}

// anyOf and allOf join formulas. Without any they are constant.
func anyOf(list ...*formula) *formula { return combine(or, list) }
func allOf(list ...*formula) *formula { return combine(and, list) }

func combine(k kind, list []*formula) *formula {
	var kids []*formula
	for _, f := range list {
		switch {
		case f.kind != leaf || f.test != nil:
			kids = append(kids, f)
		case f.value == (k == or):
			return f
		}
	}
	switch len(kids) {
	case 0:
		return constant(k == and)
	case 1:
		return kids[0]
	}
	return &formula{kind: k, kids: kids}
}

// inPrefix asks whether an address is in a prefix. An IPv4 prefix holds for v4-mapped
// addresses too, an IPv6 one for IPv6 sockets alone, a v4-mapped one included.
func inPrefix(get func(*field.Subject) netip.Addr, kind snapshot.AtomKind, p netip.Prefix) *formula {
	atom := &snapshot.Atom{Kind: kind, Addr: p.Addr().As16(), Bits: uint8(p.Bits()), OnlyIPv6: p.Addr().Is6()}
	if p.Addr().Is4() {
		atom.Bits += 96
	}
	return asked(func(s *field.Subject) bool {
		a := get(s)
		if !atom.OnlyIPv6 {
			return p.Contains(a.Unmap())
		}
		return p.Contains(a)
	}, atom)
}

func localAddr(s *field.Subject) netip.Addr  { return s.Head.Local.Addr().WithZone("") }
func remoteAddr(s *field.Subject) netip.Addr { return s.Head.Remote.Addr().WithZone("") }

// inRanges asks whether a number is in one of some ranges.
func inRanges(f *field.Field, ranges []numberRange, atom *snapshot.Atom) *formula {
	return asked(func(s *field.Subject) bool {
		v, ok := f.Value(s)
		return ok && !v.AtLeast && slices.ContainsFunc(ranges, func(r numberRange) bool { return r.low <= v.Number && v.Number <= r.high })
	}, atom)
}

// numberRange is a range of numbers, both ends included.
type numberRange struct{ low, high uint64 }

// beyond asks whether a number is above one, or not below it. A lower bound suffices.
func beyond(f *field.Field, least uint64) *formula {
	return asked(func(s *field.Subject) bool {
		v, ok := f.Value(s)
		return ok && v.Number >= least
	}, nil)
}

// inSet asks whether a small number is in a set.
func inSet(f *field.Field, set uint64) *formula {
	return asked(func(s *field.Subject) bool {
		v, ok := f.Value(s)
		return ok && v.Number < 64 && set&(1<<v.Number) != 0
	}, nil)
}

// isPresent asks whether the field is known.
func isPresent(f *field.Field) *formula {
	return asked(func(s *field.Subject) bool {
		_, ok := f.Value(s)
		return ok
	}, nil)
}

// cached answers for each process once. What it keeps is bounded.
func cached(holds func(*snapshot.Process) bool) func(*snapshot.Process) bool {
	const most = 4096
	answers := map[*snapshot.Process]bool{}
	return func(p *snapshot.Process) bool {
		answer, ok := answers[p]
		if !ok {
			if len(answers) >= most {
				clear(answers)
			}
			answer = holds(p)
			answers[p] = answer
		}
		return answer
	}
}

// ofProcess asks whether something holds for one of the processes of a socket.
func ofProcess(holds func(*snapshot.Process) bool) *formula {
	return asked(func(s *field.Subject) bool { return s.Processes(holds) }, nil)
}
