package filter

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is an expression that cannot be followed. It is told in up to four lines: what
// is wrong, the line of the expression, carets under the words, and what is expected.
type Error struct {
	What string // for example: no field or keyword 'prot'
	Hint string // what was expected, or what is near; may be empty

	Option string // that has the expression; empty: --filter

	text string // of the expression
	at   span
}

// Error returns all lines, without a newline at the end.
func (e *Error) Error() string {
	var b strings.Builder
	option := e.Option
	if option == "" {
		option = "--filter"
	}
	b.WriteString(option + ": " + e.What)
	if e.text != "" {
		line, marks := e.line()
		fmt.Fprintf(&b, "\n  %s\n  %s", line, marks)
	}
	if e.Hint != "" {
		b.WriteString("\n" + e.Hint)
	}
	return b.String()
}

// Span returns the bytes of the expression that the carets stand under.
func (e *Error) Span() (from, to int) { return e.at.from, e.at.to }

const (
	contextBefore = 60 // characters of a long line that are shown before the word
	contextAfter  = 40 // and after it
	caretsMost    = 40
)

// line returns the line of the word as far as it fits a terminal, and carets below.
func (e *Error) line() (line, marks string) {
	from := strings.LastIndexByte(e.text[:e.at.from], '\n') + 1
	to := len(e.text)
	if i := strings.IndexByte(e.text[e.at.from:], '\n'); i >= 0 {
		to = e.at.from + i
	}
	end := min(max(e.at.to, e.at.from), to)
	before := lastRunes(e.text[from:e.at.from], contextBefore)
	word := e.text[e.at.from:end]
	after := firstRunes(e.text[end:to], contextAfter)
	shown := firstRunes(word, caretsMost)
	if shown != word {
		after = "..."
	}
	if len(before) < e.at.from-from {
		before = "..." + before
	}
	indent := strings.Repeat(" ", cells(visible(before)))
	carets := strings.Repeat("^", max(cells(visible(shown)), 1))
	return visible(before) + visible(shown) + visible(after), indent + carets
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i]
		}
	}
	return s
}

func lastRunes(s string, n int) string {
	i := len(s)
	for ; n > 0 && i > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:i])
		i -= size
	}
	return s[i:]
}

// visible returns a text of which a terminal shows every character.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			return '?'
		}
		return r
	}, s)
}

// cells returns how many columns of a terminal a text takes.
func cells(s string) int {
	n := 0
	for _, r := range s {
		n += width(r)
	}
	return n
}

// wide are the writings and pictures that take two columns, as wcwidth(3) has them.
var wide = [...][2]rune{
	{0x1100, 0x115F},
	{0x2E80, 0xA4CF},
	{0xAC00, 0xD7A3},
	{0xF900, 0xFAFF},
	{0xFE30, 0xFE6F},
	{0xFF01, 0xFF60},
	{0xFFE0, 0xFFE6},
	{0x1F300, 0x1FAFF},
	{0x20000, 0x3FFFD},
}

func width(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	for _, w := range wide {
		if w[0] <= r && r <= w[1] {
			return 2
		}
	}
	return 1
}

// nearHint appends near names to what was expected.
func nearHint(expected string, near []string) string {
	if len(near) == 0 {
		return expected
	}
	text := "near: " + strings.Join(near, ", ")
	if expected == "" {
		return text
	}
	return expected + "; " + text
}
