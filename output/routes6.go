package output

import (
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
)

// AppendTitle6 appends the lines above the IPv6 routes, or above those of the
// cache.
func (t *RouteText) AppendTitle6(dst []byte, cache bool) []byte {
	title := "Kernel IPv6 routing table\n"
	if cache {
		title = "Kernel IPv6 routing cache\n"
	}
	dst = append(dst, title...)
	return append(dst, "Destination                    Next Hop                   Flag Met Ref  Use If\n"...)
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

// AppendRoute6 appends the row of an IPv6 route.
func (t *RouteText) AppendRoute6(dst []byte, route *snapshot.Route6) []byte {
	r := tableRow(dst)
	r.left(hostText(t.Hosts, route.Dest)+"/"+strconv.Itoa(int(route.DestLen)), 30)
	r.text(" ")
	r.left(hostText(t.Hosts, route.NextHop), 26)
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
	return r.line()
}
