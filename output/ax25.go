package output

import (
	"fmt"

	"github.com/nettrace/nettrace/snapshot"
)

var ax25States = []string{"LISTENING", "SABM SENT", "DISC SENT", "ESTABLISHED", "RECOVERY"}

// AppendAX25 appends the row of an AX.25 socket.
func (t *LegacyText) AppendAX25(dst []byte, s *snapshot.AX25Socket) []byte {
	r := tableRow(dst)
	r.left(s.Dest, 9)
	r.text("  ")
	r.left(s.Source, 9)
	r.text("  ")
	r.device(s.Device, stateName(ax25States, s.State))
	r.sequences(s.VR, s.VS, 3)
	r.queues(s.SendQ, s.RecvQ)
	return r.line()
}

// device adds the device and the state, as AX.25 and NET/ROM show them.
func (r *tableRow) device(name, state string) {
	r.left(name, 6)
	r.text("  ")
	r.left(state, 11)
	r.text("  ")
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
