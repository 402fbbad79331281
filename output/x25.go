package output

import (
	"github.com/nettrace/nettrace/snapshot"
)

var x25States = []string{"LISTENING", "SABM_SENT", "DISC_SENT", "ESTABLISHED", "RECOVERY"}

// AppendX25 appends the row of an X.25 socket.
func (t *LegacyText) AppendX25(dst []byte, s *snapshot.X25Socket) []byte {
	r := tableRow(dst)
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
	return r.line()
}
