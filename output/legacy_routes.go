package output

import (
	"fmt"
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
)

// legacyRouteTitles are the lines above the routes of a family.
var legacyRouteTitles = map[string]string{
	"ax25":   "Kernel AX.25 routing table\nDestination  Iface    Use\n",
	"x25":    "Kernel X.25 routing table\nDestination          Iface\n",
	"netrom": "Kernel NET/ROM routing table\nDestination  Mnemonic  Quality  Neighbour  Iface\n",
	"rose":   "Kernel ROSE routing table\nDestination  neigh1 callsign  device  neigh2 callsign  device  neigh3 callsign  device\n",
}

// AppendLegacyTitle appends the lines above the routes of a family other than
// Internet.
func (t *RouteText) AppendLegacyTitle(dst []byte, family string) []byte {
	return append(dst, legacyRouteTitles[family]...)
}

// AppendAX25 appends the row of an AX.25 route.
func (t *RouteText) AppendAX25(dst []byte, route *snapshot.AX25Route) []byte {
	r := tableRow(dst)
	r.left(route.Dest, 9)
	r.text("    ")
	r.left(route.Device, 5)
	// netstat takes the use from where the kernel has no number.
	r.text("      0")
	return r.line()
}

// AppendX25 appends the row of an X.25 route.
func (t *RouteText) AppendX25(dst []byte, route *snapshot.X25Route) []byte {
	dest := "*"
	if route.Digits != 0 {
		dest = route.Dest + "/" + strconv.Itoa(int(route.Digits))
	}
	r := tableRow(dst)
	r.left(dest, 20)
	r.text(" ")
	r.left(route.Device, 5)
	return r.line()
}

// AppendNetROM appends the row of a NET/ROM node. Without a neighbour the line
// does not end, as in netstat: the next row follows on it.
func (t *RouteText) AppendNetROM(dst []byte, route *snapshot.NetROMRoute) []byte {
	r := tableRow(dst)
	r.left(route.Dest, 9)
	r.text("    ")
	r.left(route.Mnemonic, 7)
	r.text("   ")
	if route.Neighbour == "" {
		return r
	}
	r.rightInt(int64(route.Quality), 3)
	r.text("      ")
	r.left(route.Neighbour, 9)
	r.text("  ")
	r.left(route.Device, 4)
	return r.line()
}

// AppendROSE appends the row of a ROSE node.
func (t *RouteText) AppendROSE(dst []byte, route *snapshot.ROSERoute) []byte {
	r := tableRow(dst)
	r.left(route.Dest, 10)
	r.text("   ")
	for _, n := range route.Neighbours {
		r.text(fmt.Sprintf("%05d  ", n.Number))
		if n.Call == "" {
			continue
		}
		r.left(n.Call, 10)
		r.text("   ")
		r.left(n.Device, 5)
	}
	return r.line()
}
