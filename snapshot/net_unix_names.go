package snapshot

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
)

// A name of a Unix socket may hold any byte, newlines too, and /proc/net/unix
// shows it as it is: what looks like the next row of the file may be the rest of
// a name. So the file alone does not say where a name ends. The kernel's
// unix_diag does, by inode.

// unixNameMax is the longest name in /proc/net/unix: UNIX_PATH_MAX of
// include/uapi/linux/un.h (net/unix/af_unix.c, unix_seq_show, 6.12).
const unixNameMax = 108

// unixTries is how often the table is read while sockets come and go in between
// the two sources.
const unixTries = 3

// ReadNamedUnix is ReadUnix with whole names, and no row that is part of a name.
// The names are asked for with the function, before the file is read; without
// them the file has to do.
//
// A row is yielded only if it cannot be part of the name before it; what may be
// either yields ErrBogus, and that name is marked as Cut.
func ReadNamedUnix(proc string, names func() (UnixNames, error)) (iter.Seq2[UnixSocket, error], error) {
	for try := 1; ; try++ {
		known, _ := names() // nil if they are not known
		file, err := readFile(proc, "net/unix")
		if err != nil {
			return nil, err
		}
		rows := ParseNamedUnix(file, known)
		if known == nil || try == unixTries || !anyBogus(rows) {
			return rows, nil
		}
	}
}

func anyBogus(rows iter.Seq2[UnixSocket, error]) bool {
	for u, err := range rows {
		if err != nil || u.Cut {
			return true
		}
	}
	return false
}

// ParseNamedUnix parses /proc/net/unix with the names of the sockets, as far as
// they are known.
func ParseNamedUnix(file []byte, names UnixNames) iter.Seq2[UnixSocket, error] {
	texts := names.byText()
	return func(yield func(UnixSocket, error) bool) {
		_, rest := cutLine(file)
		for len(rest) > 0 {
			u, columns, ok := unixColumnsOf(rest)
			if !ok {
				_, rest = cutLine(rest)
				if !yield(UnixSocket{}, errNotUnix) {
					return
				}
				continue
			}
			rest = rest[columns:]
			var doubted int
			rest, doubted = u.takeName(rest, names, texts)
			if !yield(u, nil) || doubted > 0 && !yield(UnixSocket{}, errNotUnix) {
				return
			}
		}
	}
}

var errNotUnix = fmt.Errorf("net/unix: %w", ErrBogus)

// takeName takes the name that follows the columns of a row off the text, with
// the newline after it. It also returns how many rows of the text may as well be
// part of the name; they are taken too.
func (u *UnixSocket) takeName(text []byte, names UnixNames, texts map[string]string) (rest []byte, doubted int) {
	if len(text) == 0 || text[0] == '\n' {
		return text[min(1, len(text)):], 0
	}
	text = text[1:]
	if name, ok := names[u.Inode]; ok && startsWithLine(text, inProc(name)) {
		u.setName(name)
		return text[min(len(name)+1, len(text)):], 0
	}
	if u.Inode == 0 {
		if name, ok := onlyName(text, texts); ok {
			u.setName(name)
			return text[min(len(name)+1, len(text)):], 0
		}
	}
	end, next, doubted := endOfName(text)
	u.Path, u.Cut = string(text[:end]), doubted > 0
	return text[next:], doubted
}

// setName sets a name as it was bound. "@" stands for the NUL before an abstract
// one.
func (u *UnixSocket) setName(name string) {
	u.Path = name
	if strings.HasPrefix(name, "\x00") {
		u.Path, u.Abstract = "@"+name[1:], true
	}
}

func startsWithLine(text []byte, line string) bool {
	rest, ok := bytes.CutPrefix(text, []byte(line))
	return ok && (len(rest) == 0 || rest[0] == '\n')
}

// onlyName returns the name that a text begins with, where that is one alone of
// those known: a socket in an accept queue has the name of the listening one.
func onlyName(text []byte, texts map[string]string) (name string, ok bool) {
	found := 0
	for i := 1; i <= min(len(text), unixNameMax); i++ {
		if i < len(text) && text[i] != '\n' {
			continue
		}
		if n := texts[string(text[:i])]; n != "" {
			name = n
			found++
		}
	}
	return name, found == 1
}

// endOfName finds the end of a name that is not known: before the first line with
// the columns of a row that cannot be part of a name. What may be is a row in
// doubt, whose name may go on in turn. It returns the first place where the name
// may end, where the next sure row begins, and how many rows in doubt lie between.
func endOfName(text []byte) (end, next, doubted int) {
	end = -1
	reach := unixNameMax // how far the names that begin so far may go
	for i := range text {
		if text[i] != '\n' {
			continue
		}
		start := i + 1
		_, columns, row := unixColumnsOf(text[start:])
		if (row || start == len(text)) && end < 0 {
			end = i
		}
		switch {
		case start == len(text) || row && start+columns > reach:
			return end, start, doubted
		case row:
			doubted++
			if name := start + columns + 1; name <= len(text) && text[name-1] == ' ' {
				reach = name + unixNameMax
			}
		case end < 0 && i >= unixNameMax: // of no kernel: the line is all that there is
			i = bytes.IndexByte(text, '\n')
			return i, i + 1, 0
		}
	}
	if end < 0 {
		end = len(text)
	}
	return end, len(text), doubted
}

// unixColumnsOf reads the columns of a row up to its inode, as unix_seq_show
// writes them, and returns their length. It reports false for another text.
func unixColumnsOf(b []byte) (u UnixSocket, length int, ok bool) {
	s := scanner{line: b}
	s.span(pointerMax, func(c byte) bool { return notSpace(c) && c != ':' })
	s.literal(':')
	u.HasInode = true
	for _, column := range []struct {
		dst    *uint64
		digits int
	}{{&u.RefCount, 8}, {&u.Protocol, 8}, {&u.Flags, 8}} {
		scanColumn(&s, column.dst, column.digits)
	}
	scanColumn(&s, &u.Type, 4)
	scanColumn(&s, &u.State, 2)
	s.literal(' ')
	for len(s.line) > 0 && s.line[0] == ' ' {
		s.line = s.line[1:]
	}
	if digits := s.span(len("18446744073709551615"), isDigit); digits != nil {
		d := scanner{line: digits}
		scanUint(&d, &u.Inode)
	}
	ends := len(s.line) == 0 || s.line[0] == ' ' || s.line[0] == '\n'
	return u, len(b) - len(s.line), !s.failed && ends
}

// pointerMax is the longest text of a pointer: "(____ptrval____)" of lib/vsprintf.c.
const pointerMax = 16

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// scanColumn takes a space and a hexadecimal number with at least so many digits.
func scanColumn[T integer](s *scanner, dst *T, digits int) {
	s.literal(' ')
	field := s.span(pointerMax, isHex)
	if len(field) < digits {
		s.failed = true
		return
	}
	d := scanner{line: field}
	scanHex(&d, dst, len(field))
}
