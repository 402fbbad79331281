package snapshot

import (
	"iter"
	"strings"
)

// NetROMSocket is a row of /proc/net/nr (net/netrom/af_netrom.c, nr_info_show).
type NetROMSocket struct {
	User, Dest, Source string // callsigns; "*" for none
	Device             string
	State              int32
	VS, VR             int32 // send and receive sequence variables
	SendQ, RecvQ       int32 // bytes
}

// NetROMSockets yields the NET/ROM sockets of net/nr below a proc root. A
// *SocketLineError stands for a line; any other error is of the file.
func NetROMSockets(proc string) iter.Seq2[NetROMSocket, error] {
	return readSockets(proc, "net/nr", parseNetROM)
}

// parseNetROM parses a line of /proc/net/nr. The callsigns stand in fixed
// columns of nine bytes.
func parseNetROM(n int, line []byte) (row NetROMSocket, shown, ok bool) {
	if n == 0 {
		return row, false, true
	}
	if len(line) < 30 {
		return row, false, false
	}
	column := func(from int) string {
		return strings.TrimRight(string(cString(line[from:from+9])), " ")
	}
	row.User, row.Dest, row.Source = column(0), column(10), column(20)
	s := scanLine(line[30:])
	s.word(&row.Device, len(line))
	for range 2 {
		s.skipNumber(16)
		s.literal('/')
		s.skipNumber(16)
	}
	scanDec(&s, &row.State)
	scanDec(&s, &row.VS)
	scanDec(&s, &row.VR)
	s.skipNumber(10)
	for range 5 { // timers and retries: now/limit
		s.skipNumber(10)
		s.literal('/')
		s.skipNumber(10)
	}
	s.skipNumber(10)
	scanDec(&s, &row.SendQ)
	scanDec(&s, &row.RecvQ)
	return row, true, !s.failed
}
