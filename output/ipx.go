package output

import (
	"fmt"

	"github.com/nettrace/nettrace/snapshot"
)

// AppendIPX appends the row of an IPX socket.
func (t *LegacyText) AppendIPX(dst []byte, s *snapshot.IPXSocket) []byte {
	r := tableRow(dst)
	r.text("IPX   ")
	r.rightInt(int64(s.SendQ), 6)
	r.text(" ")
	r.rightInt(int64(s.RecvQ), 6)
	r.text(" ")
	r.left(ipxText(s.Local), 26)
	r.text(" ")
	remote := "-"
	if s.Connected {
		remote = ipxText(s.Remote)
	}
	r.left(remote, 26)
	r.text(" ")
	switch s.State {
	case 1:
		r.text("ESTAB")
	case 7: // not connected
		r.text("     ")
	default:
		r.text("UNK. ")
	}
	if t.Extend {
		r.text(" ")
		start := len(r)
		r = padTo(t.Names.AppendUser(r, s.UID), start+10)
	}
	return r.line()
}

// ipxText spells an address as netstat does: the port with its bytes swapped,
// no node of zeros, and nothing of a network that is none or all.
func ipxText(a snapshot.IPXAddr) string {
	text := ""
	if a.Network != 0 && a.Network != 0xffffffff {
		text = fmt.Sprintf("%08X", a.Network)
		if a.Node != [6]byte{} {
			text += fmt.Sprintf(":%02X", a.Node[:])
		}
	}
	return text + fmt.Sprintf(":%04X", a.Port>>8|a.Port<<8)
}
