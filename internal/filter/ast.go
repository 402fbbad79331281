package filter

import (
	"net/netip"

	"github.com/nettrace/nettrace/internal/field"
)

// kind says what a node is.
type kind uint8

const (
	leaf kind = iota
	not
	and
	or
)

// node is a part of an expression. A negation has one kid and is never negated itself.
// A conjunction or disjunction has two kids or more, none of its own kind.
type node struct {
	kind kind
	kids []*node
	pred *pred // of a leaf
}

// verb is what a predicate asks of a field.
type verb uint8

const (
	equal verb = iota // any of the values
	unequal
	less
	lessEqual
	greater
	greaterEqual
	matches   // a regular expression
	unmatched // the negation of matches
	present   // has FIELD
	holds     // the field's name alone: autobound, failed
)

// verbs spells them for one value.
var verbs = [...]string{
	equal: "=", unequal: "!=", less: "<", lessEqual: "<=", greater: ">", greaterEqual: ">=",
	matches: "~", unmatched: "!~",
}

// negated reports whether the verb is the negation of another one: then it holds where
// the value is absent.
func (v verb) negated() bool { return v == unequal || v == unmatched }

// ordered reports whether the verb compares by order.
func (v verb) ordered() bool { return v >= less && v <= greaterEqual }

// pred is one condition on one field.
type pred struct {
	field  *field.Field
	either bool // host or port: the field at either end
	verb   verb
	values []value
	at     span // of all of it
	word   span // of its name
}

// value is an operand. Which fields it uses depends on the type of the field.
type value struct {
	text   string // a string, a pattern, or a name that is to be looked up
	named  bool   // text is to be looked up
	lo, hi uint64 // a number or a range of them; a mark and its mask; a set of states
	addr   address
	at     span
}

// address is the operand of src, dst, host and net.
type address struct {
	family byte         // 4 or 6: sockets of this family alone; 0: as the prefix has it
	unix   bool         // value.text is a pattern of names of Unix sockets
	prefix netip.Prefix // not valid: any address, or a name
	port   *value       // nil: any
}

// span is a part of the expression, in bytes.
type span struct{ from, to int }

// join makes a conjunction or disjunction of two nodes.
func join(k kind, a, b *node) *node {
	n := &node{kind: k}
	for _, kid := range []*node{a, b} {
		if kid.kind == k {
			n.kids = append(n.kids, kid.kids...)
		} else {
			n.kids = append(n.kids, kid)
		}
	}
	return n
}

// add joins another node to one that nobody else has.
func (n *node) add(k kind, b *node) *node {
	switch {
	case n.kind != k || b.kind == k && len(b.kids) > len(n.kids):
		return join(k, n, b)
	case b.kind == k:
		n.kids = append(n.kids, b.kids...)
	default:
		n.kids = append(n.kids, b)
	}
	return n
}

func negate(n *node) *node {
	if n.kind == not {
		return n.kids[0]
	}
	return &node{kind: not, kids: []*node{n}}
}

func leafOf(p *pred) *node { return &node{pred: p} }
