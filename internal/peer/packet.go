package peer

import (
	"encoding/binary"
	"net/netip"
)

// Flags are the control bits of a TCP header (RFC 9293, 3.1).
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Has reports whether all bits of other are set.
func (f Flags) Has(other Flags) bool { return f&other == other }

// Segment is a TCP segment, from or to a peer.
type Segment struct {
	Src, Dst netip.AddrPort
	Seq, Ack uint32
	Flags    Flags
	Window   uint16
	Data     []byte

	raw []byte // the whole packet
}

const (
	protoICMP = 1
	protoTCP  = 6
	ipHeader  = 20
	tcpHeader = 20
)

// parse reads an IPv4 packet with a TCP segment; ok is false for anything else.
func parse(raw []byte) (s Segment, ok bool) {
	if len(raw) < ipHeader+tcpHeader || raw[0] != 0x45 || raw[9] != protoTCP {
		return s, false
	}
	tcp := raw[ipHeader:]
	start := int(tcp[12]>>4) * 4
	if start > len(tcp) {
		return s, false
	}
	addr := func(ip, port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[ip:])), binary.BigEndian.Uint16(tcp[port:]))
	}
	return Segment{
		Src: addr(12, 0), Dst: addr(16, 2),
		Seq: binary.BigEndian.Uint32(tcp[4:]), Ack: binary.BigEndian.Uint32(tcp[8:]),
		Flags:  Flags(tcp[13]),
		Window: binary.BigEndian.Uint16(tcp[14:]),
		Data:   tcp[start:],
		raw:    raw,
	}, true
}

// packet builds the IPv4 packet of a segment, without options.
func (s *Segment) packet() []byte {
	tcp := make([]byte, tcpHeader, tcpHeader+len(s.Data)+1)
	binary.BigEndian.PutUint16(tcp[0:], s.Src.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.Dst.Port())
	binary.BigEndian.PutUint32(tcp[4:], s.Seq)
	binary.BigEndian.PutUint32(tcp[8:], s.Ack)
	tcp[12] = tcpHeader / 4 << 4
	tcp[13] = byte(s.Flags)
	binary.BigEndian.PutUint16(tcp[14:], s.Window)
	tcp = append(tcp, s.Data...)
	src, dst := s.Src.Addr().As4(), s.Dst.Addr().As4()
	pseudo := append(append(src[:], dst[:]...), 0, protoTCP, byte(len(tcp)>>8), byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))
	return ipv4(protoTCP, s.Src.Addr(), s.Dst.Addr(), tcp)
}

// unreachable builds an ICMP destination unreachable (RFC 792) from the peer that
// the segment was sent to.
func unreachable(code uint8, s Segment) []byte {
	icmp := append([]byte{3, code, 0, 0, 0, 0, 0, 0}, s.raw[:ipHeader+8]...)
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	return ipv4(protoICMP, s.Dst.Addr(), s.Src.Addr(), icmp)
}

func ipv4(proto byte, src, dst netip.Addr, payload []byte) []byte {
	p := make([]byte, ipHeader, ipHeader+len(payload))
	p[0], p[8], p[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(p[2:], uint16(ipHeader+len(payload)))
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(p[10:], checksum(p))
	return append(p, payload...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
