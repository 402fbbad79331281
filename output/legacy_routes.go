package output

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// legacyRoutes are the routing tables of the families other than Internet.
// Those of IPX and AppleTalk have had no file that netstat knows in any kernel
// since 4.18, so only their lack is told.
var legacyRoutes = map[string]func(w, diag io.Writer, proc string) error{
	"ipx":    ipxRoutes,
	"ddp":    ddpRoutes,
	"ax25":   ax25Routes,
	"netrom": netromRoutes,
	"rose":   roseRoutes,
	"x25":    x25Routes,
}

func ipxRoutes(w, diag io.Writer, proc string) error {
	_, err := os.Stat(filepath.Join(proc, "net/ipx_route"))
	tell(diag, "%s", reason(cmp.Or(err, error(syscall.ENOENT))))
	return failed(w, 1, "IPX routing not in file /proc/net/ipx/route or /proc/net/ipx_route found.")
}

func ddpRoutes(_, diag io.Writer, proc string) error {
	_, err := os.Stat(filepath.Join(proc, "net/atalk_route"))
	tell(diag, "Error opening /proc/net/atalk_route: %s", reason(cmp.Or(err, error(syscall.ENOENT))))
	return failed(diag, 1, "DDP (AppleTalk) not configured on this system.")
}

func ax25Routes(w, diag io.Writer, proc string) error {
	routes, err := snapshot.ReadAX25Routes(proc)
	if err != nil {
		tell(diag, "/proc/net/ax25_route: %s", reason(err))
		return failed(w, 1, "AX.25 not configured in this system.")
	}
	var r tableRow
	r.text("Kernel AX.25 routing table\nDestination  Iface    Use")
	r.end(w)
	for _, route := range routes {
		r.left(route.Dest, 9)
		r.text("    ")
		r.left(route.Device, 5)
		// netstat takes the use from where the kernel has no number.
		r.text("      0")
		r.end(w)
	}
	return nil
}

func x25Routes(w, _ io.Writer, proc string) error {
	routes, err := snapshot.ReadX25Routes(proc)
	if err != nil {
		return failed(w, 1, "X.25 not configured in this system.")
	}
	var r tableRow
	r.text("Kernel X.25 routing table\nDestination          Iface")
	r.end(w)
	for _, route := range routes {
		dest := "*"
		if route.Digits != 0 {
			dest = route.Dest + "/" + strconv.Itoa(int(route.Digits))
		}
		r.left(dest, 20)
		r.text(" ")
		r.left(route.Device, 5)
		r.end(w)
	}
	return nil
}

func netromRoutes(w, diag io.Writer, proc string) error {
	routes, err := snapshot.ReadNetROMRoutes(proc)
	if err != nil {
		tellNetROM(diag, proc, err)
		return failed(w, 1, "NET/ROM not configured in this system.")
	}
	var r tableRow
	r.text("Kernel NET/ROM routing table\nDestination  Mnemonic  Quality  Neighbour  Iface")
	r.end(w)
	for _, route := range routes {
		r.left(route.Dest, 9)
		r.text("    ")
		r.left(route.Mnemonic, 7)
		r.text("   ")
		if route.Neighbour == "" {
			continue // netstat does not end the line, either
		}
		r.rightInt(int64(route.Quality), 3)
		r.text("      ")
		r.left(route.Neighbour, 9)
		r.text("  ")
		r.left(route.Device, 4)
		r.end(w)
	}
	_, _ = w.Write(r)
	return nil
}

// tellNetROM says which files of NET/ROM are not there. Of two, netstat gives
// the reason of the second after the first one's report has spoilt it.
func tellNetROM(diag io.Writer, proc string, err error) {
	nodes, neighbours := "/proc/net/nr_nodes", "/proc/net/nr_neigh"
	missing := func(name string) bool {
		_, err := os.Stat(filepath.Join(proc, "net", name))
		return err != nil
	}
	switch {
	case missing("nr_nodes") && missing("nr_neigh"):
		tell(diag, "%s: %s", nodes, reason(err))
		tell(diag, "%s: %s", neighbours, reason(syscall.EINVAL))
	case missing("nr_nodes"):
		tell(diag, "%s: %s", nodes, reason(err))
	default:
		tell(diag, "%s: %s", neighbours, reason(err))
	}
}

func roseRoutes(w, diag io.Writer, proc string) error {
	routes, err := snapshot.ReadROSERoutes(proc)
	if err != nil {
		tell(diag, "/proc/net/rose_nodes: %s", reason(err))
		return failed(diag, 1, "ROSE not configured in this system.")
	}
	var r tableRow
	r.text("Kernel ROSE routing table\nDestination  neigh1 callsign  device  neigh2 callsign  device  neigh3 callsign  device")
	r.end(w)
	for _, route := range routes {
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
		r.end(w)
	}
	return nil
}
