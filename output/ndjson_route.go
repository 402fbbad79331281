package output

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// Route appends the "route" record of a row of the IPv4 routing table.
func (w routeRecords) Route(at time.Time, r *snapshot.Route) {
	w.beginAt("route", at)
	w.route(r, routeFlags(r.Flags))
	w.end()
}

// CachedRoute appends the "route" record of a row of the IPv4 route cache.
func (w routeRecords) CachedRoute(at time.Time, r *snapshot.CachedRoute) {
	w.beginAt("route", at)
	w.flag(`,"cached":`, true)
	w.route(&r.Route, cachedRouteFlags(r.Flags))
	w.addr(`,"source_addr":`, r.Source)
	w.int(`,"tos":`, int64(r.TOS))
	w.int(`,"hh_ref":`, int64(r.HHRef))
	w.int(`,"hh_uptod":`, int64(r.HHUp))
	w.addr(`,"spec_dst":`, r.SpecDst)
	w.end()
}

// Route6 appends the "route" record of a row of the IPv6 routing tables.
func (w routeRecords) Route6(at time.Time, r *snapshot.Route6) {
	w.beginAt("route", at)
	if r.Cached() {
		w.flag(`,"cached":`, true)
	}
	w.word(`,"family":`, "ipv6")
	w.addr(`,"destination":`, r.Dest)
	w.uint(`,"prefix_len":`, uint64(r.DestLen))
	w.gateway(r.NextHop)
	if r.SourceLen != 0 {
		w.addr(`,"source_addr":`, r.Source)
		w.uint(`,"source_prefix_len":`, uint64(r.SourceLen))
	}
	w.word(`,"flags":`, spell("", route6Letters, r.Flags))
	w.uint(`,"flag_bits":`, uint64(r.Flags))
	w.uint(`,"metric":`, uint64(uint32(r.Metric)))
	w.uint(`,"ref":`, uint64(uint32(r.RefCnt)))
	w.uint(`,"use":`, uint64(uint32(r.Use)))
	w.str(`,"iface":`, r.Iface, nameMax)
	w.end()
}

// route adds the columns of an IPv4 route. The kernel's numbers are unsigned, but
// for the segment size (net/ipv4/fib_trie.c, fib_route_seq_show, 6.12).
func (w routeRecords) route(r *snapshot.Route, flags string) {
	w.word(`,"family":`, "ipv4")
	w.addr(`,"destination":`, r.Dest)
	w.addr(`,"genmask":`, r.Mask)
	if n, ok := prefixLen(r.Mask); ok {
		w.uint(`,"prefix_len":`, uint64(n))
	}
	w.gateway(r.Gateway)
	w.word(`,"flags":`, flags)
	w.uint(`,"flag_bits":`, uint64(r.Flags))
	w.uint(`,"metric":`, uint64(uint32(r.Metric)))
	w.uint(`,"ref":`, uint64(uint32(r.RefCnt)))
	w.uint(`,"use":`, uint64(uint32(r.Use)))
	w.positive(`,"mss_bytes":`, r.MTU)
	w.nonzero(`,"window_bytes":`, uint64(uint32(r.Window)))
	w.nonzero(`,"irtt_ms":`, uint64(uint32(r.IRTT)))
	if r.Iface != "*" {
		w.str(`,"iface":`, r.Iface, nameMax)
	}
}

// gateway adds the next hop of a route that has one.
func (w routeRecords) gateway(a netip.Addr) {
	if !a.IsUnspecified() {
		w.addr(`,"gateway":`, a)
	}
}

// prefixLen returns the length of a netmask, unless it has holes.
func prefixLen(mask netip.Addr) (n int, ok bool) {
	if !mask.Is4() {
		return 0, false
	}
	b := mask.As4()
	v := binary.BigEndian.Uint32(b[:])
	n = bits.LeadingZeros32(^v)
	return n, v<<n == 0
}
