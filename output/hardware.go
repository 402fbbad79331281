package output

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hardware is how netstat prints a type of link. addr spells the first eight
// bytes of an address; it is nil where netstat shows none.
type hardware struct {
	name  string
	title string
	addr  func([]byte) string
}

// hardwares are the types that netstat knows by ARPHRD number
// (include/uapi/linux/if_arp.h).
var hardwares = map[uint16]hardware{
	unix.ARPHRD_NETROM:   {"netrom", "AMPR NET/ROM", callsign},
	unix.ARPHRD_ETHER:    {"ether", "Ethernet", lowerHex(6)},
	unix.ARPHRD_AX25:     {"ax25", "AMPR AX.25", callsign},
	unix.ARPHRD_ARCNET:   {"arcnet", "ARCnet", upperHex(1, "")},
	unix.ARPHRD_DLCI:     {"dlci", "Frame Relay DLCI", dlci},
	unix.ARPHRD_EUI64:    {"eui64", "Generic EUI-64", upperHex(8, ":")},
	unix.ARPHRD_SLIP:     {"slip", "Serial Line IP", nil},
	unix.ARPHRD_CSLIP:    {"cslip", "VJ Serial Line IP", nil},
	unix.ARPHRD_SLIP6:    {"slip6", "6-bit Serial Line IP", nil},
	unix.ARPHRD_CSLIP6:   {"cslip6", "VJ 6-bit Serial Line IP", nil},
	unix.ARPHRD_ADAPT:    {"adaptive", "Adaptive Serial Line IP", nil},
	unix.ARPHRD_ROSE:     {"rose", "AMPR ROSE", roseAddr},
	unix.ARPHRD_X25:      {"x25", "generic X.25", x25Addr},
	unix.ARPHRD_PPP:      {"ppp", "Point-to-Point Protocol", nil},
	unix.ARPHRD_HDLC:     {"hdlc", "(Cisco)-HDLC", nil},
	unix.ARPHRD_LAPB:     {"lapb", "LAPB", nil},
	unix.ARPHRD_TUNNEL:   {"tunnel", "IPIP Tunnel", func([]byte) string { return "" }},
	unix.ARPHRD_FRAD:     {"frad", "Frame Relay Access Device", nil},
	unix.ARPHRD_LOOPBACK: {"loop", "Local Loopback", nil},
	unix.ARPHRD_FDDI:     {"fddi", "Fiber Distributed Data Interface", upperHex(6, "-")},
	unix.ARPHRD_SIT:      {"sit", "IPv6-in-IPv4", nil},
	unix.ARPHRD_HIPPI:    {"hippi", "HIPPI", upperHex(6, ":")},
	unix.ARPHRD_ASH:      {"ash", "Ash", ashAddr},
	unix.ARPHRD_ECONET:   {"ec", "Econet", nil},
	unix.ARPHRD_IRDA:     {"irda", "IrLAP", lowerHex(4)},
}

// hardwareOf returns the type of an ARPHRD number.
func hardwareOf(number uint16) hardware {
	if hw, ok := hardwares[number]; ok {
		return hw
	}
	return hardware{"unspec", "UNSPEC", unspecified}
}

// compresses reports whether netstat shows how much a link compressed.
func compresses(number uint16) bool {
	return number == unix.ARPHRD_CSLIP || number == unix.ARPHRD_CSLIP6
}

// joinHex spells bytes as pairs of lower-case digits.
func joinHex(b []byte, separator string) string {
	pairs := make([]string, len(b))
	for i := range b {
		pairs[i] = hex.EncodeToString(b[i : i+1])
	}
	return strings.Join(pairs, separator)
}

func lowerHex(n int) func([]byte) string {
	return func(b []byte) string { return joinHex(b[:n], ":") }
}

func upperHex(n int, separator string) func([]byte) string {
	return func(b []byte) string { return strings.ToUpper(joinHex(b[:n], separator)) }
}

// unspecified spells an address of unknown form: 16 bytes, of which the
// interface ioctls return eight.
func unspecified(b []byte) string {
	return strings.ToUpper(joinHex(append(b[:8:8], make([]byte, 8)...), "-"))
}

// callsign spells an AX.25 address: six characters shifted left by a bit,
// padded with spaces, and a station number if it is not 0.
func callsign(b []byte) string {
	var call []byte
	for _, c := range b[:6] {
		switch c >> 1 {
		case 0:
			return string(call)
		case ' ':
		default:
			call = append(call, c>>1)
		}
	}
	if ssid := b[6] >> 1 & 0xf; ssid != 0 {
		call = append(call, '-')
		call = strconv.AppendUint(call, uint64(ssid), 10)
	}
	return string(call)
}

func dlci(b []byte) string {
	return strconv.Itoa(int(int16(binary.NativeEndian.Uint16(b))))
}

func roseAddr(b []byte) string { return joinHex(b[:5], "") }

func x25Addr(b []byte) string {
	text, _, _ := strings.Cut(string(b), "\x00")
	return text
}

func ashAddr(b []byte) string {
	return "[" + joinHex(append(b[:8:8], make([]byte, 24)...), "") + "]"
}
