package view

import (
	"errors"
	"io/fs"

	"github.com/nettrace/nettrace/snapshot"
)

// routePrinter prints routes in one form.
type routePrinter interface {
	title(cache bool)
	route(*snapshot.Route)
	cachedRoute(*snapshot.CachedRoute)
	title6(cache bool)
	route6(*snapshot.Route6)
	legacyTitle(family string)
	ax25(*snapshot.AX25Route)
	x25(*snapshot.X25Route)
	netrom(*snapshot.NetROMRoute)
	rose(*snapshot.ROSERoute)
}

// routeTables shows routing tables in one round.
type routeTables struct {
	*session
	printer routePrinter
}

// routes shows the routing tables of each family, up to the first that fails.
// The kernel's lack of a family is status 1; a family without routes is status 3.
func (s *session) routes() error {
	families := s.opts.Families
	if len(families) == 0 {
		families = []string{FamilyInet}
	}
	t := &routeTables{s, s.routePrinter()}
	for _, family := range families {
		if err := t.family(family); err != nil {
			return err
		}
	}
	return nil
}

func (t *routeTables) family(family string) error {
	switch family {
	case FamilyInet:
		return t.inet()
	case FamilyInet6:
		return t.inet6()
	case FamilyIPX:
		return t.ipx()
	case FamilyDDP:
		return t.ddp()
	case FamilyAX25:
		return t.ax25()
	case FamilyX25:
		return t.x25()
	case FamilyNetROM:
		return t.netrom()
	case FamilyROSE:
		return t.rose()
	case FamilyBluetooth:
		return t.fail(StatusUsage, "Address family `%s' not supported.", family)
	}
	return t.fail(StatusUsage, "No routing for address family `%s'.", family)
}

// shows reports whether the options ask for the table, or for the cache.
func (t *routeTables) shows(cache bool) bool {
	if cache {
		return t.opts.Cache
	}
	return t.opts.FIB || !t.opts.Cache
}

func (t *routeTables) inet() error {
	if t.shows(false) {
		routes, err := snapshot.ReadRoutes(t.env.Proc)
		if err := t.open4("/proc/net/route", false, err); err != nil {
			return err
		}
		for i := range routes {
			if routes[i].Flags&snapshot.RouteUp != 0 {
				t.printer.route(&routes[i])
			}
		}
	}
	if !t.shows(true) {
		return nil
	}
	routes, err := snapshot.ReadCachedRoutes(t.env.Proc)
	if err := t.open4("/proc/net/rt_cache", true, err); err != nil {
		return err
	}
	for i := range routes {
		t.printer.cachedRoute(&routes[i])
	}
	return nil
}

// open4 prints the title of an IPv4 table, if its file could be opened, and
// reports what was wrong with it.
func (t *routeTables) open4(path string, cache bool, err error) error {
	if err := t.notConfigured(path, "INET (IPv4)", err); err != nil {
		return err
	}
	t.printer.title(cache)
	return t.columnFailure(err)
}

// inet6 shows the IPv6 routes and, out of the same file, those of the cache.
func (t *routeTables) inet6() error {
	for _, cache := range []bool{false, true} {
		if !t.shows(cache) {
			continue
		}
		routes, err := snapshot.ReadRoutes6(t.env.Proc)
		if err := t.notConfigured("/proc/net/ipv6_route", "INET6 (IPv6)", err); err != nil {
			return err
		}
		t.printer.title6(cache)
		for i := range routes {
			if routes[i].Cached() == cache {
				t.printer.route6(&routes[i])
			}
		}
	}
	return nil
}

// notConfigured reports, if a routing table could not be opened, that the kernel
// does not have its family.
func (t *routeTables) notConfigured(path, family string, err error) error {
	var pathErr *fs.PathError
	if !errors.As(err, &pathErr) {
		return nil
	}
	t.warn("%s: %s", path, reason(err))
	return t.failInText("%s not configured in this system.", family)
}

// columnFailure reports which column the header of a table lacks. Where there is
// no header at all netstat ends without a word.
func (t *routeTables) columnFailure(err error) error {
	var column *snapshot.ColumnError
	switch {
	case !errors.As(err, &column):
		return nil
	case column.Column == "":
		return &Error{Status: StatusFailed}
	}
	return t.fail(StatusFailed, "warning: /proc/%s does not contain required field %s", column.File, column.Column)
}
