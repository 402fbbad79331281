package output

import (
	"errors"
	"io"
	"io/fs"
	"net/netip"

	"github.com/nettrace/nettrace/snapshot"
)

// RouteOptions say what Routes shows.
type RouteOptions struct {
	// Families are the canonical names of address families in the order of
	// the command line, repeats included; none stands for inet.
	Families []string
	FIB      bool  // -F
	Cache    bool  // -C; alone it replaces the table
	Extend   int   // -e, each one counts
	Names    Names // nil with -n, --numeric-hosts or -N
}

// table says whether the routing table is shown.
func (o *RouteOptions) table() bool { return o.FIB || !o.Cache }

// Routes prints netstat's -r: the routing tables of each family, up to the
// first that fails. The kernel's lack of a family is status 1, one that has no
// routes is status 3.
func Routes(w, diag io.Writer, proc string, o RouteOptions) error {
	families := o.Families
	if len(families) == 0 {
		families = []string{"inet"}
	}
	for _, family := range families {
		if err := routesOf(family, w, diag, proc, &o); err != nil {
			return err
		}
	}
	return nil
}

func routesOf(family string, w, diag io.Writer, proc string, o *RouteOptions) error {
	switch family {
	case "inet":
		return routes4(w, diag, proc, o)
	case "inet6":
		return routes6(w, diag, proc, o)
	case "bluetooth":
		return failed(diag, 3, "Address family `%s' not supported.", family)
	}
	if show, ok := legacyRoutes[family]; ok {
		return show(w, diag, proc)
	}
	return failed(diag, 3, "No routing for address family `%s'.", family)
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

func (o *RouteOptions) layout() layout {
	switch o.Extend {
	case 0:
		return layoutMSS
	case 1:
		return layoutMetric
	}
	return layout((1 + o.Extend) % 4)
}

var routeHeaders = [...]string{
	layoutNone:   "",
	layoutMetric: "Flags Metric Ref    Use Iface",
	layoutMSS:    "Flags   MSS Window  irtt Iface",
	layoutAll:    "Flags Metric Ref    Use Iface    MSS   Window irtt",
}

func routes4(w, diag io.Writer, proc string, o *RouteOptions) error {
	if o.table() {
		routes, err := snapshot.ReadRoutes(proc)
		if err := routeFailure(w, diag, "/proc/net/route", "INET (IPv4)", err); err != nil {
			return err
		}
		writeTitle(w, "Kernel IP routing table", "Destination     Gateway         Genmask         ", o.layout(), "")
		if err := columnFailure(diag, err); err != nil {
			return err
		}
		writeRoutes(w, routes, o)
	}
	if !o.Cache {
		return nil
	}
	cached, err := snapshot.ReadCachedRoutes(proc)
	if err := routeFailure(w, diag, "/proc/net/rt_cache", "INET (IPv4)", err); err != nil {
		return err
	}
	writeTitle(w, "Kernel IP routing cache", "Source          Destination     Gateway         ", o.layout(), "  TOS HHRef HHUptod     SpecDst")
	if err := columnFailure(diag, err); err != nil {
		return err
	}
	writeCachedRoutes(w, cached, o)
	return nil
}

// routeFailure says, if a routing table could not be opened, that the kernel
// does not have its family.
func routeFailure(w, diag io.Writer, path, family string, err error) error {
	var pathErr *fs.PathError
	if !errors.As(err, &pathErr) {
		return nil
	}
	tell(diag, "%s: %s", path, reason(err))
	return failed(w, 1, "%s not configured in this system.", family)
}

// columnFailure says which column the header of a table lacks. Where there is
// no header at all netstat ends without a word.
func columnFailure(diag io.Writer, err error) error {
	var column *snapshot.ColumnError
	if !errors.As(err, &column) {
		return nil
	}
	if column.Column == "" {
		return &FailureError{1}
	}
	return failed(diag, 1, "warning: /proc/%s does not contain required field %s", column.File, column.Column)
}

func writeTitle(w io.Writer, title, addresses string, l layout, more string) {
	var r tableRow
	r.text(title)
	r.end(w)
	if l == layoutNone {
		return
	}
	r.text(addresses)
	r.text(routeHeaders[l])
	if l == layoutAll {
		r.text(more)
	}
	r.end(w)
}

// flagLetter is the letter that stands for a flag of a route.
type flagLetter struct {
	flag   snapshot.RouteFlags
	letter string
}

var routeLetters = []flagLetter{
	{0x4, "H"},
	{0x8, "R"},
	{0x10, "D"},
	{0x20, "M"},
	{0x10000, "d"},
	{0x20000, "a"},
	{0x40000, "c"},
	{0x200000, "o"},
	{0x400000, "e"},
	{0x1000000, "c"},
	{0x2000000, "f"},
	{0x4000000, "p"},
	{0x80000000, "l"},
	{0x40, "u"},
	{0x80, "w"},
	{0x100, "i"},
	{0x400, "n"},
}

var cachedRouteLetters = []flagLetter{
	{0x8, "R"},
	{0x10, "D"},
	{0x20, "M"},
	{0x1, "-"},
	{0x4, "o"},
	{0x10000, "n"},
	{0x20000, "d"},
	{0x80000, "t"},
	{0x200000, "f"},
	{0x400000, "q"},
	{0x800000, "Ns"},
	{0x1000000, "r"},
	{0x4000000, "i"},
	{0x8000000, "Nd"},
	{0x10000000, "b"},
	{0x20000000, "m"},
	{0x40000000, "#"},
	{0x80000000, "l"},
}

// spell gives the letters of the flags after those there are.
func spell(letters string, table []flagLetter, flags snapshot.RouteFlags) string {
	for _, l := range table {
		if flags&l.flag != 0 {
			letters += l.letter //nolint:perfsprint // at most a dozen letters
		}
	}
	return letters
}

// routeFlags spells the flags of a route. The mark of a reject route replaces
// those before it.
func routeFlags(f snapshot.RouteFlags) string {
	letters := spell("", []flagLetter{{snapshot.RouteUp, "U"}, {snapshot.RouteGateway, "G"}}, f)
	if f&snapshot.RouteReject != 0 {
		letters = "!"
	}
	return spell(letters, routeLetters, f)
}

func cachedRouteFlags(f snapshot.RouteFlags) string {
	letters := spell("", []flagLetter{{snapshot.RouteGateway, "G"}}, f)
	if f&snapshot.RouteReject != 0 {
		letters = "!"
	}
	return spell(letters, cachedRouteLetters, f)
}

func writeRoutes(w io.Writer, routes []snapshot.Route, o *RouteOptions) {
	l := o.layout()
	var r tableRow
	for i := range routes {
		route := &routes[i]
		if l == layoutNone || route.Flags&snapshot.RouteUp == 0 {
			continue
		}
		reject := route.Flags&snapshot.RouteReject != 0
		gateway := routeHostText(o.Names, route.Gateway)
		if reject {
			gateway = "-"
		}
		r.left(cut15(destText(o.Names, route)), 15)
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
		r.end(w)
	}
}

func cut15(s string) string { return s[:min(len(s), 15)] }

// destText gives the name of what a route leads to: a host if the route says
// so or a bit outside the mask is set, else a network.
func destText(names Names, route *snapshot.Route) string {
	dest, mask := route.Dest, route.Mask
	switch {
	case names == nil:
	case dest.IsUnspecified():
		if mask.IsUnspecified() {
			return "default"
		}
	case route.Flags&snapshot.RouteHost != 0 || hasHostBits(dest, mask):
		return routeHostText(names, dest)
	default:
		if name := names.Network(dest); name != "" {
			return name
		}
	}
	return addrText(dest)
}

// routeHostText is hostText but for addresses that begin with 0: the table, and
// nothing else, does not take them for networks.
func routeHostText(names Names, a netip.Addr) string {
	if a.Is4() && a.As4()[0] == 0 {
		return addrText(a)
	}
	return hostText(names, a)
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

func writeCachedRoutes(w io.Writer, routes []snapshot.CachedRoute, o *RouteOptions) {
	l := o.layout()
	if l == layoutNone {
		return
	}
	var r tableRow
	for i := range routes {
		route := &routes[i]
		for _, a := range []netip.Addr{route.Source, route.Dest, route.Gateway} {
			r.left(hostText(o.Names, a), 15)
			r.text(" ")
		}
		r.left(cachedRouteFlags(route.Flags), 5)
		r.text(" ")
		if l != layoutAll {
			r.columns(&route.Route, l)
			r.end(w)
			continue
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
		r.right(hostText(o.Names, route.SpecDst), 15)
		r.end(w)
	}
}
