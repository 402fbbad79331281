package snapshot

import (
	"iter"
	"strings"
)

// X25Socket is a row of /proc/net/x25 (net/x25/x25_proc.c, x25_seq_socket_show).
type X25Socket struct {
	Dest, Source string // addresses; "*" for none
	Device       string // "???" for none
	LCI          int32  // logical channel, as net-tools reads it: the decimal digits before the first letter
	State        int32
	VS, VR       int32 // send and receive sequence variables
	SendQ, RecvQ int32 // bytes
}

// X25Sockets yields the X.25 sockets of net/x25 below a proc root. An error is
// of the file.
func X25Sockets(proc string) iter.Seq2[X25Socket, error] {
	return readRows(proc, "net/x25", ParseX25Sockets)
}

// ParseX25Sockets parses /proc/net/x25 below its header. Addresses stand in
// fixed columns; what a row lacks is that of the row before, as in net-tools.
func ParseX25Sockets(file []byte) iter.Seq2[X25Socket, error] {
	return func(yield func(X25Socket, error) bool) {
		var buffer [legacyLine]byte
		var row X25Socket
		n := 0
		for line := range lines(file, legacyLine) {
			buffer[copy(buffer[:], line)] = 0
			if n++; n == 1 {
				continue
			}
			buffer[10], buffer[20] = 0, 0
			row.Dest = strings.TrimRight(string(cString(buffer[:])), " ")
			row.Source = strings.TrimRight(string(cString(buffer[11:])), " ")
			s := scanLine(buffer[22:])
			s.word(&row.Device, len(buffer))
			scanDec(&s, &row.LCI)
			scanDec(&s, &row.State)
			scanDec(&s, &row.VS)
			scanDec(&s, &row.VR)
			for range 6 {
				s.skipNumber(10)
			}
			scanDec(&s, &row.SendQ)
			scanDec(&s, &row.RecvQ)
			if !yield(row, nil) {
				return
			}
		}
	}
}
