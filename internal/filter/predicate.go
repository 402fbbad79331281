package filter

import (
	"fmt"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
)

// protocols are the words that name a transport or a family, with its field and its
// word there.
var protocols = map[string][2]string{
	"tcp": {"transport", "tcp"}, "udp": {"transport", "udp"}, "udplite": {"transport", "udplite"},
	"raw": {"transport", "raw"}, "sctp": {"transport", "sctp"}, "unix": {"transport", "unix"},
	"ip": {"family", "ipv4"}, "ip4": {"family", "ipv4"}, "inet": {"family", "ipv4"},
	"ip6": {"family", "ipv6"}, "inet6": {"family", "ipv6"},
}

// predicate reads a condition, whose first word is t.
func (p *parser) predicate(t token) *node {
	if t.quoted {
		p.noCondition(t)
		return nil
	}
	switch t.text {
	case "src", "dst":
		return p.side(t, field.Lookup(t.text), field.Lookup(t.text[:1]+"port"), false)
	case "host", "net":
		return p.addresses(t, field.Lookup("src"), true, t.text == "net")
	case "port", "portrange":
		return p.compare(t, field.Lookup("sport"), true)
	case "has":
		return p.has()
	case "failed":
		return p.simple(t, "outcome")
	case "autobound":
		return p.simple(t, "autobound")
	}
	if names, ok := protocols[t.text]; ok && !p.comparisonFollows() {
		return p.protocol(t, names)
	}
	f := field.Lookup(t.text)
	switch {
	case f == nil:
		p.noCondition(t)
		return nil
	case f.Type == field.Addr:
		return p.addresses(t, f, false, false)
	}
	return p.compare(t, f, false)
}

// simple makes the condition of a word that stands alone.
func (p *parser) simple(t token, name string) *node {
	return p.done(&pred{field: field.Lookup(name), verb: holds, at: t.at, word: t.at})
}

func (p *parser) done(q *pred) *node {
	p.last = q
	return leafOf(q)
}

// has reads the name of a field.
func (p *parser) has() *node {
	t := p.token()
	if t.kind != word {
		p.missingValue(t, "has")
		return nil
	}
	f := field.Lookup(t.text)
	if f == nil {
		p.fail(t.at, fmt.Sprintf("no field '%s'", t.text), nearHint("", field.Near(t.text)))
		return nil
	}
	return p.done(&pred{field: f, verb: present, at: t.at, word: t.at})
}

// protocol reads what may follow a protocol: a condition on an end makes one term with
// it.
func (p *parser) protocol(t token, names [2]string) *node {
	f := field.Lookup(names[0])
	number := enumOf(f, names[1])
	n := p.done(&pred{field: f, values: []value{{lo: number, hi: number, at: t.at}}, at: t.at, word: t.at})
	next := p.peek()
	if !next.is("src", "dst", "host", "net", "sport", "dport", "port", "portrange") {
		return n
	}
	side := p.predicate(p.token())
	if p.err != nil {
		return nil
	}
	return join(and, n, side)
}

// comparisonFollows reports whether the word before is compared with something.
func (p *parser) comparisonFollows() bool {
	return p.peek().is("=", "!=", "~", "!~", "<", "<=", ">", ">=")
}

// side reads what follows src or dst: an address, or after a qualifier what that says.
// A qualifier that no value follows is the name of a host.
func (p *parser) side(t token, addr, port *field.Field, either bool) *node {
	before := p.pos
	q := p.token()
	if q.is("host", "net", "port", "portrange") && p.valueFollows() {
		if q.is("host", "net") {
			return p.addresses(q, addr, either, q.is("net"))
		}
		return p.compare(q, port, either)
	}
	if p.err == nil {
		p.pos = before
	}
	return p.addresses(t, addr, either, false)
}

// valueFollows reports whether a value, or an operator and a value, comes next.
func (p *parser) valueFollows() bool {
	next := p.peek()
	return next.kind != atEnd && !isAnd(next) && !isOr(next) && !next.is(")", "}", ",")
}

// verb reads the operator between a field and its values, which may be left out. listed
// says that it asks for a list in braces.
func (p *parser) verb() (v verb, at span, listed bool) {
	before := p.pos
	t := p.token()
	at = t.at
	switch {
	case t.is("=", "eq", "EQ"):
		return equal, at, false
	case t.is("!=", "ne", "neq", "NE", "NEQ"):
		return unequal, at, false
	case t.is("<", "lt", "LT"):
		return less, at, false
	case t.is("<=", "le", "leq", "LE", "LEQ"):
		return lessEqual, at, false
	case t.is(">", "gt", "GT"):
		return greater, at, false
	case t.is(">=", "ge", "geq", "GE", "GEQ"):
		return greaterEqual, at, false
	case t.is("~"):
		return matches, at, false
	case t.is("!~"):
		return unmatched, at, false
	case t.is("in", "IN") && p.peek().is("{"):
		return equal, at, true
	case isNot(t) && p.peek().is("in", "IN"):
		if in := p.token(); p.peek().is("{") {
			return unequal, span{at.from, in.at.to}, true
		}
	}
	if p.err == nil {
		p.pos = before
	}
	return equal, span{before, before}, false
}

// noCondition says that a word begins no condition, and what may be meant.
func (p *parser) noCondition(t token) {
	name, rest, colon := strings.Cut(t.text, ":")
	switch {
	case t.is("exclude", "excl"):
		p.fail(t.at, fmt.Sprintf("'%s' stands before all else", t.text), "elsewhere `state not in {A, B}`")
	case !t.quoted && colon && name != "" && known(name):
		p.fail(t.at, fmt.Sprintf("'%s' is no condition", t.text), fmt.Sprintf("`%s %s`", name, rest))
	case isNumber(strings.TrimPrefix(t.text, ":")):
		p.fail(t.at, "expected a condition, not a value", p.listHint(t.text))
	case isAddress(t.text):
		p.fail(t.at, "which end?", fmt.Sprintf("`host %s` either end, `src %s` local, `dst %s` peer", t.text, t.text, t.text))
	case t.quoted:
		p.fail(t.at, "expected a condition, not a value", "a condition begins with the name of a field")
	default:
		p.fail(t.at, fmt.Sprintf("no field or keyword '%s'", t.text), nearHint("", nearWords(t.text)))
	}
}

func known(name string) bool {
	return field.Lookup(name) != nil || name == "port" || name == "host" || name == "net"
}

// listHint shows how several ports, or a second value of the predicate before, are
// written.
func (p *parser) listHint(text string) string {
	text = strings.TrimPrefix(text, ":")
	if q := p.last; q != nil && q.verb == equal && q.field.Type == field.Port && len(q.values) > 0 {
		return fmt.Sprintf("`%s in {%s, %s}`", q.name(), strings.TrimPrefix(printPort(&q.values[0]), ":"), text)
	}
	return fmt.Sprintf("`port %s`", text)
}

// keywords are the words that begin a condition and are no fields.
var keywords = []string{
	"host", "net", "port", "portrange", "has", "failed", "not",
	"tcp", "udp", "udplite", "raw", "sctp", "unix", "ip", "ip4", "inet", "ip6", "inet6",
}

func nearWords(text string) []string {
	return field.NearestOf(text, func(yield func(name, shown string) bool) {
		for _, f := range field.All() {
			for _, n := range append([]string{f.Word, f.Key}, f.Aliases...) {
				if n != "" && !yield(n, n) {
					return
				}
			}
		}
		for _, k := range keywords {
			if !yield(k, k) {
				return
			}
		}
	})
}

// missingValue says that no value stands where t is.
func (p *parser) missingValue(t token, name string) {
	hint := ""
	if len(p.opts.Operands) > 0 && t.kind == atEnd {
		hint = "the expression must be one argument: quote it"
	}
	at := t.at
	if i := strings.LastIndex(p.text[:t.at.from], name); t.kind == atEnd && i >= 0 {
		at = span{i, i + len(name)}
	}
	p.fail(at, fmt.Sprintf("a value is missing after '%s'", name), hint)
}

// name returns the word by which a predicate is written.
func (q *pred) name() string {
	switch {
	case q.either && q.field.Type == field.Addr:
		return "host"
	case q.either:
		return "port"
	}
	return q.field.Word
}
