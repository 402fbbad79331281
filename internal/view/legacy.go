package view

import (
	"errors"
	"iter"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// legacyPrinter prints the sockets of families other than Internet and Unix in
// one form.
type legacyPrinter interface {
	title(family string)
	// badLine is called for a line of a file that is no row.
	badLine(family, file string)
	ipx(*snapshot.IPXSocket)
	ax25(*snapshot.AX25Socket)
	x25(*snapshot.X25Socket)
	netrom(*snapshot.NetROMSocket)
	rose(*snapshot.ROSESocket)
}

// legacyTables shows the sockets of the families that few kernels have. The
// absence of a family is a failure if something was asked for by name.
type legacyTables struct {
	*session
	explicit bool
	printer  legacyPrinter
}

func (s *session) legacyTables(sel *Selection) *legacyTables {
	return &legacyTables{s, sel.Explicit, s.legacyPrinter()}
}

// ipx shows the IPX sockets. A bad port is reported after the rows.
func (t *legacyTables) ipx() error {
	badPort := ""
	rows := func(yield func(snapshot.IPXSocket, error) bool) {
		for row, err := range snapshot.IPXSockets(t.env.Proc) {
			switch {
			case errors.Is(err, snapshot.ErrIPXSourcePort):
				badPort = "source"
			case errors.Is(err, snapshot.ErrIPXDestPort):
				badPort = "destination"
			default:
				if !yield(row, err) {
					return
				}
			}
		}
	}
	err := legacyRows(t, FamilyIPX, "AF IPX", "/proc/net/ipx/socket", rows, t.printer.ipx)
	if err == nil && badPort != "" {
		return t.fail(StatusInternal, "netstat.c: Internal Error `ipx socket format error in %s port'.", badPort)
	}
	return err
}

func (t *legacyTables) ax25() error {
	return legacyRows(t, FamilyAX25, "AF AX25", "/proc/net/ax25", snapshot.AX25Sockets(t.env.Proc), t.printer.ax25)
}

// x25 shows the X.25 sockets, those without a channel only with -a.
func (t *legacyTables) x25() error {
	return legacyRows(t, FamilyX25, "AF X25", "/proc/net/x25", snapshot.X25Sockets(t.env.Proc), func(s *snapshot.X25Socket) {
		if s.LCI != 0 || t.opts.All {
			t.printer.x25(s)
		}
	})
}

func (t *legacyTables) netrom() error {
	return legacyRows(t, FamilyNetROM, "AF NETROM", "/proc/net/nr", snapshot.NetROMSockets(t.env.Proc), t.printer.netrom)
}

func (t *legacyTables) rose() error {
	return legacyRows(t, FamilyROSE, "AF ROSE", "/proc/net/rose", snapshot.ROSESockets(t.env.Proc), t.printer.rose)
}

// legacyRows shows the rows of a table. Its title appears once its file is open;
// a line that cannot be read is reported below it, where netstat does it, too. A
// directory in the place of the file, as newer kernels have for X.25, is an
// empty table.
func legacyRows[Row any](t *legacyTables, family, subject, path string, rows iter.Seq2[Row, error], show func(*Row)) error {
	titled := false
	title := func() {
		if !titled {
			titled = true
			t.printer.title(family)
		}
	}
	for row, err := range rows {
		var line *snapshot.SocketLineError
		bad := errors.As(err, &line)
		if err != nil && !bad && !errors.Is(err, syscall.EISDIR) {
			return t.unreadable(table{subject: subject, path: path, named: t.explicit}, err)
		}
		title()
		switch {
		case bad:
			t.printer.badLine(family, line.File)
		case err == nil:
			show(&row)
		}
	}
	title()
	return nil
}
