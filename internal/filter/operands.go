package filter

import (
	"fmt"
	"regexp" //nolint:depguard // the flag library has it in every run already; it is called for ~ alone
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/field"
)

// operands reads values, each type in its own way.
type operands struct{ *parser }

// typed reads the value in a word.
func (p operands) typed(q *pred, t token) value {
	switch f := q.field; f.Type {
	case field.Port:
		return p.port(q, t)
	case field.State:
		return value{lo: p.state(t, f.Word)}
	case field.Size:
		return p.size(t)
	case field.Duration:
		return p.duration(t)
	case field.Mark:
		return p.mark(t)
	case field.String:
		return p.str(q, t)
	case field.Enum:
		return p.enum(f, t)
	case field.Errno:
		return p.errno(t)
	case field.User, field.Device, field.Netns, field.Cgroup:
		if isNumber(t.text) {
			return p.number(q, t)
		}
		return value{text: t.text, named: true}
	default:
		return p.number(q, t)
	}
}

// pattern reads a regular expression.
func (p operands) pattern(t token) value {
	if _, err := regexp.Compile(t.text); err != nil {
		what := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		if strings.HasPrefix(what, "missing closing )") {
			what = "missing ')'"
		}
		p.fail(t.at, "regular expression: "+what, "")
	}
	return value{text: t.text, at: t.at}
}

// number reads a number or, where there is an order, a range.
func (p operands) number(q *pred, t token) value {
	low, high, ranged := strings.Cut(t.text, "-")
	if ranged && isNumber(low) && isNumber(high) && q.verb <= unequal {
		v := value{lo: p.uint(t, low), hi: p.uint(t, high)}
		if v.lo > v.hi {
			p.fail(t.at, "a range is A-B, and A is not above B", "")
		}
		return v
	}
	if !isNumber(t.text) {
		p.notNumber(q, t)
		return value{}
	}
	n := p.uint(t, t.text)
	return value{lo: n, hi: n}
}

// notNumber says that a word is no number, and how a name would be asked for.
func (p operands) notNumber(q *pred, t token) {
	hint := ""
	switch q.field.Word {
	case "pid", "tid":
		hint = fmt.Sprintf("by name `comm %s`", t.text)
	case "uid":
		hint = fmt.Sprintf("by name `user %s`", t.text)
	}
	p.fail(t.at, q.field.Word+" is a number", hint)
}

// isNumber reports whether a word begins as numbers do and has digits alone.
func isNumber(text string) bool {
	if hex, ok := cutHex(text); ok {
		_, err := strconv.ParseUint(hex, 16, 64)
		return err == nil
	}
	return text != "" && strings.Trim(text, "0123456789") == ""
}

func cutHex(text string) (digits string, ok bool) {
	if len(text) > 2 && text[0] == '0' && text[1]|0x20 == 'x' {
		return text[2:], true
	}
	return "", false
}

// uint reads a number: decimal, or hexadecimal with 0x. A leading zero is an error,
// for C takes such a number for an octal one.
func (p operands) uint(t token, text string) uint64 {
	if hex, ok := cutHex(text); ok {
		n, _ := strconv.ParseUint(hex, 16, 64)
		return n
	}
	if len(text) > 1 && text[0] == '0' {
		p.fail(t.at, "leading zero", fmt.Sprintf("ss reads %s as octal, %s; write %s", text, octal(text), decimal(text)))
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		p.fail(t.at, "the number is too large", "")
	}
	return n
}

func octal(text string) string {
	n, err := strconv.ParseUint(text, 8, 64)
	if err != nil {
		return "no number"
	}
	return strconv.FormatUint(n, 10)
}

func decimal(text string) string {
	if text = strings.TrimLeft(text, "0"); text == "" {
		return "0"
	}
	return text
}

// sizeUnits are the units of sizes: decimal as the output prints them, and binary.
var sizeUnits = map[string]uint64{
	"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30,
}

// size reads a number of bytes.
func (p operands) size(t token) value {
	digits := t.text[:len(t.text)-len(strings.TrimLeft(t.text, "0123456789"))]
	factor, ok := sizeUnits[t.text[len(digits):]]
	if digits == "" || !ok {
		p.fail(t.at, fmt.Sprintf("'%s' is no size", t.text), "units are k M G Ki Mi Gi")
		return value{}
	}
	n := p.uint(t, digits)
	if n > ^uint64(0)/factor {
		p.fail(t.at, "the number is too large", "")
	}
	return value{lo: n * factor, hi: n * factor}
}

// duration reads a time with its unit.
func (p operands) duration(t token) value {
	d, err := time.ParseDuration(t.text)
	switch {
	case isNumber(t.text):
		p.fail(t.at, "a time needs a unit", fmt.Sprintf("%sms, %ss", t.text, t.text))
	case err != nil || d < 0:
		p.fail(t.at, fmt.Sprintf("'%s' is no time", t.text), "units are ns us ms s m h, as in 1m30s")
	}
	return value{lo: uint64(d), hi: uint64(d)}
}

// mark reads a firewall mark and the mask behind a slash.
func (p operands) mark(t token) value {
	mark, mask, masked := strings.Cut(t.text, "/")
	if !isNumber(mark) || masked && !isNumber(mask) {
		p.fail(t.at, fmt.Sprintf("'%s' is no mark", t.text), "a mark is MARK or MARK/MASK, as in 0x10/0xff")
		return value{}
	}
	v := value{lo: p.uint(t, mark), hi: 1<<32 - 1}
	if masked {
		v.hi = p.uint(t, mask)
	}
	if v.lo > 1<<32-1 || v.hi > 1<<32-1 {
		p.fail(t.at, "a mark has 32 bits", "")
	}
	return v
}

const commLongest = 15 // TASK_COMM_LEN - 1, include/linux/sched.h

// str reads a text.
func (p operands) str(q *pred, t token) value {
	if q.field.Word == "comm" && len(t.text) > commLongest {
		p.fail(t.at, fmt.Sprintf("comm has %d bytes", commLongest),
			fmt.Sprintf("`program %s`, or `comm ~ ^%s`", t.text, regexp.QuoteMeta(firstRunes(t.text, 10))))
	}
	return value{text: t.text}
}

// enumAliases are further words of some enumerations.
var enumAliases = map[string]map[string]string{
	"direction": {"out": "outgoing", "in": "incoming"},
	"family": {
		"inet": "ipv4", "ip": "ipv4", "ip4": "ipv4", "4": "ipv4", "inet6": "ipv6", "ip6": "ipv6", "6": "ipv6",
	},
	"autobound": {"no": "false", "yes": "true"},
	"inferred":  {"no": "false", "yes": "true"},
}

// enum reads one of the words of a field.
func (p operands) enum(f *field.Field, t token) value {
	text := t.text
	if canonical := enumAliases[f.Word][text]; canonical != "" {
		text = canonical
	}
	var words []string
	for i, w := range f.Words {
		if w != "" && w == text {
			return value{lo: uint64(i), hi: uint64(i)}
		}
		if w != "" {
			words = append(words, w)
		}
	}
	hint := nearHint(fmt.Sprintf("it is one of %s", strings.Join(words, ", ")), field.Nearest(t.text, words))
	p.fail(t.at, fmt.Sprintf("no %s '%s'", strings.ReplaceAll(f.Word, "_", " "), t.text), hint)
	return value{}
}

// enumOf returns the number of a word.
func enumOf(f *field.Field, word string) uint64 {
	for i, w := range f.Words {
		if w == word {
			return uint64(i)
		}
	}
	return 0
}

const errnoLast = 133 // EHWPOISON; the kernel's own numbers have no names

// errno reads an error by name or number.
func (p operands) errno(t token) value {
	if isNumber(t.text) {
		n := p.uint(t, t.text)
		return value{lo: n, hi: n}
	}
	var names []string
	for e := syscall.Errno(1); e <= errnoLast; e++ {
		name := unix.ErrnoName(e)
		if strings.EqualFold(name, t.text) {
			return value{lo: uint64(e), hi: uint64(e)}
		}
		if name != "" {
			names = append(names, name)
		}
	}
	p.fail(t.at, fmt.Sprintf("no error '%s'", t.text), nearHint("", field.Nearest(strings.ToUpper(t.text), names)))
	return value{}
}
