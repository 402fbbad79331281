package output

import (
	"bytes"

	"github.com/nettrace/nettrace/snapshot"
)

// AppendROSE appends the row of a ROSE socket.
func (t *LegacyText) AppendROSE(dst []byte, s *snapshot.ROSESocket) []byte {
	r := tableRow(dst)
	over := overflown(*s)
	r.left(over.DestAddr, 10)
	r.text("  ")
	r.left(over.DestCall, 9)
	r.text("  ")
	r.left(over.SrcAddr, 10)
	r.text("  ")
	r.left(over.SrcCall, 9)
	r.text(" ")
	r.left(over.Device, 5)
	r.text(" ")
	r.rightInt(int64(s.LCI), 3)
	r.text(" ")
	r.rightInt(int64(s.Neighbour), 5)
	r.text("   ")
	r.text(stateName(netromStates, s.State))
	return r.line()
}

// overflown returns the texts of a row as they are once netstat has put them into
// its variables, which lie next to each other and have no room for the NUL
// after the longest text: an address of ten digits, as each one is, or a
// callsign of nine bytes runs into its neighbour or ends it.
func overflown(s snapshot.ROSESocket) snapshot.ROSESocket {
	const device, srcCall, destCall, srcAddr, destAddr = 0, 6, 15, 24, 34
	var memory [2 * 256]byte
	put := func(at int, text string) { memory[at+copy(memory[at:len(memory)-1], text)] = 0 }
	get := func(at int) string {
		text, _, _ := bytes.Cut(memory[at:], []byte{0})
		return string(text)
	}
	put(destAddr, s.DestAddr)
	put(destCall, s.DestCall)
	put(srcAddr, s.SrcAddr)
	put(srcCall, s.SrcCall)
	put(device, s.Device)
	s.DestAddr, s.DestCall, s.SrcAddr, s.SrcCall = get(destAddr), get(destCall), get(srcAddr), get(srcCall)
	return s
}
