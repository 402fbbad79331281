package output

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// LegacyOptions say what LegacySockets shows.
type LegacyOptions struct {
	All    bool // -a: X.25 sockets without a channel, too
	Extend bool // -e: users of IPX sockets
	// Explicit says that the family was asked for, so that its lack is a
	// failure. Without it Verbose (-v) makes it a message, and else nothing is
	// told.
	Explicit, Verbose bool
	Users             Users // needed with Extend
}

// Users tells users by name or number. *Resolver is one.
type Users interface {
	AppendUser(dst []byte, uid uint32) []byte
}

// LegacySockets prints netstat's --ipx, --ax25, --x25, --netrom or --rose: the
// sockets of a family, by that name. The kernel's lack of the family is status
// 1 if it was asked for explicitly.
func LegacySockets(w, diag io.Writer, proc, family string, o LegacyOptions) error {
	switch family {
	case "ipx":
		return o.opened(diag, "AF IPX", "/proc/net/ipx/socket", ipxSockets(w, diag, proc, &o))
	case "ax25":
		return o.opened(diag, "AF AX25", "/proc/net/ax25", ax25Sockets(w, proc))
	case "x25":
		return o.opened(diag, "AF X25", "/proc/net/x25", x25Sockets(w, proc, &o))
	case "netrom":
		return o.opened(diag, "AF NETROM", "/proc/net/nr", netromSockets(w, proc))
	case "rose":
		return o.opened(diag, "AF ROSE", "/proc/net/rose", roseSockets(w, proc))
	}
	return fmt.Errorf("no sockets of a family %q: the families are ipx, ax25, x25, netrom and rose", family)
}

// opened says what an error of a view means that is not told yet: its file
// could not be opened.
func (o *LegacyOptions) opened(diag io.Writer, subject, path string, err error) error {
	var failure *FailureError
	switch {
	case err == nil || errors.As(err, &failure):
		return err
	case !lacks(err) || o.Explicit:
		return missing(diag, subject, path, err)
	case o.Verbose:
		_ = missing(diag, subject, path, err)
	}
	return nil
}

// legacyTable prints a table. Its title appears once its file is open; a line
// that cannot be read is told below it, where netstat tells it, too. The error
// is of the file. A directory in its place, as newer kernels have for X.25, is
// an empty table.
func legacyTable[T any](w io.Writer, title, problem string, rows iter.Seq2[T, error], add func(*tableRow, T)) error {
	var r tableRow
	untitled := true
	for row, err := range rows {
		var line *snapshot.SocketLineError
		bad := errors.As(err, &line)
		if err != nil && !bad && !errors.Is(err, syscall.EISDIR) {
			return err
		}
		if untitled {
			untitled = false
			r.text(title)
			r.end(w)
		}
		switch {
		case bad:
			r.text(problem + " reading data from /proc/" + line.File)
			r.end(w)
		case err == nil:
			add(&r, row)
		}
	}
	if untitled {
		r.text(title)
		r.end(w)
	}
	return nil
}

// stateName gives the name of a state. For numbers without one netstat reads
// beyond its table; where that ends softly it prints this.
func stateName(names []string, state int32) string {
	if state < 0 || int(state) >= len(names) {
		return "(null)"
	}
	return names[state]
}
