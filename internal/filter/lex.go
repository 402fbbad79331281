package filter

import (
	"strings"
	"unicode/utf8"
)

// tokenKind says what a token is.
type tokenKind uint8

const (
	atEnd tokenKind = iota
	word
	operator // ( ) { } , and those of comparisons; & and | have doubled forms alone
)

// token is a word or an operator.
type token struct {
	kind   tokenKind
	text   string // of a word without its quotes
	quoted bool   // it has quotes or escapes, so it is a value and no keyword
	at     span
}

// is reports whether the token is an operator, or a word that is a keyword.
func (t token) is(texts ...string) bool {
	if t.kind == atEnd || t.quoted {
		return false
	}
	for _, s := range texts {
		if t.text == s {
			return true
		}
	}
	return false
}

// splitters end a word outside of addresses.
const splitters = "(){},&|!<>=~"

const spaces = " \t\n\r\v\f"

// operators are the tokens of splitters, longest first.
var operators = []string{
	"&&", "||", "!=", "!~", "==", "<=", ">=",
	"(", ")", "{", "}", ",", "&", "|", "!", "<", ">", "=", "~",
}

// scanner cuts an expression into tokens. Its first error ends it: from then on there
// are no more tokens.
type scanner struct {
	option string
	text   string
	pos    int
	err    *Error
}

// fail keeps the first error.
func (s *scanner) fail(at span, what, hint string) {
	if s.err == nil {
		s.err = &Error{What: what, Hint: hint, Option: s.option, text: s.text, at: at}
	}
	s.pos = len(s.text)
}

func (s *scanner) skipSpace() {
	for s.pos < len(s.text) && strings.IndexByte(spaces, s.text[s.pos]) >= 0 {
		s.pos++
	}
}

// token takes the next token.
func (s *scanner) token() token {
	s.skipSpace()
	if s.pos == len(s.text) {
		return token{at: span{s.pos, s.pos}}
	}
	for _, op := range operators {
		if strings.HasPrefix(s.text[s.pos:], op) {
			s.pos += len(op)
			return token{kind: operator, text: single(op), at: span{s.pos - len(op), s.pos}}
		}
	}
	return s.word(splitters)
}

// single returns the one spelling of an operator that has two.
func single(op string) string {
	switch op {
	case "==":
		return "="
	case "&":
		return "&&"
	case "|":
		return "||"
	}
	return op
}

// peek returns the next token without taking it.
func (s *scanner) peek() token {
	before := s.pos
	t := s.token()
	if s.err == nil {
		s.pos = before
	}
	return t
}

// word takes a word, which ends at white space or at one of some characters that
// stand outside of quotes.
func (s *scanner) word(ends string) token {
	start, open := s.pos, -1 // open: where the quotes began that hold now
	var text strings.Builder
	quoted := false
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		switch {
		case open >= 0 && c == s.text[open]:
			open = -1
		case open < 0 && (c == '\'' || c == '"'):
			open, quoted = s.pos, true
		case c == '\\' && (open < 0 || s.text[open] == '"'):
			quoted = true
			if s.pos++; s.pos == len(s.text) {
				s.fail(span{s.pos - 1, s.pos}, `nothing follows '\'`, `it takes the next character as it is: write \\ for one of its own`)
				return token{at: span{s.pos, s.pos}}
			}
			text.WriteByte(s.text[s.pos])
		case open < 0 && (strings.IndexByte(spaces, c) >= 0 || strings.IndexByte(ends, c) >= 0):
			return token{word, text.String(), quoted, span{start, s.pos}}
		default:
			text.WriteByte(c)
		}
		s.pos++
	}
	if open >= 0 {
		_, size := utf8.DecodeRuneInString(s.text[open:])
		s.fail(span{open, open + size}, s.text[open:open+size]+" is not closed", "")
		return token{at: span{s.pos, s.pos}}
	}
	return token{word, text.String(), quoted, span{start, s.pos}}
}

// address takes a word in the place of an address, which runs to white space, as in
// ss. In braces it ends at commas and at the brace; outside of them commas split
// unless whole says that they belong to the value. What is left of it are those ) at
// its end that it does not open itself and that close one of the groups that are open.
func (s *scanner) address(inBraces, whole bool, groups int) token {
	s.skipSpace()
	if s.pos == len(s.text) {
		return token{at: span{s.pos, s.pos}}
	}
	ends := ","
	switch {
	case inBraces:
		ends = ",}"
	case whole || strings.HasPrefix(s.text[s.pos:], "unix:"):
		ends = ""
	}
	start := s.pos
	t := s.word(ends)
	raw := s.text[start:s.pos]
	unopened := strings.Count(raw, ")") - strings.Count(raw, "(")
	for t.kind == word && unopened > 0 && groups > 0 && closesGroup(raw) {
		raw, t.text = raw[:len(raw)-1], t.text[:len(t.text)-1]
		unopened--
		groups--
		s.pos--
		t.at.to--
	}
	if unopened > 0 && closesGroup(raw) && !strings.HasPrefix(raw, "unix:") {
		s.fail(span{t.at.to - 1, t.at.to}, "')' closes nothing", "")
	}
	return t
}

// closesGroup reports whether a raw word ends with a parenthesis of its own kind, not
// one that is quoted.
func closesGroup(raw string) bool {
	return strings.HasSuffix(raw, ")") && !strings.HasSuffix(raw, `\)`)
}
