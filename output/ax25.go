package output

import (
	"fmt"
	"io"

	"github.com/nettrace/nettrace/snapshot"
)

var ax25States = []string{"LISTENING", "SABM SENT", "DISC SENT", "ESTABLISHED", "RECOVERY"}

func ax25Sockets(w io.Writer, proc string) error {
	const title = "Active AX.25 sockets\nDest       Source     Device  State        Vr/Vs    Send-Q  Recv-Q"
	return legacyTable(w, title, "problem", snapshot.AX25Sockets(proc), func(r *tableRow, s snapshot.AX25Socket) {
		r.left(s.Dest, 9)
		r.text("  ")
		r.left(s.Source, 9)
		r.text("  ")
		r.left(s.Device, 6)
		r.text("  ")
		r.left(stateName(ax25States, s.State), 11)
		r.text("  ")
		r.sequences(s.VR, s.VS, 3)
		r.queues(s.SendQ, s.RecvQ)
		r.end(w)
	})
}

// sequences adds the receive and send sequence variables, with zeros in front.
func (r *tableRow) sequences(vr, vs int32, digits int) {
	r.zeroPadded(vr, digits)
	r.text("/")
	r.zeroPadded(vs, digits)
	r.text("  ")
}

func (r *tableRow) zeroPadded(v int32, digits int) { *r = fmt.Appendf(*r, "%0*d", digits, v) }

func (r *tableRow) queues(send, receive int32) {
	r.leftInt(int64(send), 6)
	r.text("  ")
	r.leftInt(int64(receive), 6)
}
