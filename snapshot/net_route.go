package snapshot

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
)

// RouteFlags are the flags of a route (include/uapi/linux/route.h and
// include/uapi/linux/ipv6_route.h).
type RouteFlags uint32

// The flags that decide whether and how a route is shown.
const (
	RouteUp      RouteFlags = 0x1
	RouteGateway RouteFlags = 0x2
	RouteHost    RouteFlags = 0x4
	RouteReject  RouteFlags = 0x200
	RouteCached  RouteFlags = 0x01000000 // IPv6: the row is an entry of the cache
)

// Route is a row of /proc/net/route: a route of the main IPv4 table
// (net/ipv4/fib_trie.c, fib_route_seq_show). Of a multipath route the kernel
// names only the first next hop.
type Route struct {
	Iface   string // "*" for a route without a device, such as a blackhole
	Dest    netip.Addr
	Gateway netip.Addr // 0.0.0.0: none
	Mask    netip.Addr
	Flags   RouteFlags
	RefCnt  int32 // always 0 since Linux 3.6
	Use     int32 // always 0 since Linux 3.6
	Metric  int32 // as net-tools reads it: above 2^31-1 it is negative
	MTU     int32 // advertised MSS plus 40, or 0; not the route's MTU
	Window  int32 // bytes
	IRTT    int32 // round-trip time attribute, in units of 1/8 ms
}

// CachedRoute is a row of /proc/net/rt_cache. Since Linux 3.6 the kernel has
// no IPv4 route cache and the file holds its header only.
type CachedRoute struct {
	Route
	Source  netip.Addr
	TOS     int32
	HHRef   int32
	HHUp    int32
	SpecDst netip.Addr
}

// Route6 is a row of /proc/net/ipv6_route: a route of any IPv6 table of the
// namespace, the local one too (net/ipv6/route.c, rt6_info_route).
type Route6 struct {
	Iface     string
	Dest      netip.Addr
	DestLen   uint8 // prefix length
	Source    netip.Addr
	SourceLen uint8
	NextHop   netip.Addr
	Metric    int32 // as net-tools reads it: above 2^31-1 it is negative
	RefCnt    int32
	Use       int32
	Flags     RouteFlags
}

// Cached reports whether the row is an entry of the route cache.
func (r *Route6) Cached() bool { return r.Flags&RouteCached != 0 }

// A ColumnError says that the header of a proc file lacks a column without
// which its rows cannot be read.
type ColumnError struct {
	File   string // below the proc root, as "net/route"
	Column string // empty: there is no header, as where a namespace has no main table
}

func (e *ColumnError) Error() string {
	if e.Column == "" {
		return e.File + ": the file is empty: the namespace has no such table"
	}
	return fmt.Sprintf("%s: the header has no column %s: not a file of a Linux kernel", e.File, e.Column)
}

// ReadRoutes reads the main IPv4 routing table from net/route below a proc
// root. The error is of the file (fs.ErrNotExist: the kernel has no IPv4) or a
// *ColumnError.
func ReadRoutes(proc string) ([]Route, error) {
	b, err := readFile(proc, "net/route")
	if err != nil {
		return nil, err
	}
	return ParseRoutes(b)
}

// ReadCachedRoutes reads the IPv4 route cache from net/rt_cache.
func ReadCachedRoutes(proc string) ([]CachedRoute, error) {
	b, err := readFile(proc, "net/rt_cache")
	if err != nil {
		return nil, err
	}
	return ParseCachedRoutes(b)
}

// ReadRoutes6 reads all IPv6 routes, cached ones too, from net/ipv6_route.
func ReadRoutes6(proc string) ([]Route6, error) {
	b, err := readFile(proc, "net/ipv6_route")
	if err != nil {
		return nil, err
	}
	return ParseRoutes6(b), nil
}

// routeLine is the longest piece of a line that net-tools reads at a time.
const routeLine = 1024

var routeColumns = []string{
	"Iface", "Destination", "Gateway", "Flags", "RefCnt", "Use", "Metric", "Mask",
	"MTU", "Window", "IRTT",
}

var cachedRouteColumns = []string{
	"Iface", "Destination", "Gateway", "Flags", "RefCnt", "Use", "Metric", "Source",
	"MTU", "Window", "IRTT", "TOS", "HHRef", "HHUptod", "SpecDst",
}

// ParseRoutes parses /proc/net/route. Columns are found by the names in the
// first line; rows with less than ten of them are left out.
func ParseRoutes(file []byte) ([]Route, error) {
	layout, rows, err := splitHeader("net/route", file, routeColumns)
	if err != nil {
		return nil, err
	}
	var routes []Route
	var r Route
	r.clear()
	for line := range lines(rows, routeLine) {
		if scanColumns(line, layout, r.store) >= 10 {
			routes = append(routes, r)
		}
	}
	return routes, nil
}

// ParseCachedRoutes parses /proc/net/rt_cache like ParseRoutes.
func ParseCachedRoutes(file []byte) ([]CachedRoute, error) {
	layout, rows, err := splitHeader("net/rt_cache", file, cachedRouteColumns)
	if err != nil {
		return nil, err
	}
	var routes []CachedRoute
	r := CachedRoute{Source: netip.IPv4Unspecified(), SpecDst: netip.IPv4Unspecified()}
	r.clear()
	for line := range lines(rows, routeLine) {
		if scanColumns(line, layout, r.store) >= 12 {
			routes = append(routes, r)
		}
	}
	return routes, nil
}

// splitHeader returns the columns of a file, in its order and "" for those that
// nobody asked for, and the rows below. The columns wanted stand in order.
func splitHeader(name string, file []byte, want []string) (layout []string, rows []byte, err error) {
	header, rows, _ := bytes.Cut(file, []byte("\n"))
	if len(file) == 0 {
		return nil, nil, &ColumnError{File: name}
	}
	words := bytes.FieldsFunc(header, func(r rune) bool { return r == ' ' || r == '\t' || r == '|' })
	for _, word := range words {
		if len(want) == 0 {
			break
		}
		if string(word) != want[0] {
			layout = append(layout, "")
			continue
		}
		layout = append(layout, want[0])
		want = want[1:]
	}
	if len(want) > 0 {
		return nil, nil, &ColumnError{name, want[0]}
	}
	return layout, rows, nil
}

// scanColumns scans a row column by column and counts those stored. What a
// row lacks keeps the value of the row before, as in net-tools.
func scanColumns(line []byte, layout []string, store func(*scanner, string)) int {
	s := scanLine(line)
	for _, column := range layout {
		if column == "" {
			s.skip(len(line))
		} else {
			store(&s, column)
		}
	}
	return s.n
}

func (r *Route) clear() {
	r.Dest, r.Gateway, r.Mask = netip.IPv4Unspecified(), netip.IPv4Unspecified(), netip.IPv4Unspecified()
}

func (r *Route) store(s *scanner, column string) {
	switch column {
	case "Iface":
		s.word(&r.Iface, 15)
	case "Destination":
		scanHexAddr(s, &r.Dest)
	case "Gateway":
		scanHexAddr(s, &r.Gateway)
	case "Mask":
		scanHexAddr(s, &r.Mask)
	case "Flags":
		scanHex(s, &r.Flags, routeLine)
	case "RefCnt":
		scanDec(s, &r.RefCnt)
	case "Use":
		scanDec(s, &r.Use)
	case "Metric":
		scanDec(s, &r.Metric)
	case "MTU":
		scanDec(s, &r.MTU)
	case "Window":
		scanDec(s, &r.Window)
	case "IRTT":
		scanDec(s, &r.IRTT)
	}
}

func (r *CachedRoute) store(s *scanner, column string) {
	switch column {
	case "Source":
		scanHexAddr(s, &r.Source)
	case "TOS":
		scanDec(s, &r.TOS)
	case "HHRef":
		scanDec(s, &r.HHRef)
	case "HHUptod":
		scanDec(s, &r.HHUp)
	case "SpecDst":
		scanHexAddr(s, &r.SpecDst)
	default:
		r.Route.store(s, column)
	}
}

// scanHexAddr stores an IPv4 address written as the hexadecimal number that
// its four bytes are in memory on a little-endian machine. A field that is no
// such number leaves the address as it was.
func scanHexAddr(s *scanner, dst *netip.Addr) {
	field := s.field(127)
	var b [4]byte
	if len(field) != hex.EncodedLen(len(b)) {
		return
	}
	if _, err := hex.Decode(b[:], field); err != nil {
		return
	}
	slices.Reverse(b[:])
	*dst = netip.AddrFrom4(b)
}

// ParseRoutes6 parses /proc/net/ipv6_route. It has no header, and net-tools
// shows a row for each line: what a line lacks has the value of the line before.
func ParseRoutes6(file []byte) []Route6 {
	var routes []Route6
	unspecified := netip.IPv6Unspecified()
	r := Route6{Dest: unspecified, Source: unspecified, NextHop: unspecified}
	var words [3]addrGroups
	for line := range lines(file, routeLine) {
		s := scanLine(line)
		words[0].scan(&s)
		scanHex(&s, &r.DestLen, 2)
		words[1].scan(&s)
		scanHex(&s, &r.SourceLen, 2)
		words[2].scan(&s)
		scanHex(&s, &r.Metric, 8)
		scanHex(&s, &r.RefCnt, 8)
		scanHex(&s, &r.Use, 8)
		scanHex(&s, &r.Flags, 8)
		s.word(&r.Iface, 15)
		words[0].store(&r.Dest)
		words[1].store(&r.Source)
		words[2].store(&r.NextHop)
		routes = append(routes, r)
	}
	return routes
}

// addrGroups is an IPv6 address as net-tools reads it from 32 hexadecimal
// digits: eight groups of up to four bytes each.
type addrGroups [8][]byte

func (g *addrGroups) scan(s *scanner) {
	for i := range g {
		if field := s.field(4); field != nil {
			g[i] = field
		}
	}
}

// store parses the address; groups that make none leave it as it was.
func (g *addrGroups) store(dst *netip.Addr) {
	var b [16]byte
	for i, group := range g {
		if len(group) != 4 {
			g.storeText(dst)
			return
		}
		if _, err := hex.Decode(b[2*i:], group); err != nil {
			g.storeText(dst)
			return
		}
	}
	*dst = netip.AddrFrom16(b)
}

// storeText parses groups that the kernel would not write.
func (g *addrGroups) storeText(dst *netip.Addr) {
	a, err := netip.ParseAddr(string(bytes.Join(g[:], []byte(":"))))
	if err == nil && a.Is6() && a.Zone() == "" {
		*dst = a
	}
}
