package filter

import (
	"fmt"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
)

// compare reads the operator and the values of a field. t is its name.
func (p *parser) compare(t token, f *field.Field, either bool) *node {
	q := &pred{field: f, either: either, at: t.at, word: t.at}
	if f.Type == field.State && f.Word == "state" {
		p.checkTwoStates(t)
	}
	var at span
	var listed bool
	q.verb, at, listed = p.verb()
	p.checkVerb(q, at)
	if p.err != nil {
		return nil
	}
	q.values = p.values(q, t, listed)
	if p.err != nil {
		return nil
	}
	q.at.to = p.pos
	if f.Type == field.State {
		mergeStates(q)
	}
	p.seen = seenState{q, p.pos}
	return p.done(q)
}

// mergeStates makes one set of all states that are listed.
func mergeStates(q *pred) {
	all := value{at: q.values[0].at}
	for _, v := range q.values {
		all.lo |= v.lo
		all.at.to = v.at.to
	}
	q.values = []value{all}
}

// checkTwoStates says that two states which must hold at once never do.
func (p *parser) checkTwoStates(t token) {
	q := p.seen.pred
	if q == nil || q.field.Word != "state" || q.verb != equal || strings.Trim(p.text[p.seen.end:t.at.from], spaces) != "" {
		return
	}
	p.token() // the state, unless there is an operator
	second := "..."
	if set, ok := stateOf(strings.Trim(p.text[t.at.to:p.pos], spaces)); ok {
		second = strings.Join(stateWords(set), ", ")
	}
	p.fail(t.at, "two states at once never hold",
		fmt.Sprintf("`state in {%s, %s}`", strings.Join(stateWords(q.values[0].lo), ", "), second))
}

// checkVerb says that a field does not take an operator.
func (p *parser) checkVerb(q *pred, at span) {
	f, v := q.field, q.verb
	isText := f.Type == field.String || f.Type == field.Cgroup
	switch {
	case v.ordered() && !f.Ordered():
		hint := "= != in"
		if isText {
			hint = "= != ~ in"
		}
		p.fail(at, fmt.Sprintf("no order among %s", plural(f)), hint)
	case (v == matches || v == unmatched) && !isText:
		hint := "= != in"
		if f.Ordered() {
			hint = "= != < <= > >= in"
		}
		p.fail(at, fmt.Sprintf("%s takes no regular expression", q.name()), hint)
	}
}

// plural names the values of a field.
func plural(f *field.Field) string {
	switch f.Type {
	case field.State:
		return "states"
	case field.Addr:
		return "addresses"
	case field.String, field.User, field.Device, field.Cgroup, field.Enum, field.Netns, field.Errno:
		return "names"
	}
	return "such values"
}

// values reads one value, a list, or a list in braces. t is the name of the field.
func (p *parser) values(q *pred, t token, listed bool) []value {
	if open := p.peek(); open.is("{") {
		p.token()
		return p.braces(q, open)
	}
	if next := p.peek(); next.is("in", "IN") && q.field.Type != field.Enum && !listed {
		p.token()
		if p.valueFollows() {
			p.fail(p.peek().at, "expected '{' after 'in'", fmt.Sprintf("`%s in {A, B}`", q.name()))
			return nil
		}
		p.pos = next.at.from
	}
	list := []value{p.value(q, t, false)}
	for p.err == nil {
		comma := p.peek()
		if !comma.is(",") {
			break
		}
		p.token()
		list = append(list, p.value(q, t, false))
		if p.err == nil && p.comparisonFollows() {
			p.fail(comma.at, "a comma is between values", "write `and`")
		}
		p.checkOne(q, comma.at)
	}
	return list
}

// braces reads the values of a list up to its brace.
func (p *parser) braces(q *pred, open token) []value {
	var list []value
	for p.err == nil {
		list = append(list, p.value(q, open, true))
		switch t := p.token(); {
		case p.err != nil:
		case t.is("}"):
			if len(list) > 1 {
				p.checkOne(q, open.at)
			}
			return list
		case t.kind == atEnd:
			p.fail(open.at, "'{' is not closed", "")
		case !t.is(","):
			p.fail(t.at, fmt.Sprintf("expected ',' or '}' before '%s'", p.raw(t)), "")
		}
	}
	return nil
}

// checkOne says that an operator takes one value.
func (p *parser) checkOne(q *pred, at span) {
	if q.verb.ordered() || q.verb == matches || q.verb == unmatched {
		p.fail(at, fmt.Sprintf("%s takes one value", verbs[q.verb]), "")
	}
}

// value reads one value of a field. before is the token that asks for it.
func (p *parser) value(q *pred, before token, inBraces bool) value {
	f := q.field
	if f.Type == field.Addr {
		return hosts{operands{p}}.host(before, inBraces)
	}
	var t token
	if f.Type == field.Cgroup || f.Type == field.Device {
		t = p.address(inBraces, true, p.open) // ss takes them whole
	} else {
		t = p.token()
	}
	if p.err != nil {
		return value{}
	}
	if t.kind != word || isKeyword(t) {
		p.missingValue(t, p.raw(before))
		return value{}
	}
	if q.verb == matches || q.verb == unmatched {
		return operands{p}.pattern(t)
	}
	v := operands{p}.typed(q, t)
	v.at = t.at
	return v
}

// isKeyword reports whether a word joins conditions.
func isKeyword(t token) bool { return isAnd(t) || isOr(t) }
