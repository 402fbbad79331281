package output

import (
	"github.com/nettrace/nettrace/snapshot"
)

// netromStates are the states of NET/ROM and of ROSE sockets.
var netromStates = []string{"LISTENING", "CONN SENT", "DISC SENT", "ESTABLISHED"}

// AppendNetROM appends the row of a NET/ROM socket.
func (t *LegacyText) AppendNetROM(dst []byte, s *snapshot.NetROMSocket) []byte {
	r := tableRow(dst)
	r.left(s.User, 9)
	r.text("  ")
	r.left(s.Dest, 9)
	r.text("  ")
	r.left(s.Source, 9)
	r.text("  ")
	r.device(s.Device, stateName(netromStates, s.State))
	r.sequences(s.VR, s.VS, 3)
	r.queues(s.SendQ, s.RecvQ)
	return r.line()
}
