package snapshot

import (
	"bytes"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
)

// UnixSocket is a row of /proc/net/unix (net/unix/af_unix.c, unix_seq_show).
type UnixSocket struct {
	RefCount uint64
	Protocol uint64
	Flags    uint64 // UnixAccepting and others
	Type     uint32 // SOCK_STREAM, …
	State    uint32 // socket_state of include/uapi/linux/net.h
	Inode    uint64 // 0: in the accept queue of another socket
	HasInode bool   // false: the file has no such column (before Linux 2.1)
	// Path is the name, raw. ReadUnix ends it at its first white space, as netstat
	// does. An abstract name begins with "@"; in what was read from the file "@"
	// also stands for the NUL bytes of such a name.
	Path     string
	Abstract bool // the name is known to be an abstract one
	Cut      bool // the name may be longer
}

// UnixAccepting is the flag of a listening socket (__SO_ACCEPTCON).
const UnixAccepting = 1 << 16

// unixUnconnected is SS_UNCONNECTED.
const unixUnconnected = 1

// Listening reports whether the socket waits for connections.
func (u *UnixSocket) Listening() bool {
	return u.State == unixUnconnected && u.Flags&UnixAccepting != 0
}

// ReadUnix reads net/unix below a proc root. The error is of the file;
// fs.ErrNotExist means that the kernel has no such sockets. The sequence has to be
// gone over, once: a large table is read meanwhile.
func ReadUnix(proc string) (iter.Seq2[UnixSocket, error], error) {
	pieces, err := readPieces(proc, "net/unix")
	if err != nil {
		return nil, err
	}
	return parseUnix(pieces), nil
}

// unixColumns is the least number of columns that make a row: up to the state.
const unixColumns = 6

// ParseUnix parses /proc/net/unix. A line that is no row yields ErrBogus.
func ParseUnix(file []byte) iter.Seq2[UnixSocket, error] {
	return parseUnix(slices.Values([][]byte{file}))
}

// parseUnix is ParseUnix for a file in pieces of whole lines.
func parseUnix(pieces iter.Seq[[]byte]) iter.Seq2[UnixSocket, error] {
	return func(yield func(UnixSocket, error) bool) {
		var u UnixSocket
		first := true
		for line := range linesOf(pieces, socketLine) {
			if first {
				first = false
				u.HasInode = bytes.Contains(line, []byte("Inode"))
				continue
			}
			var err error
			if !u.scan(line) {
				err = fmt.Errorf("net/unix: %w", ErrBogus)
			}
			if !yield(u, err) {
				return
			}
		}
	}
}

// scan reads a line and reports whether it is a row. What a row lacks keeps
// the value of the row before, but for the path.
func (u *UnixSocket) scan(line []byte) bool {
	s := scanLine(line)
	scanPointer(&s)
	s.literal(':')
	scanHex(&s, &u.RefCount, math.MaxInt)
	scanHex(&s, &u.Protocol, math.MaxInt)
	scanHex(&s, &u.Flags, math.MaxInt)
	scanHex(&s, &u.Type, math.MaxInt)
	scanHex(&s, &u.State, math.MaxInt)
	scanUint(&s, &u.Inode)
	u.Path = ""
	s.word(&u.Path, math.MaxInt)
	if !u.HasInode {
		u.Path = strconv.FormatUint(u.Inode, 10)
	}
	return s.n >= unixColumns
}

// scanPointer passes a pointer as the C library prints it.
func scanPointer(s *scanner) {
	const null = "(nil)"
	s.skipSpace()
	if len(s.line) >= len(null) && bytes.EqualFold(s.line[:len(null)], []byte(null)) {
		s.line = s.line[len(null):]
		s.n++
		return
	}
	var pointer uint64
	scanHex(s, &pointer, math.MaxInt)
}
