package filter

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
)

// hosts reads the values of src, dst, host and net.
type hosts struct{ operands }

// addresses reads the operator and the addresses of an end. t is the word before them.
func (p *parser) addresses(t token, f *field.Field, either, network bool) *node {
	q := &pred{field: f, either: either, at: t.at, word: t.at}
	before := p.pos
	verb, at, listed := p.verb()
	q.verb = verb
	if at.from < at.to && !p.valueFollows() && p.isWord(at) { // a host of that name
		p.pos, q.verb = before, equal
	}
	if next := p.peek(); !listed && (isAnd(next) || isOr(next)) {
		p.fail(next.at, fmt.Sprintf("expected an address after '%s'", t.text), "an end in two ways is `host A`, `port N`")
	}
	p.checkVerb(q, at)
	if p.err != nil {
		return nil
	}
	q.values = p.addressList(q, t, network)
	if p.err != nil {
		return nil
	}
	q.at.to = p.pos
	return p.done(q)
}

// isWord reports whether an operator was spelled in letters.
func (p *parser) isWord(at span) bool {
	return at.from < at.to && p.text[at.from]|0x20 >= 'a' && p.text[at.from]|0x20 <= 'z'
}

// addressList reads the addresses. With network a number of few parts is a network.
func (p *parser) addressList(q *pred, t token, network bool) []value {
	list := p.values(q, t, true)
	for i := range list {
		if p.err == nil && network {
			hosts{operands{p}}.widen(&list[i])
		}
	}
	return list
}

// widen makes a network of an address of less than four parts: net 10 is 10/8.
func (p hosts) widen(v *value) {
	parts := strings.Count(p.text[v.at.from:v.at.to], ".") + 1
	text := p.text[v.at.from:v.at.to]
	if v.addr.prefix.IsValid() && v.addr.prefix.Addr().Is4() && !strings.ContainsAny(text, "/:") && parts < 4 {
		v.addr.prefix = netip.PrefixFrom(v.addr.prefix.Addr(), 8*parts).Masked()
		p.dropNote()
	}
}

// dropNote takes back what was said of a short address.
func (p hosts) dropNote() {
	if n := len(p.notes); n > 0 && strings.HasSuffix(p.notes[n-1], shortNote) {
		p.notes = p.notes[:n-1]
	}
}

// host reads [FAMILY:]ADDR[/LEN][:PORT].
func (p hosts) host(before token, inBraces bool) value {
	t := p.address(inBraces, false, p.open)
	if p.err == nil && t.kind != word {
		p.missingValue(t, p.raw(before))
	}
	if p.err != nil {
		return value{}
	}
	if len(p.text) > t.at.to && t.at.from == t.at.to { // a comma or brace
		p.fail(span{t.at.from, t.at.from + 1}, "expected an address", "")
		return value{}
	}
	v := value{at: t.at}
	p.hostText(t, &v)
	return v
}

// hostText reads the word of an address.
func (p hosts) hostText(t token, v *value) {
	family, rest, prefixed := cutFamily(t.text)
	switch {
	case family == "unix":
		v.addr.unix, v.text = true, rest
		return
	case family == "inet":
		v.addr.family = 4
	case family == "inet6":
		v.addr.family = 6
	case prefixed:
		p.fail(t.at, fmt.Sprintf("no %s sockets are shown", family), "families are inet, inet6 and unix")
		return
	case p.isUnixName(t.text):
		v.addr.unix, v.text = true, t.text
		return
	}
	host, port := p.cutPort(t, rest)
	if p.err != nil {
		return
	}
	if port != "" {
		pv := value{at: t.at}
		p.portText(t, port[1:], &pv)
		if !pv.isAnyPort() {
			v.addr.port = &pv
		}
	}
	p.hostAlone(t, host, v)
}

// isUnixName reports whether a word without a family is a name of Unix sockets.
func (p hosts) isUnixName(text string) bool {
	if p.opts.Unix || strings.HasPrefix(text, "/") || strings.HasPrefix(text, "@") {
		return true
	}
	return strings.ContainsAny(text, "*?") && text != "*" && !strings.HasPrefix(text, "*:")
}

// cutPort cuts the port off a host, with its colon.
func (p hosts) cutPort(t token, text string) (host, port string) {
	if strings.HasPrefix(text, "[") {
		return p.cutBrackets(t, text)
	}
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return text, ""
	}
	host, port = text[:colon], text[colon:]
	if many := strings.IndexByte(text, ':') < colon; many {
		return p.cutIPv6(text, host, port)
	}
	if slash := strings.IndexByte(port, '/'); slash >= 0 {
		p.fail(span{t.at.to - len(port), t.at.to}, "the port comes after the length", fmt.Sprintf("`%s%s%s`", host, port[slash:], port[:slash]))
	}
	return host, port
}

// cutIPv6 cuts the port off an IPv6 address without brackets: at the last colon if what
// stands before is a host, as ss reads it; else the whole word is the address.
func (p hosts) cutIPv6(text, host, port string) (string, string) {
	_, whole := parseIPv6(text)
	_, split := parseIPv6(host)
	if !split || !isPortText(port[1:]) {
		return text, ""
	}
	if whole {
		p.notes = append(p.notes, fmt.Sprintf("%s is port %s of %s as in ss; the address is [%s]", text, port[1:], host, text))
	}
	return host, port
}

func isPortText(text string) bool {
	return text == "*" || isNumber(text) || text != "" && text[0]|0x20 >= 'g' && text[0]|0x20 <= 'z'
}

// cutBrackets cuts [A] or [A/L] and what follows.
func (p hosts) cutBrackets(t token, text string) (host, port string) {
	end := strings.IndexByte(text, ']')
	if end < 0 {
		at := t.at.from + strings.IndexByte(p.raw(t), '[')
		p.fail(span{at, at + 1}, "'[' is not closed", "")
		return "", ""
	}
	host, rest := text[1:end], text[end+1:]
	switch {
	case rest == "" || rest[0] == ':':
		return "[" + host, rest
	case rest[0] == '/':
		p.fail(span{t.at.to - len(rest), t.at.to}, "the length goes inside", fmt.Sprintf("`[%s%s]`", host, rest))
	default:
		p.fail(span{t.at.to - len(rest), t.at.to}, "expected a port after ']'", "")
	}
	return "", ""
}

// hostAlone reads an address without a port, or the name of a host.
func (p hosts) hostAlone(t token, host string, v *value) {
	host, bracketed := strings.CutPrefix(host, "[")
	switch host {
	case "", "*", "any", "all", "default":
		if bracketed {
			p.fail(t.at, "expected an address between '[' and ']'", "")
		}
		return
	}
	addr, length, slashed := strings.Cut(host, "/")
	if a, ok := parseIPv6(addr); ok {
		p.prefix(t, v, a, length, slashed)
		return
	}
	a, numeric := p.parseIPv4(t, addr, slashed)
	switch {
	case p.err != nil:
	case numeric && bracketed:
		p.fail(t.at, "brackets are for IPv6 addresses", "")
	case numeric && v.addr.family == 6:
		p.fail(t.at, "an IPv4 address is no inet6 address", "")
	case numeric:
		p.prefix(t, v, a, length, slashed)
	case slashed || bracketed || strings.ContainsAny(addr, ":[]%"):
		p.fail(t.at, fmt.Sprintf("'%s' is no address", host), "")
	default:
		v.text, v.named = addr, true
	}
}

// prefix sets an address and the length behind it. Bits of the host are ignored.
func (p hosts) prefix(t token, v *value, a netip.Addr, length string, slashed bool) {
	if a.Is6() && v.addr.family == 4 {
		p.fail(t.at, "an IPv6 address is no inet address", "")
		return
	}
	n := a.BitLen()
	if slashed {
		var ok bool
		if n, ok = prefixLength(length, a); !ok {
			family := "IPv4"
			if a.Is6() {
				family = "IPv6"
			}
			p.fail(t.at, fmt.Sprintf("an %s prefix length is 0 to %d", family, a.BitLen()), "")
			return
		}
	}
	if zone := a.Zone(); zone != "" && n < a.BitLen() {
		p.fail(t.at, "a zone goes with a whole address", "")
		return
	}
	v.addr.prefix = netip.PrefixFrom(a.WithZone(""), n).Masked()
	if zone := a.Zone(); zone != "" { // the interface is looked up
		v.text, v.named = zone, true
	}
}

// prefixLength reads a length, or the mask of an IPv4 address.
func prefixLength(text string, a netip.Addr) (int, bool) {
	if n, err := strconv.ParseUint(text, 10, 8); err == nil && (text == "0" || text[0] != '0') {
		return int(n), int(n) <= a.BitLen()
	}
	mask, err := netip.ParseAddr(text)
	if err != nil || !mask.Is4() || !a.Is4() {
		return 0, false
	}
	m := mask.As4()
	word := uint32(m[0])<<24 | uint32(m[1])<<16 | uint32(m[2])<<8 | uint32(m[3])
	n := bits.LeadingZeros32(^word)
	return n, word<<n == 0
}

// parseIPv6 reads an IPv6 address, also a v4-mapped one, with or without a zone.
func parseIPv6(text string) (netip.Addr, bool) {
	if strings.IndexByte(text, ':') < 0 {
		return netip.Addr{}, false
	}
	addr, length, slashed := strings.Cut(text, "/")
	a, err := netip.ParseAddr(addr)
	if strings.ContainsAny(a.Zone(), "[]%:") {
		return netip.Addr{}, false
	}
	if err == nil && slashed {
		_, ok := prefixLength(length, a)
		return a, ok
	}
	return a, err == nil && a.Is6()
}

const shortNote = "; a network is 10/8 or `net 10`"

// parseIPv4 reads up to four numbers with dots between. Where there are less, zeros
// follow, as in ss: 10 is the host 10.0.0.0.
func (p hosts) parseIPv4(t token, text string, slashed bool) (netip.Addr, bool) {
	if text == "" || text[0] < '0' || text[0] > '9' {
		return netip.Addr{}, false
	}
	parts := strings.Split(text, ".")
	var a [4]byte
	if len(parts) > len(a) {
		return netip.Addr{}, false
	}
	for i, part := range parts {
		if !isNumber(part) {
			return netip.Addr{}, false
		}
		n := p.uint(t, part)
		if n > 255 && p.err == nil {
			p.fail(t.at, "each part of an IPv4 address is 0 to 255", "")
		}
		a[i] = byte(n)
	}
	addr := netip.AddrFrom4(a)
	if len(parts) < len(a) && !slashed && p.err == nil {
		p.notes = append(p.notes, fmt.Sprintf("%s is the host %s as in ss%s", text, addr, shortNote))
	}
	return addr, true
}

// isAddress reports whether a text is an address, perhaps with a length or a port.
func isAddress(text string) bool {
	p := hosts{operands{&parser{scanner: scanner{text: text}}}}
	v := value{}
	p.hostText(token{kind: word, text: text, at: span{0, len(text)}}, &v)
	return p.err == nil && v.addr.prefix.IsValid()
}
