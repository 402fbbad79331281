package output

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nettrace/nettrace/snapshot"
)

// appendPlain appends a name with what a terminal would obey, and what is not
// UTF-8, written as an escape.
func appendPlain(dst []byte, s string) []byte { return appendVisible(dst, s, false) }

// appendVisible is appendPlain, and for a terminal that knows ASCII alone writes
// all else as escapes too.
func appendVisible(dst []byte, s string, ascii bool) []byte {
	plain := 0
	for plain < len(s) && ' ' <= s[plain] && s[plain] <= '~' && s[plain] != '\\' {
		plain++
	}
	dst = append(dst, s[:plain]...)
	s = s[plain:]
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			dst = append(dst, `\x`...)
			dst = append(dst, hexDigits[s[i]>>4], hexDigits[s[i]&15])
		case r == '\\' || !unicode.IsPrint(r) || ascii && r >= utf8.RuneSelf:
			n := len(dst)
			dst = strconv.AppendQuoteRuneToASCII(dst, r)
			dst = append(dst[:n], dst[n+1:len(dst)-1]...) // without the quotes
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// appendCmdline appends a command line, its arguments separated by blanks.
func appendCmdline(dst []byte, cmdline string, ascii bool) []byte {
	for arg := range strings.SplitSeq(strings.TrimRight(cmdline, "\x00"), "\x00") {
		dst = appendVisible(dst, arg, ascii)
		dst = append(dst, ' ')
	}
	return dst[:max(len(dst)-1, 0)]
}

// appendOwner appends the process that a socket belongs to, and the thread that
// made the call where it has another name. A process outside of the pid namespace
// that is shown has a name alone.
func appendOwner(dst []byte, o *snapshot.Owner, ascii bool) []byte {
	if o.Process == nil {
		return append(dst, '-')
	}
	if o.Process.PID == 0 {
		dst = append(dst, '-')
	} else {
		dst = strconv.AppendInt(dst, int64(o.Process.PID), 10)
	}
	dst = append(dst, '/')
	dst = appendVisible(dst, processName(o.Process), ascii)
	thread := untilNUL(&o.Thread)
	if len(thread) == 0 {
		return dst
	}
	dst = append(dst, " ("...)
	dst = appendVisible(dst, string(thread), ascii)
	return append(dst, ')')
}

// appendUserOf appends the user of a socket, or - where it is not known.
func appendUserOf(dst []byte, names *Names, uid uint32, hasUID bool) []byte {
	if !hasUID {
		return append(dst, '-')
	}
	return names.AppendUser(dst, uid)
}

// processName returns the name that a stream has for a process: the program as
// netstat shows it or, where no command line is known, what the kernel calls it.
func processName(p *snapshot.Process) string {
	if name := programName(p.Cmdline); name != "" {
		return name
	}
	return p.Comm
}

// cellsOf returns how many cells of a terminal a printable text takes.
func cellsOf(text []byte) int {
	for i, b := range text {
		if b >= utf8.RuneSelf {
			return i + wideCells(text[i:])
		}
	}
	return len(text)
}

func wideCells(text []byte) int {
	cells := 0
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		cells += runeCells(r)
		text = text[size:]
	}
	return cells
}

// cutCells returns as much of a text as fits so many cells.
func cutCells(text []byte, cells int) []byte {
	if len(text) <= cells { // no character has more cells than bytes
		return text
	}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if cells -= runeCells(r); cells < 0 {
			return text[:i]
		}
		i += size
	}
	return text
}

// runeCells returns the cells of a character: marks are drawn over the one
// before, and East Asian writing and pictures are wide (wcwidth(3)).
func runeCells(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case 0x1100 <= r && r <= 0x115F, 0x2E80 <= r && r <= 0xA4CF, 0xAC00 <= r && r <= 0xD7A3,
		0xF900 <= r && r <= 0xFAFF, 0xFE30 <= r && r <= 0xFE6F, 0xFF01 <= r && r <= 0xFF60,
		0xFFE0 <= r && r <= 0xFFE6, 0x1F300 <= r && r <= 0x1FAFF, 0x20000 <= r && r <= 0x3FFFD:
		return 2
	}
	return 1
}

// appendMillis appends a duration of ns nanoseconds in milliseconds, with three
// significant digits. The gap stands before the unit.
func appendMillis(dst []byte, ns uint64, gap string) []byte {
	ms := float64(ns) / 1e6
	digits := 0
	switch {
	case ms < 10:
		digits = 3
	case ms < 1000:
		digits = 1
	}
	dst = strconv.AppendFloat(dst, ms, 'f', digits, 64)
	dst = append(dst, gap...)
	return append(dst, "ms"...)
}

// appendBytes appends an amount of data in decimal units. The gap stands before
// the unit.
func appendBytes(dst []byte, n uint64, gap string) []byte {
	if n < 1000 {
		dst = strconv.AppendUint(dst, n, 10)
		dst = append(dst, gap...)
		return append(dst, 'B')
	}
	const units = "KMGTPE"
	v, unit := float64(n)/1000, 0
	for v >= 999.95 && unit < len(units)-1 {
		v /= 1000
		unit++
	}
	dst = strconv.AppendFloat(dst, v, 'f', 1, 64)
	dst = append(dst, gap...)
	return append(dst, units[unit], 'B')
}
