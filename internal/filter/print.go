package filter

import (
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/field"
)

// String returns the canonical form of the expression. Read again it is the same
// filter. As far as ss knows the predicates in it, ss reads it so, too.
func (f *Filter) String() string {
	if f.root == nil {
		return ""
	}
	return printNode(f.root, true)
}

// printNode prints an expression. At the head of a filter states stand in ss's form.
func printNode(n *node, top bool) string {
	w := printer{}
	if top {
		w.top(n)
	} else {
		w.node(n)
	}
	return w.String()
}

type printer struct{ strings.Builder }

// top prints a whole filter.
func (w *printer) top(n *node) {
	if n.kind == leaf && isHead(n) {
		w.head(n.pred)
		return
	}
	if n.kind != and || !isHead(n.kids[0]) {
		w.node(n)
		return
	}
	w.head(n.kids[0].pred)
	if beginsWithState(n.kids[1]) {
		w.WriteString(" and")
	}
	w.WriteByte(' ')
	w.operand(n.kids[1])
	for _, kid := range n.kids[2:] {
		w.WriteString(" and ")
		w.operand(kid)
	}
}

// rest prints the operands after the first.
func (w *printer) rest(n *node) {
	for _, kid := range n.kids[1:] {
		w.joiner(n)
		w.operand(kid)
	}
}

func (w *printer) joiner(n *node) {
	if n.kind == or {
		w.WriteString(" or ")
	} else {
		w.WriteString(" and ")
	}
}

// isHead reports whether a condition can stand at the head: a set of states.
func isHead(n *node) bool {
	return n.kind == leaf && n.pred.field.Word == "state" && n.pred.verb == equal
}

// beginsWithState reports whether what is printed for n would be taken for more of the
// head.
func beginsWithState(n *node) bool {
	return n.kind == leaf && n.pred.field.Word == "state"
}

func (w *printer) head(q *pred) {
	words := stateWords(q.values[0].lo)
	for i, s := range words {
		if i > 0 {
			w.WriteByte(' ')
		}
		w.WriteString("state " + s)
	}
}

func (w *printer) node(n *node) {
	switch n.kind {
	case leaf:
		w.pred(n.pred)
	case not:
		w.WriteString("not ")
		w.operand(n.kids[0])
	default:
		w.operand(n.kids[0])
		w.rest(n)
	}
}

// operand prints a part of a list or negation, in parentheses if it is a list.
func (w *printer) operand(kid *node) {
	if kid.kind != and && kid.kind != or {
		w.node(kid)
		return
	}
	w.WriteString("( ")
	w.node(kid)
	w.WriteString(" )")
}

func (w *printer) pred(q *pred) {
	switch q.verb {
	case present:
		w.WriteString("has " + q.field.Word)
		return
	case holds:
		if q.field.Word == "outcome" {
			w.WriteString("failed")
		} else {
			w.WriteString(q.field.Word)
		}
		return
	}
	w.WriteString(q.name())
	w.WriteByte(' ')
	list := q.printed()
	if len(list) == 1 {
		if q.field.Type != field.Addr || q.verb != equal {
			w.WriteString(verbs[q.verb] + " ")
		}
		w.WriteString(list[0])
		return
	}
	if q.verb == unequal {
		w.WriteString("not ")
	}
	w.WriteString("in { " + strings.Join(list, ", ") + " }")
}

// printed returns the values as they are written.
func (q *pred) printed() []string {
	if q.field.Type == field.State {
		words := stateWords(q.values[0].lo)
		for i := range words {
			words[i] = quoteKeyword(words[i])
		}
		return words
	}
	list := make([]string, len(q.values))
	for i := range q.values {
		list[i] = q.printValue(&q.values[i])
	}
	return list
}

func (q *pred) printValue(v *value) string {
	switch {
	case q.field.Type == field.Addr:
		return printAddress(v)
	case q.field.Type == field.Port:
		return printPort(v)
	case q.verb == matches || q.verb == unmatched || q.field.Type == field.String || v.named:
		return quote(v.text)
	}
	return printTyped(q.field, v)
}

// printTyped prints a number in the form of a type.
func printTyped(f *field.Field, v *value) string {
	switch f.Type {
	case field.Duration:
		return time.Duration(v.lo).String()
	case field.Enum:
		return quoteKeyword(f.WordOf(v.lo))
	case field.Errno:
		if name := unix.ErrnoName(syscall.Errno(v.lo)); name != "" {
			return name
		}
	case field.Mark:
		text := "0x" + strconv.FormatUint(v.lo, 16)
		if v.hi != 1<<32-1 {
			text += "/0x" + strconv.FormatUint(v.hi, 16)
		}
		return text
	}
	text := strconv.FormatUint(v.lo, 10)
	if v.hi != v.lo {
		text += "-" + strconv.FormatUint(v.hi, 10)
	}
	return text
}

// printPort prints a port with the colon that ss needs before names.
func printPort(v *value) string {
	text := portText(v)
	if v.named {
		text = quote(text)
	}
	return text
}

func portText(v *value) string {
	text := ":"
	switch v.addr.family {
	case 4:
		text = "inet:"
	case 6:
		text = "inet6:"
	}
	switch {
	case v.isAnyPort():
		if text == ":" {
			return "*"
		}
		return text + "*"
	case v.named:
		return text + v.text
	case v.lo == v.hi:
		return text + strconv.FormatUint(v.lo, 10)
	}
	return text + strconv.FormatUint(v.lo, 10) + "-" + strconv.FormatUint(v.hi, 10)
}

func printAddress(v *value) string {
	a := &v.addr
	if a.unix {
		return quote("unix:" + v.text)
	}
	text := ""
	switch a.family {
	case 4:
		text = "inet:"
	case 6:
		text = "inet6:"
	}
	switch {
	case a.prefix.IsValid():
		text += printPrefix(a.prefix, v.text)
	case v.named:
		text += v.text
	default:
		text += "*"
	}
	if a.port != nil {
		text += ":" + strings.TrimPrefix(portText(a.port), ":")
	}
	if a.prefix.IsValid() && v.text == "" && (a.port == nil || !a.port.named) {
		return text
	}
	return quoteHost(text)
}

// printPrefix prints an address, IPv6 in brackets, with a zone and a length where it
// has them.
func printPrefix(p netip.Prefix, zone string) string {
	a := p.Addr()
	text := a.String()
	if zone != "" {
		text += "%" + zone
	}
	if p.Bits() < a.BitLen() {
		text += "/" + strconv.Itoa(p.Bits())
	}
	if a.Is6() {
		text = "[" + text + "]"
	}
	return text
}

// plain are the characters of values that need no quotes anywhere.
func plain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./@%+:^$", r)
}

// quote prints a text as one word.
func quote(s string) string {
	switch {
	case s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0:
		return quoteKeyword(s)
	case !strings.Contains(s, "'"):
		return "'" + s + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// quoteHost prints the name of a host, or an address with one.
func quoteHost(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) && r != '[' && r != ']' && r != '*' }) < 0 {
		return quoteKeyword(s)
	}
	return quote(s)
}

// quoteKeyword keeps a value from being taken for an operator or a qualifier.
func quoteKeyword(s string) string {
	switch strings.ToLower(s) {
	case "and", "or", "not", "in", "eq", "ne", "neq", "lt", "le", "leq", "gt", "ge", "geq",
		"host", "net", "port", "portrange":
		return "'" + s + "'"
	}
	return s
}
