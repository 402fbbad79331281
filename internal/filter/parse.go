package filter

import (
	"fmt"
	"strings"
)

// Limits of an expression.
const (
	longest = 64 << 10 // bytes
	deepest = 1000     // groups and negations
)

// Options say how an expression is read.
type Options struct {
	// Option is the option that has the expression, for messages; empty: --filter.
	Option string
	// Unix says that only Unix sockets are shown: then addresses are patterns of
	// their names, as in ss with -x.
	Unix bool
	// Operands are the words of the command line that no option took. Together with
	// a filter they are the rest of an expression that was not quoted.
	Operands []string
}

// Filter is an expression that was read. The zero value selects all.
type Filter struct {
	// Notes are what the reader of an expression may not expect, one line each.
	Notes []string

	option string
	text   string
	root   *node     // nil: selects all
	parts  []*Filter // whose texts the places of errors are in; nil: its own
}

// Parse reads an expression. An error is an *Error.
func Parse(text string, opts Options) (*Filter, error) {
	p := parser{scanner: scanner{option: opts.Option, text: text}, opts: opts}
	f := p.filter()
	if p.err != nil {
		return nil, p.err
	}
	return f, nil
}

// And returns the filter that selects what all of some filters select.
func And(filters ...*Filter) *Filter {
	all := &Filter{}
	for _, f := range filters {
		all.Notes = append(all.Notes, f.Notes...)
		all.parts = append(all.parts, f)
		switch {
		case f.root == nil:
		case all.root == nil:
			all.root = f.root
		default:
			all.root = join(and, all.root, f.root)
		}
	}
	return all
}

// parser reads an expression from left to right.
type parser struct {
	scanner
	opts  Options
	notes []string
	depth int       // groups and negations around the place
	open  int       // groups around it
	last  *pred     // the predicate before, for messages
	seen  seenState // whether a state was asked for just before
}

// seenState knows the state predicate that ended where the next one begins.
type seenState struct {
	pred *pred
	end  int // where it ended
}

func (p *parser) filter() *Filter {
	f := &Filter{option: p.option, text: p.text}
	if len(p.text) > longest {
		p.fail(span{longest, longest}, fmt.Sprintf("an expression has at most %d KiB", longest>>10), "")
		return f
	}
	head := p.head()
	switch next := p.peek(); {
	case p.err != nil:
	case next.kind == atEnd:
		f.root = head
	case head == nil:
		f.root = p.list(nil, token{})
	case isOr(next):
		f.root = p.list(head, token{})
	default:
		op := token{}
		if isAnd(next) {
			op = p.token()
		}
		// The states are no part of the list, as in ss.
		if rest := p.list(nil, op); p.err == nil {
			f.root = join(and, head, rest)
		}
	}
	if end := p.token(); p.err == nil && end.kind != atEnd {
		p.fail(end.at, "')' closes nothing", "") // nothing else ends a list
	}
	f.Notes = p.notes
	return f
}

func isAnd(t token) bool { return t.is("and", "AND", "&&") }
func isOr(t token) bool  { return t.is("or", "OR", "||") }
func isNot(t token) bool { return t.is("not", "NOT", "!") }

// list reads terms with operators between them, from left to right, up to the end or
// the parenthesis that closes it. first is what was read of it before, or nil; then op
// is the operator before it.
func (p *parser) list(first *node, op token) *node {
	n, owned := first, false
	if n == nil {
		n = p.term(op)
	}
	or1, mixed := false, false // an or was read; an and after it
	for p.err == nil {
		op, k := p.peek(), and
		switch {
		case op.kind == atEnd, op.is(")"):
			if mixed {
				p.noteMixed(n)
			}
			return n
		case isOr(op):
			k, or1 = or, true
			p.token()
		case isAnd(op):
			mixed = mixed || or1
			p.token()
		default:
			mixed, op = mixed || or1, token{}
		}
		next := p.term(op)
		switch {
		case p.err != nil:
		case owned:
			n = n.add(k, next)
		default:
			n, owned = join(k, n, next), true
		}
	}
	return nil
}

// noteMixed says how a list was read in which an and follows an or.
func (p *parser) noteMixed(n *node) {
	const longestNote, most = 400, 8
	if len(p.notes) >= most {
		return
	}
	text := printNode(n, false)
	if len(text) > longestNote {
		text = text[:longestNote] + "..."
	}
	p.notes = append(p.notes, "read from left to right as ss does: "+text)
}

// term reads one operand of a list. op is the operator before it.
func (p *parser) term(op token) *node {
	t := p.token()
	if p.depth >= deepest && (isNot(t) || t.is("(")) {
		p.fail(t.at, fmt.Sprintf("groups and negations go %d deep at most", deepest), "")
		return nil
	}
	switch {
	case p.err != nil:
		return nil
	case isNot(t):
		p.depth++
		kid := p.term(t)
		p.depth--
		if p.err != nil {
			return nil
		}
		return negate(kid)
	case t.is("("):
		return p.group(t)
	case t.kind == atEnd, t.kind == operator, isAnd(t), isOr(t):
		p.missingTerm(op, t)
		return nil
	}
	return p.predicate(t)
}

// group reads the inside of a parenthesis.
func (p *parser) group(open token) *node {
	p.depth++
	p.open++
	n := p.list(nil, token{})
	p.depth--
	p.open--
	if p.err != nil {
		return nil
	}
	if !p.token().is(")") {
		p.fail(open.at, "'(' is not closed", "")
		return nil
	}
	return n
}

// missingTerm says that there is no condition at t.
func (p *parser) missingTerm(op, t token) {
	switch {
	case t.is(")") && p.open == 0:
		p.fail(t.at, "')' closes nothing", "")
	case op.kind != atEnd:
		p.fail(endOf(t), fmt.Sprintf("expected a condition after '%s'", p.raw(op)), "")
	case t.kind == atEnd:
		p.fail(t.at, "expected a condition", "")
	case strings.ContainsAny(t.text, "{},<>=~!"):
		p.fail(t.at, fmt.Sprintf("expected a condition, not '%s'", p.raw(t)), "")
	default:
		p.fail(t.at, fmt.Sprintf("expected a condition before '%s'", p.raw(t)), "")
	}
}

func endOf(t token) span { return t.at }

// raw returns a token as it was typed.
func (p *parser) raw(t token) string { return p.text[t.at.from:t.at.to] }
