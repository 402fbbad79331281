package output

import (
	"io"

	"github.com/nettrace/nettrace/snapshot"
)

var x25States = []string{"LISTENING", "SABM_SENT", "DISC_SENT", "ESTABLISHED", "RECOVERY"}

func x25Sockets(w io.Writer, proc string, o *LegacyOptions) error {
	const title = "Active X.25 sockets\nDest         Source          Device  LCI  State        Vr/Vs  Send-Q  Recv-Q"
	return legacyTable(w, title, "", snapshot.X25Sockets(proc), func(r *tableRow, s snapshot.X25Socket) {
		if s.LCI == 0 && !o.All {
			return
		}
		r.left(s.Dest, 15)
		r.text(" ")
		r.left(s.Source, 15)
		r.text(" ")
		r.left(s.Device, 7)
		r.text(" ")
		r.leftInt(int64(s.LCI), 3)
		r.text("  ")
		r.left(stateName(x25States, s.State), 11)
		r.text("  ")
		r.sequences(s.VR, s.VS, 2)
		r.queues(s.SendQ, s.RecvQ)
		r.end(w)
	})
}
