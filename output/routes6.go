package output

import (
	"io"
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
)

func routes6(w, diag io.Writer, proc string, o *RouteOptions) error {
	if o.table() {
		if err := writeRoutes6(w, diag, proc, o, false); err != nil {
			return err
		}
	}
	if !o.Cache {
		return nil
	}
	return writeRoutes6(w, diag, proc, o, true)
}

// writeRoutes6 prints the IPv6 routes or, out of the same file, those of the
// cache.
func writeRoutes6(w, diag io.Writer, proc string, o *RouteOptions, cache bool) error {
	routes, err := snapshot.ReadRoutes6(proc)
	if err := routeFailure(w, diag, "/proc/net/ipv6_route", "INET6 (IPv6)", err); err != nil {
		return err
	}
	title := "Kernel IPv6 routing table"
	if cache {
		title = "Kernel IPv6 routing cache"
	}
	var r tableRow
	r.text(title)
	r.end(w)
	r.text("Destination                    Next Hop                   Flag Met Ref  Use If")
	r.end(w)
	for i := range routes {
		if routes[i].Cached() == cache {
			r.route6(&routes[i], o.Names)
			r.end(w)
		}
	}
	return nil
}

var route6Letters = []flagLetter{
	{0x1, "U"},
	{0x200, "!"},
	{0x2, "G"},
	{0x4, "H"},
	{0x10000, "D"},
	{0x40000, "A"},
	{0x1000000, "C"},
	{0x20000, "a"},
	{0x400000, "e"},
	{0x20, "m"},
	{0x200000, "n"},
	{0x2000000, "f"},
}

func (r *tableRow) route6(route *snapshot.Route6, names Names) {
	r.left(hostText(names, route.Dest)+"/"+strconv.Itoa(int(route.DestLen)), 30)
	r.text(" ")
	r.left(hostText(names, route.NextHop), 26)
	r.text(" ")
	r.left(spell("", route6Letters, route.Flags), 4)
	r.text(" ")
	r.leftInt(int64(route.Metric), 3)
	r.text(" ")
	r.leftInt(int64(route.RefCnt), 1)
	r.text(" ")
	r.rightInt(int64(route.Use), 6)
	r.text(" ")
	r.text(route.Iface)
}
