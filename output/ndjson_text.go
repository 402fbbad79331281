package output

import (
	"encoding/binary"
	"time"
	"unicode/utf8"
)

// plain marks the bytes that stand in a JSON string as they are: printable
// ASCII without the quote and the backslash.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

const hexDigits = "0123456789abcdef"

// appendEscaped appends s as the inside of a JSON string, at most room bytes of
// it, and reports whether s had to be cut. It never cuts inside a character or an
// escape.
//
// Escaped are, besides what RFC 8259 (7) demands, DEL, the C1 controls and the
// line and paragraph separators: readers exist that end a line at U+0085 or
// U+2028, and terminals that obey U+009B. A byte that is not part of valid UTF-8
// becomes U+FFFD.
func appendEscaped(dst []byte, s string, room int) (_ []byte, cut bool) {
	for i := 0; i < len(s); {
		run := i
		for i < len(s) && plain[s[i]] {
			i++
		}
		if n := i - run; n > room {
			return append(dst, s[run:run+max(room, 0)]...), true
		}
		dst = append(dst, s[run:i]...)
		room -= i - run
		if i == len(s) {
			break
		}
		before := len(dst)
		var size int
		dst, size = appendSpecial(dst, s[i:])
		if room -= len(dst) - before; room < 0 {
			return dst[:before], true
		}
		i += size
	}
	return dst, false
}

// appendSpecial appends the first character of s, which is not plain, and returns
// its length in s.
func appendSpecial(dst []byte, s string) (_ []byte, size int) {
	switch c := s[0]; {
	case c == '"' || c == '\\':
		return append(dst, '\\', c), 1
	case c == '\n':
		return append(dst, '\\', 'n'), 1
	case c == '\t':
		return append(dst, '\\', 't'), 1
	case c == '\r':
		return append(dst, '\\', 'r'), 1
	case c < utf8.RuneSelf:
		return appendUnicodeEscape(dst, rune(c)), 1
	}
	r, size := utf8.DecodeRuneInString(s)
	if r < 0xa0 || r == '\u2028' || r == '\u2029' {
		return appendUnicodeEscape(dst, r), size
	}
	return utf8.AppendRune(dst, r), size
}

// appendUnicodeEscape appends a character of the basic plane as \uXXXX.
func appendUnicodeEscape(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u',
		hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// appendHex64 appends v as 16 hexadecimal digits.
func appendHex64(dst []byte, v uint64) []byte {
	var digits [16]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = hexDigits[v&15]
		v >>= 4
	}
	return append(dst, digits[:]...)
}

// appendDigits appends v in decimal, exactly n digits wide, with leading zeros.
func appendDigits(dst []byte, v, n int) []byte {
	dst = append(dst, "000000000"[:n]...)
	for i := len(dst) - 1; v > 0 && n > 0; i, n = i-1, n-1 {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}

// timeText writes times as RFC 3339 in UTC with exactly six digits of fraction,
// a fixed width that sorts as text. It keeps the text of the last second, as
// events come in bursts. The zero value is ready.
type timeText struct {
	second int64 // Unix time that text stands for, up to the dot
	text   [len("2006-01-02T15:04:05.000000Z")]byte
	valid  bool
}

// append appends the time that is ns nanoseconds after the Unix epoch.
func (t *timeText) append(dst []byte, ns int64) []byte {
	second, fraction := ns/1e9, ns%1e9
	if fraction < 0 {
		second, fraction = second-1, fraction+1e9
	}
	if !t.valid || t.second != second {
		t.set(second)
	}
	dst = append(dst, t.text[:]...)
	// The last eight bytes are a dot, six digits and a Z. Of the eight digits two are in front.
	micros := eightDigits(uint64(fraction)/1e3) | zeros
	binary.LittleEndian.PutUint64(dst[len(dst)-8:], micros>>8&^0xff|'.'|'Z'<<56)
	return dst
}

func (t *timeText) set(second int64) {
	at := time.Unix(second, 0).UTC()
	year, month, day := at.Date()
	hour, minute, sec := at.Clock()
	b := appendDigits(t.text[:0], year, 4)
	b = appendDigits(append(b, '-'), int(month), 2)
	b = appendDigits(append(b, '-'), day, 2)
	b = appendDigits(append(b, 'T'), hour, 2)
	b = appendDigits(append(b, ':'), minute, 2)
	b = appendDigits(append(b, ':'), sec, 2)
	copy(t.text[len(b):], ".000000Z")
	t.second, t.valid = second, true
}
