package view

import (
	"cmp"
	"os"
	"path/filepath"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// Routes of IPX and AppleTalk have had no file that netstat knows in any kernel
// since 4.18, so only their lack is reported.

func (t *routeTables) ipx() error {
	t.warn("%s", t.whyMissing("ipx_route"))
	return t.failInText("IPX routing not in file /proc/net/ipx/route or /proc/net/ipx_route found.")
}

func (t *routeTables) ddp() error {
	t.warn("Error opening /proc/net/atalk_route: %s", t.whyMissing("atalk_route"))
	return t.fail(StatusFailed, "DDP (AppleTalk) not configured on this system.")
}

// whyMissing returns the reason why a file of /proc/net cannot be used.
func (t *routeTables) whyMissing(name string) string {
	return reason(cmp.Or(t.stat(name), error(syscall.ENOENT)))
}

func (t *routeTables) stat(name string) error {
	_, err := os.Stat(filepath.Join(t.env.Proc, "net", name))
	return err
}

func (t *routeTables) ax25() error {
	routes, err := snapshot.ReadAX25Routes(t.env.Proc)
	if err != nil {
		t.warn("/proc/net/ax25_route: %s", reason(err))
		return t.failInText("AX.25 not configured in this system.")
	}
	return legacyRoutes(t, FamilyAX25, routes, t.printer.ax25)
}

func (t *routeTables) x25() error {
	routes, err := snapshot.ReadX25Routes(t.env.Proc)
	if err != nil {
		return t.failInText("X.25 not configured in this system.")
	}
	return legacyRoutes(t, FamilyX25, routes, t.printer.x25)
}

func (t *routeTables) netrom() error {
	routes, err := snapshot.ReadNetROMRoutes(t.env.Proc)
	if err != nil {
		t.warnNetROM(err)
		return t.failInText("NET/ROM not configured in this system.")
	}
	return legacyRoutes(t, FamilyNetROM, routes, t.printer.netrom)
}

// warnNetROM reports which files of NET/ROM are not there. Of two, netstat has
// spoilt the reason of the second by its report of the first.
func (t *routeTables) warnNetROM(err error) {
	const nodes, neighbours = "/proc/net/nr_nodes", "/proc/net/nr_neigh"
	noNodes, noNeighbours := t.stat("nr_nodes") != nil, t.stat("nr_neigh") != nil
	switch {
	case noNodes && noNeighbours:
		t.warn("%s: %s", nodes, reason(err))
		t.warn("%s: %s", neighbours, reason(syscall.EINVAL))
	case noNodes:
		t.warn("%s: %s", nodes, reason(err))
	default:
		t.warn("%s: %s", neighbours, reason(err))
	}
}

func (t *routeTables) rose() error {
	routes, err := snapshot.ReadROSERoutes(t.env.Proc)
	if err != nil {
		t.warn("/proc/net/rose_nodes: %s", reason(err))
		return t.fail(StatusFailed, "ROSE not configured in this system.")
	}
	return legacyRoutes(t, FamilyROSE, routes, t.printer.rose)
}

func legacyRoutes[Row any](t *routeTables, family string, routes []Row, show func(*Row)) error {
	t.printer.legacyTitle(family)
	for i := range routes {
		show(&routes[i])
	}
	return nil
}
