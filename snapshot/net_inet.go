package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
)

// ErrBogus says that a line of a table is none of its rows. It was left out;
// reading goes on.
var ErrBogus = errors.New("not a row of the table")

// socketLine is the size of the buffer that net-tools reads lines of socket
// tables into.
const socketLine = 8192

// ReadSockets reads the Internet sockets of a protocol and family from
// net/{tcp,udp,udplite,raw}{,6} below a proc root. The error is of the file;
// fs.ErrNotExist means that the kernel lacks the protocol or the family.
// The sequence is that of ParseSockets, but has to be gone over, once: a large
// table is read meanwhile.
func ReadSockets(proc string, p Protocol, ipv6 bool) (iter.Seq2[Socket, error], error) {
	pieces, err := readPieces(proc, socketFile(p, ipv6))
	if err != nil {
		return nil, err
	}
	return parseInet(pieces, p, ipv6), nil
}

// socketFile names the file of a protocol and family below a proc root.
func socketFile(p Protocol, ipv6 bool) string {
	name := "net/" + p.String()
	if ipv6 {
		name += "6"
	}
	return name
}

// ParseSockets parses /proc/net/{tcp,udp,udplite,raw}{,6} (net/ipv4/tcp_ipv4.c,
// get_tcp4_sock; net/ipv4/udp.c, udp4_format_sock; net/ipv4/raw.c,
// raw_sock_seq_show and their IPv6 twins). A line that is no row yields
// ErrBogus.
//
// Lines are read as net-tools reads them: a row may end early, and what it
// lacks then has the value of the row before.
func ParseSockets(file []byte, p Protocol, ipv6 bool) iter.Seq2[Socket, error] {
	return parseInet(slices.Values([][]byte{file}), p, ipv6)
}

// parseInet is ParseSockets for a file in pieces of whole lines.
func parseInet(pieces iter.Seq[[]byte], p Protocol, ipv6 bool) iter.Seq2[Socket, error] {
	return func(yield func(Socket, error) bool) {
		row := inetRow{protocol: p, ipv6: ipv6}
		first := true
		for line := range linesOf(pieces, socketLine) {
			if first {
				first = false
				continue
			}
			if !row.scan(line) {
				if !yield(Socket{}, fmt.Errorf("%s: %w", socketFile(p, ipv6), ErrBogus)) {
					return
				}
				continue
			}
			if !yield(row.socket(), nil) {
				return
			}
		}
	}
}

// inetRow holds the columns of a row. It is used again for the next one.
type inetRow struct {
	protocol Protocol
	ipv6     bool

	slot                  int32
	local, remote         inetAddr // aliases the line
	localPort, remotePort uint32
	state                 uint32
	txQueue, rxQueue      uint64
	timer                 uint32
	expires, retrans      uint64
	uid, timeout          int32
	inode                 uint64
}

// inetAddr is the hexadecimal text of an address: one word of an IPv4 one, four
// of an IPv6 one, each in the byte order of the machine.
type inetAddr struct{ text []byte }

// inetAddrMax is the longest text of an address that net-tools takes.
const inetAddrMax = 64

// Least numbers of columns that make a row: up to the retransmits for TCP, to
// the timer for the others.
const (
	tcpColumns  = 11
	inetColumns = 10
)

// scan reads a line and reports whether it is a row.
func (r *inetRow) scan(line []byte) bool {
	s := scanLine(line)
	scanDec(&s, &r.slot)
	s.literal(':')
	r.local.scan(&s, &r.localPort)
	r.remote.scan(&s, &r.remotePort)
	scanHex(&s, &r.state, math.MaxInt)
	scanHex(&s, &r.txQueue, math.MaxInt)
	s.literal(':')
	scanHex(&s, &r.rxQueue, math.MaxInt)
	scanHex(&s, &r.timer, math.MaxInt)
	s.literal(':')
	scanHex(&s, &r.expires, math.MaxInt)
	scanHex(&s, &r.retrans, math.MaxInt)
	scanDec(&s, &r.uid)
	scanDec(&s, &r.timeout)
	scanUint(&s, &r.inode)
	if r.protocol == TCP {
		return s.n >= tcpColumns
	}
	return s.n >= inetColumns
}

// scan reads an address and its port.
func (a *inetAddr) scan(s *scanner, port *uint32) {
	s.skipSpace()
	if text := s.span(inetAddrMax, isHex); text != nil {
		a.text = text
		s.n++
	}
	s.literal(':')
	scanHex(s, port, math.MaxInt)
}

// ipv4Digits is the length of an IPv4 address in a socket table.
const ipv4Digits = 8

// addr returns the address. Words that are not there are zero.
func (a *inetAddr) addr(ipv4 bool) netip.Addr {
	s := scanner{line: a.text}
	var word uint32
	if ipv4 {
		scanHex(&s, &word, math.MaxInt)
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], word)
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	for i := 0; i < len(b) && len(s.line) > 0; i += 4 {
		scanHex(&s, &word, ipv4Digits)
		binary.NativeEndian.PutUint32(b[i:], word)
	}
	return netip.AddrFrom16(b)
}

// socket makes the row that was scanned.
func (r *inetRow) socket() Socket {
	ipv4 := len(r.local.text) <= ipv4Digits
	s := Socket{
		Head: Head{
			Protocol: r.protocol,
			Local:    netip.AddrPortFrom(r.local.addr(ipv4), uint16(r.localPort)),
			Remote:   netip.AddrPortFrom(r.remote.addr(ipv4), uint16(r.remotePort)),
			State:    State(min(r.state, math.MaxUint8)),
			RecvQ:    r.rxQueue,
			SendQ:    r.txQueue,
			UID:      uint32(r.uid),
			Inode:    r.inode,
		},
		Timer:   uint8(min(r.timer, math.MaxUint8)),
		Expires: r.expires,
		Retrans: uint32(min(r.retrans, math.MaxUint32)),
		Timeout: uint32(r.timeout),
	}
	odd := OddNumbers{
		IPv6File:  r.ipv6,
		LocalPort: r.localPort, RemotePort: r.remotePort,
		State: r.state, Timer: r.timer, Retrans: r.retrans,
	}
	if odd != s.Numbers() {
		kept := odd // a copy, so that an ordinary row allocates nothing
		s.Odd = &kept
	}
	return s
}
