package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
)

// Masquerade is a row of /proc/net/ip_masquerade, the table of masqueraded
// connections of Linux 2.0 and 2.2. Later kernels have no such file.
type Masquerade struct {
	Protocol      string // "tcp", "udp", "icmp", "gre", "esp" or "ip"
	Source        netip.AddrPort
	Dest          netip.AddrPort
	Port          uint16 // the port used on the outside
	InitSeq       uint64
	Delta         int16
	PreviousDelta int16
	HasPrevious   bool   // the file has a column for PreviousDelta
	Expires       uint64 // in clock ticks of USER_HZ (1/100 s)
}

// Errors of the masquerading table.
var (
	ErrMasqueradeEmpty    = errors.New("net/ip_masquerade: the file is empty, not even a header")
	ErrMasqueradeFormat   = errors.New("net/ip_masquerade: a row is not of a known format")
	ErrMasqueradeProtocol = errors.New("net/ip_masquerade: a row is of an unknown protocol")
)

// ReadMasquerades reads the masqueraded connections from net/ip_masquerade
// below a proc root.
func ReadMasquerades(proc string) ([]Masquerade, error) {
	file, err := readFile(proc, "net/ip_masquerade")
	if err != nil {
		return nil, err
	}
	return ParseMasquerades(file)
}

// ParseMasquerades parses /proc/net/ip_masquerade: a header line and rows.
func ParseMasquerades(file []byte) ([]Masquerade, error) {
	if len(file) == 0 {
		return nil, ErrMasqueradeEmpty
	}
	header, rest := cutLine(file)
	previous := bytes.Contains(header, []byte("PDelta"))
	var rows []Masquerade
	s := scanner{line: rest}
	for {
		s.skipSpace()
		if len(s.line) == 0 {
			return rows, nil
		}
		m, err := scanMasquerade(&s, previous)
		if err != nil {
			return nil, err
		}
		rows = append(rows, m)
	}
}

var masqueradeProtocols = map[string]string{
	"IP": "ip", "TCP": "tcp", "UDP": "udp", "ICMP": "icmp", "GRE": "gre", "ESP": "esp",
}

func scanMasquerade(s *scanner, previous bool) (Masquerade, error) {
	m := Masquerade{HasPrevious: previous}
	var protocol string
	s.word(&protocol, len(s.line))
	m.Source = scanEndpoint(s)
	m.Dest = scanEndpoint(s)
	scanHex(s, &m.Port, len(s.line))
	scanHex(s, &m.InitSeq, len(s.line))
	scanDec(s, &m.Delta)
	if previous {
		scanDec(s, &m.PreviousDelta)
	}
	scanUint(s, &m.Expires)
	if s.failed {
		return m, ErrMasqueradeFormat
	}
	var known bool
	if m.Protocol, known = masqueradeProtocols[protocol]; !known {
		return m, ErrMasqueradeProtocol
	}
	return m, nil
}

// scanEndpoint takes an address and a port, both plain hexadecimal numbers.
func scanEndpoint(s *scanner) netip.AddrPort {
	var addr uint32
	var port uint16
	scanHex(s, &addr, len(s.line))
	s.literal(':')
	scanHex(s, &port, len(s.line))
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, addr))), port)
}
