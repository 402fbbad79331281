package output

import (
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// AX25Route appends the "route" record of an AX.25 route.
func (w routeRecords) AX25Route(at time.Time, r *snapshot.AX25Route) {
	w.beginLegacyRoute(at, "ax25", r.Dest)
	w.some(`,"iface":`, r.Device)
	w.end()
}

// X25Route appends the "route" record of an X.25 route.
func (w routeRecords) X25Route(at time.Time, r *snapshot.X25Route) {
	w.beginLegacyRoute(at, "x25", r.Dest)
	w.int(`,"prefix_len":`, int64(r.Digits))
	w.some(`,"iface":`, r.Device)
	w.end()
}

// NetROMRoute appends the "route" record of a NET/ROM node.
func (w routeRecords) NetROMRoute(at time.Time, r *snapshot.NetROMRoute) {
	w.beginLegacyRoute(at, "netrom", r.Dest)
	w.some(`,"mnemonic":`, r.Mnemonic)
	if r.Neighbour != "" {
		w.some(`,"gateway":`, r.Neighbour)
		w.int(`,"quality":`, int64(r.Quality))
		w.some(`,"iface":`, r.Device)
	}
	w.end()
}

// ROSERoute appends the "route" records of a ROSE node, one for each neighbour
// that leads to it.
func (w routeRecords) ROSERoute(at time.Time, r *snapshot.ROSERoute) {
	for i := range r.Neighbours {
		n := &r.Neighbours[i]
		w.beginLegacyRoute(at, "rose", r.Dest)
		w.int(`,"neighbour":`, int64(n.Number))
		w.some(`,"gateway":`, n.Call)
		w.some(`,"iface":`, n.Device)
		w.end()
	}
}

func (w routeRecords) beginLegacyRoute(at time.Time, family, dest string) {
	w.beginAt("route", at)
	w.word(`,"family":`, family)
	w.some(`,"destination":`, dest)
}
