package output

import (
	"io"

	"github.com/nettrace/nettrace/snapshot"
)

func roseSockets(w io.Writer, proc string) error {
	const title = "Active ROSE sockets\ndest_addr   dest_call  src_addr    src_call  dev   lci neigh   state"
	return legacyTable(w, title, "Problem", snapshot.ROSESockets(proc), func(r *tableRow, s snapshot.ROSESocket) {
		// A source address of ten digits, which every address has, makes
		// netstat overwrite the destination's first byte.
		if len(s.SrcAddr) == 10 {
			s.DestAddr = ""
		}
		r.left(s.DestAddr, 10)
		r.text("  ")
		r.left(s.DestCall, 9)
		r.text("  ")
		r.left(s.SrcAddr, 10)
		r.text("  ")
		r.left(s.SrcCall, 9)
		r.text(" ")
		r.left(s.Device, 5)
		r.text(" ")
		r.rightInt(int64(s.LCI), 3)
		r.text(" ")
		r.rightInt(int64(s.Neighbour), 5)
		r.text("   ")
		r.text(stateName(netromStates, s.State))
		r.end(w)
	})
}
