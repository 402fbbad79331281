package snapshot

import (
	"bytes"
	"fmt"
	"iter"
)

// A SocketLineError says that a line of a socket file of the AX.25, NET/ROM or
// ROSE family cannot be read; the lines after it can.
type SocketLineError struct {
	File string // below the proc root, as "net/ax25"
	Line int    // from 0
}

func (e *SocketLineError) Error() string {
	return fmt.Sprintf("%s: line %d is not a socket", e.File, e.Line)
}

// AX25Socket is a row of /proc/net/ax25 (net/ax25/af_ax25.c, ax25_info_show).
type AX25Socket struct {
	Device       string
	Source, Dest string // callsigns; "*" for none
	State        int32
	VS, VR       int32 // send and receive sequence variables
	SendQ, RecvQ int32 // bytes; 0 for a connection without a socket
}

// AX25Sockets yields the AX.25 sockets of net/ax25 below a proc root. A
// *SocketLineError stands for a line; any other error is of the file.
func AX25Sockets(proc string) iter.Seq2[AX25Socket, error] {
	return readRows(proc, "net/ax25", ParseAX25Sockets)
}

// ParseAX25Sockets parses /proc/net/ax25.
func ParseAX25Sockets(file []byte) iter.Seq2[AX25Socket, error] {
	return parseSockets("net/ax25", file, 0, parseAX25)
}

// parseSockets yields what a parser makes of each line below the header lines.
// A false result is a *SocketLineError.
func parseSockets[T any](name string, file []byte, header int, parse func(line []byte) (T, bool)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		n := -1
		for line := range lines(file, legacyLine) {
			if n++; n < header {
				continue
			}
			row, ok := parse(line)
			var err error
			if !ok {
				err = &SocketLineError{name, n}
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

// parseAX25 parses a line of /proc/net/ax25, which has no header: a pointer,
// device, source, destination with digipeaters after commas, and numbers.
func parseAX25(line []byte) (row AX25Socket, ok bool) {
	fields := bytes.SplitN(cString(line), []byte(" "), 5)
	if len(fields) < 5 {
		return row, false
	}
	dest, _, _ := bytes.Cut(fields[3], []byte(","))
	row.Device, row.Source, row.Dest = string(fields[1]), string(fields[2]), string(dest)
	s := scanLine(fields[4])
	scanDec(&s, &row.State)
	scanDec(&s, &row.VS)
	scanDec(&s, &row.VR)
	for range 14 {
		s.skipNumber(10)
	}
	scanDec(&s, &row.SendQ)
	scanDec(&s, &row.RecvQ)
	// A connection without a socket has stars in the last columns.
	return row, s.n == 3 || s.n == 5
}
