package snapshot

import (
	"bytes"
	"iter"
	"math"
)

// A scanner takes a line of a proc file apart as the C library's sscanf does,
// since that is what net-tools reads these files with: numbers stop at the
// first byte that is none, wrap to the width of their variable, and a field
// too long for its limit leaves its rest to the next one. The first field that
// does not match ends the scan: the calls after it do nothing, and values
// already there stay.
type scanner struct {
	line   []byte
	n      int // fields stored
	failed bool
}

// scanLine starts a scan of a line. Like a C string, the line ends at a NUL.
func scanLine(line []byte) scanner {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line = line[:i]
	}
	return scanner{line: line}
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func notSpace(c byte) bool { return !isSpace(c) }

// skipSpace passes white space, of which there may be none.
func (s *scanner) skipSpace() {
	for len(s.line) > 0 && isSpace(s.line[0]) {
		s.line = s.line[1:]
	}
}

// literal passes one byte that must be there.
func (s *scanner) literal(c byte) {
	if s.failed || len(s.line) == 0 || s.line[0] != c {
		s.failed = true
		return
	}
	s.line = s.line[1:]
}

// span takes up to width bytes of a class, at least one.
func (s *scanner) span(width int, class func(byte) bool) []byte {
	i := 0
	for i < len(s.line) && i < width && class(s.line[i]) {
		i++
	}
	if s.failed || i == 0 {
		s.failed = true
		return nil
	}
	field := s.line[:i]
	s.line = s.line[i:]
	return field
}

// field returns up to width bytes that are not white space, or nil. The bytes
// are the file's.
func (s *scanner) field(width int) []byte {
	s.skipSpace()
	field := s.span(width, notSpace)
	if field != nil {
		s.n++
	}
	return field
}

// word stores up to width bytes that are not white space.
func (s *scanner) word(dst *string, width int) {
	if field := s.field(width); field != nil && string(field) != *dst {
		*dst = string(field)
	}
}

// hexDigits stores up to width hexadecimal digits, without passing white
// space before them.
func (s *scanner) hexDigits(dst *string, width int) {
	if field := s.span(width, isHex); field != nil {
		*dst = string(field)
		s.n++
	}
}

// skip passes a field of up to width bytes that is not stored.
func (s *scanner) skip(width int) {
	s.skipSpace()
	s.span(width, notSpace)
}

// integer is what a number of a proc file is stored in.
type integer interface {
	~uint8 | ~int16 | ~uint16 | ~int32 | ~uint32 | ~int64 | ~uint64
}

// scanDec stores a signed decimal number.
func scanDec[T integer](s *scanner, dst *T) {
	if v, ok := s.number(10, math.MaxInt); ok {
		*dst = T(v.signed())
		s.n++
	}
}

// scanUint stores an unsigned decimal number; a minus sign negates it.
func scanUint[T integer](s *scanner, dst *T) {
	if v, ok := s.number(10, math.MaxInt); ok {
		*dst = T(v.unsigned())
		s.n++
	}
}

// scanHex stores a hexadecimal number of at most width bytes.
func scanHex[T integer](s *scanner, dst *T, width int) {
	if v, ok := s.number(16, width); ok {
		*dst = T(v.unsigned())
		s.n++
	}
}

// skipNumber passes a number that is not stored.
func (s *scanner) skipNumber(base uint64) { s.number(base, math.MaxInt) }

// number takes a number of at most width bytes: an optional sign, in base 16
// an optional 0x, and digits. A 0x without digits is a zero.
func (s *scanner) number(base uint64, width int) (v magnitude, ok bool) {
	s.skipSpace()
	b := s.line[:min(len(s.line), width)]
	i := 0
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		v.negative = b[0] == '-'
		i++
	}
	if base == 16 && i+1 < len(b) && b[i] == '0' && b[i+1]|0x20 == 'x' {
		i += 2
	}
	first := i
	if base == 16 && i >= 2 && b[i-1]|0x20 == 'x' {
		first--
	}
	for ; i < len(b) && digit(b[i]) < base; i++ {
		d := digit(b[i])
		v.overflow = v.overflow || v.abs > (math.MaxUint64-d)/base
		v.abs = v.abs*base + d
	}
	if s.failed || i == first {
		s.failed = true
		return v, false
	}
	s.line = s.line[i:]
	return v, true
}

// magnitude is a number as it was written.
type magnitude struct {
	abs                uint64
	negative, overflow bool
}

// signed returns the number, or the end of the 64-bit range that it is beyond.
func (m magnitude) signed() int64 {
	switch {
	case m.overflow || m.abs > math.MaxInt64:
		if m.negative {
			return math.MinInt64
		}
		return math.MaxInt64
	case m.negative:
		return -int64(m.abs)
	}
	return int64(m.abs)
}

// unsigned returns the number modulo 2^64, or the largest one if it is beyond.
func (m magnitude) unsigned() uint64 {
	switch {
	case m.overflow:
		return math.MaxUint64
	case m.negative:
		return -m.abs
	}
	return m.abs
}

// digit returns the value of a hexadecimal digit, and 255 for another byte.
func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return uint64(c|0x20-'a') + 10
	}
	return math.MaxUint8
}

// lines yields the lines of a file with their newlines. A line longer than
// size-1 bytes comes in pieces, as from fgets with a buffer of size bytes.
func lines(file []byte, size int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(file) > 0 {
			end := bytes.IndexByte(file, '\n') + 1
			if end == 0 {
				end = len(file)
			}
			end = min(end, size-1)
			if !yield(file[:end]) {
				return
			}
			file = file[end:]
		}
	}
}

// linesOf yields the lines of a file in pieces of whole lines.
func linesOf(pieces iter.Seq[[]byte], size int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for piece := range pieces {
			for line := range lines(piece, size) {
				if !yield(line) {
					return
				}
			}
		}
	}
}
