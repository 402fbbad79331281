package output

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"syscall"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// The methods below tell a whole view as records. They take the options of the
// text and obey the same of them: what is left out there is left out here, and
// what fails there fails here with the same status. Options that only decide
// how a row looks do nothing, for a record has all there is. Messages that the
// text has among its rows go to diag.

// Routes appends a record for each route of -r.
func (w *NDJSON) Routes(diag io.Writer, proc string, o RouteOptions) error {
	families := o.Families
	if len(families) == 0 {
		families = []string{"inet"}
	}
	for _, family := range families {
		var err error
		switch family {
		case "inet":
			err = w.routes4(diag, proc, &o)
		case "inet6":
			err = w.routes6(diag, proc, &o)
		default:
			err = w.legacyRoutes(diag, proc, family, &o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *NDJSON) routes4(diag io.Writer, proc string, o *RouteOptions) error {
	if o.table() {
		routes, err := snapshot.ReadRoutes(proc)
		if err := errors.Join(routeFailure(diag, diag, "/proc/net/route", "INET (IPv4)", err), columnFailure(diag, err)); err != nil {
			return err
		}
		now := time.Now()
		for i := range routes {
			if routes[i].Flags&snapshot.RouteUp != 0 {
				w.Route(now, &routes[i])
			}
		}
	}
	if !o.Cache {
		return nil
	}
	cached, err := snapshot.ReadCachedRoutes(proc)
	if err := errors.Join(routeFailure(diag, diag, "/proc/net/rt_cache", "INET (IPv4)", err), columnFailure(diag, err)); err != nil {
		return err
	}
	now := time.Now()
	for i := range cached {
		w.CachedRoute(now, &cached[i])
	}
	return nil
}

func (w *NDJSON) routes6(diag io.Writer, proc string, o *RouteOptions) error {
	routes, err := snapshot.ReadRoutes6(proc)
	if err := routeFailure(diag, diag, "/proc/net/ipv6_route", "INET6 (IPv6)", err); err != nil {
		return err
	}
	now := time.Now()
	for i := range routes {
		if routes[i].Cached() && o.Cache || !routes[i].Cached() && o.table() {
			w.Route6(now, &routes[i])
		}
	}
	return nil
}

// legacyRoutes appends the routes of a family other than Internet. Where they
// cannot be read, the text says why.
func (w *NDJSON) legacyRoutes(diag io.Writer, proc, family string, o *RouteOptions) error {
	now := time.Now()
	var err error
	switch family {
	case "ax25":
		err = records(snapshot.ReadAX25Routes, proc, func(r *snapshot.AX25Route) { w.AX25Route(now, r) })
	case "x25":
		err = records(snapshot.ReadX25Routes, proc, func(r *snapshot.X25Route) { w.X25Route(now, r) })
	case "netrom":
		err = records(snapshot.ReadNetROMRoutes, proc, func(r *snapshot.NetROMRoute) { w.NetROMRoute(now, r) })
	case "rose":
		err = records(snapshot.ReadROSERoutes, proc, func(r *snapshot.ROSERoute) { w.ROSERoute(now, r) })
	default:
		return routesOf(family, diag, diag, proc, o)
	}
	if err != nil {
		return routesOf(family, diag, diag, proc, o)
	}
	return nil
}

// records reads the rows of a table and tells each.
func records[Row any](read func(proc string) ([]Row, error), proc string, tell func(*Row)) error {
	rows, err := read(proc)
	for i := range rows {
		tell(&rows[i])
	}
	return err
}

// Interfaces appends a record for each interface of -i.
func (w *NDJSON) Interfaces(diag io.Writer, proc string, source snapshot.InterfaceSource, o InterfaceOptions) error {
	for i, err := range snapshot.Interfaces(proc, source) {
		switch {
		case err != nil:
			if err := interfaceFailure(diag, err); err != nil {
				return err
			}
		case o.All || i.Flags&snapshot.InterfaceUp != 0:
			w.Interface(time.Now(), &i)
		}
	}
	return nil
}

// Groups appends a record for each multicast group of -g.
func (w *NDJSON) Groups(diag io.Writer, proc string, o GroupOptions) error {
	var failure error
	if o.IPv4 {
		if err := w.groups(diag, snapshot.Groups(proc)); err != nil {
			if failure = o.missing(diag, err); !lacks(err) {
				return failure
			}
		}
	}
	if o.IPv6 {
		_ = w.groups(diag, snapshot.Groups6(proc)) // not told, whatever the reason
	}
	return failure
}

func (w *NDJSON) groups(diag io.Writer, groups iter.Seq2[snapshot.Group, error]) error {
	for g, err := range groups {
		var line *snapshot.GroupLineError
		switch {
		case errors.As(err, &line):
			tell(diag, "warning, got bogus %s line %d.", line.File, line.Line)
		case err != nil:
			return err
		default:
			w.Group(time.Now(), &g)
		}
	}
	return nil
}

// Statistics appends a record for each counter of the sections of -s, zeros
// included. The text of a failure is the one that Statistics prints.
func (w *NDJSON) Statistics(diag io.Writer, proc string, o StatisticsOptions) error {
	return eachSection(diag, diag, proc, o, func(section *snapshot.StatSection, o *StatisticsOptions) {
		if _, known := statTable(section); known && !o.shows(section.Title) {
			return
		}
		now := time.Now()
		for _, c := range section.Counters {
			w.Statistic(now, section.Title, c)
		}
	})
}

// Masquerades appends a record for each masqueraded connection of -M.
func (w *NDJSON) Masquerades(diag io.Writer, proc string, o MasqueradeOptions) error {
	rows, err := snapshot.ReadMasquerades(proc)
	if err != nil {
		return Masquerades(diag, diag, proc, o) // which says why
	}
	now := time.Now()
	for i := range rows {
		w.Masquerade(now, &rows[i])
	}
	return nil
}

// LegacySockets appends a record for each socket of a family of
// LegacySockets.
func (w *NDJSON) LegacySockets(diag io.Writer, proc, family string, o LegacyOptions) error {
	now := time.Now()
	switch family {
	case "ipx":
		return o.opened(diag, "AF IPX", "/proc/net/ipx/socket", legacyRecords(diag, snapshot.IPXSockets(proc),
			func(s *snapshot.IPXSocket) { w.IPX(now, s) }))
	case "ax25":
		return o.opened(diag, "AF AX25", "/proc/net/ax25", legacyRecords(diag, snapshot.AX25Sockets(proc),
			func(s *snapshot.AX25Socket) { w.AX25(now, s) }))
	case "x25":
		return o.opened(diag, "AF X25", "/proc/net/x25", legacyRecords(diag, snapshot.X25Sockets(proc), func(s *snapshot.X25Socket) {
			if s.LCI != 0 || o.All {
				w.X25(now, s)
			}
		}))
	case "netrom":
		return o.opened(diag, "AF NETROM", "/proc/net/nr", legacyRecords(diag, snapshot.NetROMSockets(proc),
			func(s *snapshot.NetROMSocket) { w.NetROM(now, s) }))
	case "rose":
		return o.opened(diag, "AF ROSE", "/proc/net/rose", legacyRecords(diag, snapshot.ROSESockets(proc),
			func(s *snapshot.ROSESocket) { w.ROSE(now, s) }))
	}
	return fmt.Errorf("no sockets of a family %q: the families are ipx, ax25, x25, netrom and rose", family)
}

// legacyRecords tells the rows of a table. The error is of the file, or of an
// IPX address that ends it; a line that is no row is only told.
func legacyRecords[Row any](diag io.Writer, rows iter.Seq2[Row, error], record func(*Row)) error {
	for row, err := range rows {
		var line *snapshot.SocketLineError
		switch {
		case errors.As(err, &line):
			tell(diag, "problem reading data from /proc/%s", line.File)
		case errors.Is(err, syscall.EISDIR): // a directory stands for an empty table
		case err != nil:
			return err
		default:
			record(&row)
		}
	}
	return nil
}
