package output

import (
	"io"

	"github.com/nettrace/nettrace/snapshot"
)

// netromStates are the states of NET/ROM and of ROSE sockets.
var netromStates = []string{"LISTENING", "CONN SENT", "DISC SENT", "ESTABLISHED"}

func netromSockets(w io.Writer, proc string) error {
	const title = "Active NET/ROM sockets\nUser       Dest       Source     Device  State        Vr/Vs    Send-Q  Recv-Q"
	return legacyTable(w, title, "Problem", snapshot.NetROMSockets(proc), func(r *tableRow, s snapshot.NetROMSocket) {
		r.left(s.User, 9)
		r.text("  ")
		r.left(s.Dest, 9)
		r.text("  ")
		r.left(s.Source, 9)
		r.text("  ")
		r.left(s.Device, 6)
		r.text("  ")
		r.left(stateName(netromStates, s.State), 11)
		r.text("  ")
		r.sequences(s.VR, s.VS, 3)
		r.queues(s.SendQ, s.RecvQ)
		r.end(w)
	})
}
