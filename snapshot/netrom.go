package snapshot

import "iter"

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
	return readRows(proc, "net/nr", ParseNetROMSockets)
}

// ParseNetROMSockets parses /proc/net/nr.
func ParseNetROMSockets(file []byte) iter.Seq2[NetROMSocket, error] {
	return parseSockets("net/nr", file, 1, parseNetROM)
}

// parseNetROM parses a line of /proc/net/nr. The callsigns stand in fixed
// columns of nine bytes.
func parseNetROM(line []byte) (row NetROMSocket, ok bool) {
	if len(line) < 30 {
		return row, false
	}
	row.User, row.Dest, row.Source = column(line, 0, 9), column(line, 10, 19), column(line, 20, 29)
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
	return row, !s.failed
}
