package filter

import (
	"fmt"
	"strings"
)

const lastPort = 65535

// anyPort is the port "*": all that a socket can have.
func (v *value) isAnyPort() bool { return !v.named && v.lo == 0 && v.hi == lastPort && v.text == "*" }

// port reads [FAMILY:][:]PORT, where PORT is a number, a range of numbers, the name of
// a service, or *.
func (p operands) port(q *pred, t token) value {
	v := value{}
	text := t.text
	if family, rest, ok := cutFamily(text); ok {
		switch family {
		case "inet":
			v.addr.family = 4
		case "inet6":
			v.addr.family = 6
		default:
			p.fail(t.at, fmt.Sprintf("%s sockets have no ports", family), "")
			return v
		}
		text = rest
	}
	text = strings.TrimPrefix(text, ":")
	if strings.Contains(text, ":") || isDotted(text) {
		p.fail(t.at, fmt.Sprintf("%s takes a port alone", q.name()), fmt.Sprintf("`%s %s`", q.addressName(), t.text))
		return v
	}
	p.portText(t, text, &v)
	if v.isAnyPort() && q.verb.ordered() {
		p.fail(t.at, "no order with any port", "")
	}
	if v.lo != v.hi && q.verb.ordered() {
		p.fail(t.at, "no order with a range", "")
	}
	return v
}

// isDotted reports whether a text looks like an IPv4 address.
func isDotted(text string) bool {
	return strings.Contains(text, ".") && strings.Trim(text, "0123456789./") == ""
}

// addressName is the word for the address at the end whose port the predicate asks for.
func (q *pred) addressName() string {
	switch {
	case q.either:
		return "host"
	case q.field.Word == "dport":
		return "dst"
	}
	return "src"
}

// portText reads a port without what may stand before it.
func (p operands) portText(t token, text string, v *value) {
	low, high, ranged := strings.Cut(text, "-")
	high = strings.TrimPrefix(high, ":")
	switch {
	case text == "" || text == "*":
		v.text, v.lo, v.hi = "*", 0, lastPort
	case text[0] == '-':
		p.fail(t.at, fmt.Sprintf("a port is 0 to %d", lastPort), "")
	case ranged && isNumber(low):
		if !isNumber(high) {
			p.fail(t.at, "a range is A-B", "")
			return
		}
		v.lo, v.hi = p.portNumber(t, low), p.portNumber(t, high)
		if v.lo > v.hi {
			p.fail(t.at, "a range is A-B, and A is not above B", "")
		}
	case isNumber(text):
		v.lo = p.portNumber(t, text)
		v.hi = v.lo
	case text[0] >= '0' && text[0] <= '9':
		p.fail(t.at, fmt.Sprintf("a port is 0 to %d", lastPort), "")
	default:
		v.text, v.named = text, true
	}
}

func (p operands) portNumber(t token, text string) uint64 {
	n := p.uint(t, text)
	if n > lastPort {
		p.fail(t.at, fmt.Sprintf("a port is 0 to %d", lastPort), "")
	}
	return n
}

// cutFamily cuts one of ss's prefixes off a word.
func cutFamily(text string) (family, rest string, ok bool) {
	for _, name := range []string{"inet", "inet6", "unix", "link", "netlink", "vsock"} {
		if rest, ok := strings.CutPrefix(text, name+":"); ok {
			return name, rest, true
		}
	}
	return "", text, false
}
