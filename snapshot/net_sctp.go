package snapshot

import (
	"bytes"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"strconv"
)

// SCTPEndpoint is a row of /proc/net/sctp/eps (net/sctp/proc.c,
// sctp_eps_seq_show): a socket that may take associations.
type SCTPEndpoint struct {
	State int32 // of the socket, in TCP's numbers; see State
	Port  uint16
	UID   uint32
	Inode uint64
	Local []netip.Addr
}

// SCTPAssociation is a row of /proc/net/sctp/assocs (net/sctp/proc.c,
// sctp_assocs_seq_show).
type SCTPAssociation struct {
	State         int32  // of the socket, in TCP's numbers; see State
	SendQ, RecvQ  uint32 // bytes
	UID           uint32
	Inode         uint64
	LPort, RPort  uint16
	Local, Remote []netip.Addr // the primary address of the peer stands first
}

// ReadSCTPEndpoints reads net/sctp/eps below a proc root, or for IPv6
// net/sctp6/eps, which kernels since 2.6.28 do not have: their one file holds
// both families. The error is of the file; fs.ErrNotExist means that SCTP is
// not loaded.
func ReadSCTPEndpoints(proc string, ipv6 bool) (iter.Seq2[SCTPEndpoint, error], error) {
	file, err := readFile(proc, sctpFile("eps", ipv6))
	if err != nil {
		return nil, err
	}
	return ParseSCTPEndpoints(file), nil
}

// ReadSCTPAssociations reads net/sctp/assocs or net/sctp6/assocs like
// ReadSCTPEndpoints.
func ReadSCTPAssociations(proc string, ipv6 bool) (iter.Seq2[SCTPAssociation, error], error) {
	file, err := readFile(proc, sctpFile("assocs", ipv6))
	if err != nil {
		return nil, err
	}
	return ParseSCTPAssociations(file), nil
}

func sctpFile(name string, ipv6 bool) string {
	if ipv6 {
		return "net/sctp6/" + name
	}
	return "net/sctp/" + name
}

// ParseSCTPEndpoints parses /proc/net/sctp/eps. A line that is no row yields
// ErrBogus.
func ParseSCTPEndpoints(file []byte) iter.Seq2[SCTPEndpoint, error] {
	return parseSCTP(file, func(t *tokens) (e SCTPEndpoint, ok bool) {
		columns := t.columns(8) // ENDPT SOCK STY SST HBKT LPORT UID INODE
		if columns == nil {
			return e, false
		}
		e.State = atoi(columns[3])
		e.Port = uint16(atoi(columns[5]))
		e.UID = uint32(atoi(columns[6]))
		e.Inode = parseInode(columns[7])
		list, _ := t.next("\t\n")
		e.Local = sctpAddrs(list, false)
		return e, true
	})
}

// ParseSCTPAssociations parses /proc/net/sctp/assocs. A line that is no row
// yields ErrBogus.
func ParseSCTPAssociations(file []byte) iter.Seq2[SCTPAssociation, error] {
	return parseSCTP(file, func(t *tokens) (a SCTPAssociation, ok bool) {
		// ASSOC SOCK STY SST ST HBKT ASSOC-ID TX_QUEUE RX_QUEUE UID INODE LPORT RPORT
		columns := t.columns(13)
		if columns == nil {
			return a, false
		}
		a.State = atoi(columns[3])
		a.SendQ = uint32(atoi(columns[7]))
		a.RecvQ = uint32(atoi(columns[8]))
		a.UID = uint32(atoi(columns[9]))
		a.Inode = parseInode(columns[10])
		a.LPort = uint16(atoi(columns[11]))
		a.RPort = uint16(atoi(columns[12]))
		// The arrow between the lists is taken for three separators.
		const end = "<->\t\n"
		local, ok1 := t.next(end)
		remote, ok2 := t.next(end)
		a.Local, a.Remote = sctpAddrs(local, true), sctpAddrs(remote, true)
		return a, ok1 && ok2
	})
}

// parseSCTP yields a row for each line below the header.
func parseSCTP[Row any](file []byte, parse func(*tokens) (Row, bool)) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		first := true
		for line := range lines(file, socketLine) {
			if first {
				first = false
				continue
			}
			row, ok := parse(&tokens{scanLine(line).line})
			var err error
			if !ok {
				err = fmt.Errorf("net/sctp: %w", ErrBogus)
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

// tokens takes a line apart at separators, as the C library's strtok does:
// separators before a token are passed, the one after it is consumed.
type tokens struct{ rest []byte }

func (t *tokens) next(separators string) (token []byte, ok bool) {
	t.rest = bytes.TrimLeft(t.rest, separators)
	if len(t.rest) == 0 {
		return nil, false
	}
	end := bytes.IndexAny(t.rest, separators)
	if end < 0 {
		token, t.rest = t.rest, nil
		return token, true
	}
	token, t.rest = t.rest[:end], t.rest[end+1:]
	return token, true
}

// columns takes n tokens between white space; nil means that there are less.
func (t *tokens) columns(n int) [][]byte {
	columns := make([][]byte, 0, n)
	for len(columns) < n {
		token, ok := t.next(" \t\n")
		if !ok {
			return nil
		}
		columns = append(columns, token)
	}
	return columns
}

// sctpAddrs parses a list of addresses. With starred, one star before an
// address, which marks the primary one, is dropped.
func sctpAddrs(list []byte, starred bool) []netip.Addr {
	var addrs []netip.Addr
	t := tokens{list}
	for {
		token, ok := t.next(" ")
		if !ok {
			return addrs
		}
		if starred {
			token = bytes.TrimPrefix(token, []byte("*"))
		}
		addrs = append(addrs, sctpAddr(token))
	}
}

// sctpAddr parses an address: eight groups of an IPv6 one, else an IPv4 one as
// inet_addr reads it. Other text is read as 255.255.255.255.
func sctpAddr(text []byte) netip.Addr {
	if bytes.IndexByte(text, ':') < 0 {
		return inetAton(text)
	}
	var b [16]byte
	s := scanner{line: text}
	for i := 0; i < len(b); i += 2 {
		if i > 0 {
			s.literal(':')
		}
		var group uint32
		scanHex(&s, &group, 4)
		b[i], b[i+1] = byte(group>>8), byte(group)
	}
	return netip.AddrFrom16(b)
}

// inetAton parses an IPv4 address as inet_addr does: one to four numbers,
// decimal, octal or hexadecimal, the last of which fills the bytes left.
func inetAton(text []byte) netip.Addr {
	none := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	parts := bytes.Split(text, []byte("."))
	if len(parts) > 4 {
		return none
	}
	var b [4]byte
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		if len(part) == 0 || digit(part[0]) > 9 {
			return none
		}
		v, err := strconv.ParseUint(cNumber(part), 0, bits)
		if err != nil {
			return none
		}
		for j := range bits / 8 {
			b[i+j] = byte(v >> (bits - 8*(j+1)))
		}
	}
	return netip.AddrFrom4(b)
}

// cNumber spells a number of C's base 0 for strconv's, which knows more.
func cNumber(text []byte) string {
	if len(text) > 1 && text[0] == '0' && text[1]|0x20 == 'x' {
		return string(text)
	}
	if len(text) > 1 && text[0] == '0' {
		for _, c := range text {
			if digit(c) > 7 {
				return ""
			}
		}
		return string(text)
	}
	for _, c := range text {
		if digit(c) > 9 {
			return ""
		}
	}
	return string(text)
}

// atoi reads a decimal number at the start of a text, 0 if there is none,
// wrapped to 32 bits.
func atoi(text []byte) int32 {
	var n int32
	s := scanner{line: text}
	scanDec(&s, &n)
	return n
}

// parseInode reads the number at the start of a text in the base that its
// prefix tells, 0 if there is none.
func parseInode(text []byte) uint64 {
	n, _ := strtoul(text)
	return n
}

// strtoul reads an unsigned number in the base that its prefix tells, as the C
// library does, and returns what follows it.
func strtoul(text []byte) (n uint64, rest []byte) {
	s := scanner{line: text}
	s.skipSpace()
	base := uint64(10)
	digits := bytes.TrimLeft(s.line, "+-")
	if len(digits) > 1 && digits[0] == '0' {
		base = 8
		if digits[1]|0x20 == 'x' {
			base = 16
		}
	}
	v, ok := s.number(base, math.MaxInt)
	if !ok {
		return 0, text
	}
	return v.unsigned(), s.line
}
