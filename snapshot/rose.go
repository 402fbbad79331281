package snapshot

import "iter"

// ROSESocket is a row of /proc/net/rose (net/rose/af_rose.c, rose_info_show).
type ROSESocket struct {
	DestAddr, DestCall string // "*" for none
	SrcAddr, SrcCall   string
	Device             string
	LCI                int32 // logical channel, of which net-tools reads rows with decimal digits only
	Neighbour          int32
	State              int32
}

// ROSESockets yields the ROSE sockets of net/rose below a proc root. A
// *SocketLineError stands for a line; any other error is of the file.
func ROSESockets(proc string) iter.Seq2[ROSESocket, error] {
	return readRows(proc, "net/rose", ParseROSESockets)
}

// ParseROSESockets parses /proc/net/rose.
func ParseROSESockets(file []byte) iter.Seq2[ROSESocket, error] {
	return parseSockets("net/rose", file, 1, parseROSE)
}

func parseROSE(line []byte) (row ROSESocket, ok bool) {
	s := scanLine(line)
	s.word(&row.DestAddr, len(line))
	s.word(&row.DestCall, len(line))
	s.word(&row.SrcAddr, len(line))
	s.word(&row.SrcCall, len(line))
	s.word(&row.Device, len(line))
	scanDec(&s, &row.LCI)
	scanDec(&s, &row.Neighbour)
	scanDec(&s, &row.State)
	return row, !s.failed
}
