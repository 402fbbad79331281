package output

import (
	"net/netip"

	"github.com/nettrace/nettrace/snapshot"
)

// RouteText writes netstat's text of routes, byte for byte. Rows are appended to
// a buffer of the caller.
type RouteText struct {
	Hosts  Hosts // nil: numbers only
	Extend int   // -e, each one counts
}

// layout says which columns an IPv4 table has. netstat counts it from the
// number of -e.
type layout int

const (
	layoutNone   layout = iota // three -e: a title and nothing below
	layoutMetric               // one -e
	layoutMSS                  // no -e
	layoutAll                  // two -e
)

func (t *RouteText) layout() layout {
	switch t.Extend {
	case 0:
		return layoutMSS
	case 1:
		return layoutMetric
	}
	return layout((1 + t.Extend) % 4)
}

var routeHeaders = [...]string{
	layoutNone:   "",
	layoutMetric: "Flags Metric Ref    Use Iface",
	layoutMSS:    "Flags   MSS Window  irtt Iface",
	layoutAll:    "Flags Metric Ref    Use Iface    MSS   Window irtt",
}

// AppendTitle appends the lines above the IPv4 routes.
func (t *RouteText) AppendTitle(dst []byte) []byte {
	return t.appendTitle(dst, "Kernel IP routing table\n", "Destination     Gateway         Genmask         ", "")
}

// AppendCacheTitle appends the lines above the IPv4 routes of the cache.
func (t *RouteText) AppendCacheTitle(dst []byte) []byte {
	return t.appendTitle(dst, "Kernel IP routing cache\n", "Source          Destination     Gateway         ", "  TOS HHRef HHUptod     SpecDst")
}

func (t *RouteText) appendTitle(dst []byte, title, addresses, more string) []byte {
	dst = append(dst, title...)
	l := t.layout()
	if l == layoutNone {
		return dst
	}
	dst = append(dst, addresses...)
	dst = append(dst, routeHeaders[l]...)
	if l == layoutAll {
		dst = append(dst, more...)
	}
	return append(dst, '\n')
}

// AppendRoute appends the row of an IPv4 route.
func (t *RouteText) AppendRoute(dst []byte, route *snapshot.Route) []byte {
	l := t.layout()
	if l == layoutNone {
		return dst
	}
	reject := route.Flags&snapshot.RouteReject != 0
	gateway := routeHostText(t.Hosts, route.Gateway)
	if reject {
		gateway = "-"
	}
	r := tableRow(dst)
	r.left(cut15(destText(t.Hosts, route)), 15)
	r.text(" ")
	r.left(cut15(gateway), 15)
	r.text(" ")
	r.left(cut15(addrText(route.Mask)), 15)
	r.text(" ")
	r.left(routeFlags(route.Flags), 5)
	r.text(" ")
	if reject {
		r.rejected(route, l)
	} else {
		r.columns(route, l)
	}
	return r.line()
}

// AppendCachedRoute appends the row of an IPv4 route of the cache.
func (t *RouteText) AppendCachedRoute(dst []byte, route *snapshot.CachedRoute) []byte {
	l := t.layout()
	if l == layoutNone {
		return dst
	}
	r := tableRow(dst)
	for _, a := range []netip.Addr{route.Source, route.Dest, route.Gateway} {
		r.left(hostText(t.Hosts, a), 15)
		r.text(" ")
	}
	r.left(cachedRouteFlags(route.Flags), 5)
	r.text(" ")
	if l != layoutAll {
		r.columns(&route.Route, l)
		return r.line()
	}
	r.wide(&route.Route)
	r.leftInt(int64(route.IRTT), 5)
	r.text(" ")
	r.leftInt(int64(route.TOS), 3)
	r.text(" ")
	r.leftInt(int64(route.HHRef), 3)
	r.text("   ")
	r.leftInt(int64(route.HHUp), 3)
	r.text(" ")
	r.right(hostText(t.Hosts, route.SpecDst), 15)
	return r.line()
}

func cut15(s string) string { return s[:min(len(s), 15)] }

// destText returns the name of what a route leads to: a host if the route says
// so or a bit outside the mask is set, else a network.
func destText(hosts Hosts, route *snapshot.Route) string {
	dest, mask := route.Dest, route.Mask
	switch {
	case hosts == nil:
	case dest.IsUnspecified():
		if mask.IsUnspecified() {
			return "default"
		}
	case route.Flags&snapshot.RouteHost != 0 || hasHostBits(dest, mask):
		return routeHostText(hosts, dest)
	default:
		if name := hosts.Network(dest); name != "" {
			return name
		}
	}
	return addrText(dest)
}

// routeHostText is hostText but for addresses that begin with 0: the table, and
// nothing else, does not take them for networks.
func routeHostText(hosts Hosts, a netip.Addr) string {
	if a.Is4() && a.As4()[0] == 0 {
		return addrText(a)
	}
	return hostText(hosts, a)
}

func hasHostBits(dest, mask netip.Addr) bool {
	d, m := dest.As4(), mask.As4()
	for i := range d {
		if d[i]&^m[i] != 0 {
			return true
		}
	}
	return false
}

// columns adds what stands after the flags of a route.
func (r *tableRow) columns(route *snapshot.Route, l layout) {
	switch l {
	case layoutMSS:
		r.rightInt(int64(route.MTU), 5)
		r.text(" ")
		r.leftInt(int64(route.Window), 5)
		r.text(" ")
		r.rightInt(int64(route.IRTT), 6)
		r.text(" ")
		r.text(route.Iface)
	case layoutMetric:
		r.leftInt(int64(route.Metric), 6)
		r.text(" ")
		r.leftInt(int64(route.RefCnt), 2)
		r.text(" ")
		r.rightInt(int64(route.Use), 7)
		r.text(" ")
		r.text(route.Iface)
	case layoutAll:
		r.wide(route)
		r.leftInt(int64(route.IRTT), 0)
	}
}

// wide adds the columns that a route and a cached route share in layoutAll.
func (r *tableRow) wide(route *snapshot.Route) {
	r.leftInt(int64(route.Metric), 6)
	r.text(" ")
	r.leftInt(int64(route.RefCnt), 3)
	r.text(" ")
	r.rightInt(int64(route.Use), 6)
	r.text(" ")
	r.left(route.Iface[:min(len(route.Iface), 6)], 6)
	r.text("   ")
	r.leftInt(int64(route.MTU), 5)
	r.text(" ")
	r.leftInt(int64(route.Window), 6)
	r.text(" ")
}

// rejected adds what stands after the flags of a route without a next hop.
func (r *tableRow) rejected(route *snapshot.Route, l layout) {
	if l == layoutMSS {
		r.text("    - -          - -")
		return
	}
	r.leftInt(int64(route.Metric), 6)
	r.text(" -  ")
	r.rightInt(int64(route.Use), 7)
	r.text(" -")
	if l == layoutAll {
		r.text("        -     -      -")
	}
}
