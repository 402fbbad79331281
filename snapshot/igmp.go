package snapshot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
)

// Group is a multicast group that an interface has joined: a row of
// /proc/net/igmp (net/ipv4/igmp.c, igmp_mc_seq_show) or /proc/net/igmp6
// (net/ipv6/mcast.c, igmp6_mc_seq_show).
type Group struct {
	Iface string
	Users int32 // sockets and the kernel's own memberships
	Addr  netip.Addr
}

// A GroupLineError says that a line of a group file cannot be read; the lines
// after it can.
type GroupLineError struct {
	File string // "igmp" or "igmp6"
	Line int    // from 0
}

func (e *GroupLineError) Error() string {
	return fmt.Sprintf("net/%s: line %d is not a group", e.File, e.Line)
}

// Groups yields the IPv4 groups of the namespace, from net/igmp below a proc
// root. A *GroupLineError stands for a line; any other error is of the file
// and the last.
func Groups(proc string) iter.Seq2[Group, error] {
	return readRows(proc, "net/igmp", ParseGroups)
}

// Groups6 yields the IPv6 groups from net/igmp6 like Groups.
func Groups6(proc string) iter.Seq2[Group, error] {
	return readRows(proc, "net/igmp6", ParseGroups6)
}

// groupLine is the longest piece of a line that net-tools reads at a time.
const groupLine = 1024

// ParseGroups parses /proc/net/igmp: a header, lines that name a device, and
// below each the lines of its groups, which begin with a tab.
func ParseGroups(file []byte) iter.Seq2[Group, error] {
	return func(yield func(Group, error) bool) {
		var device deviceName
		n := -1
		for line := range lines(file, groupLine) {
			n++
			if n == 0 && bytes.Contains(line, []byte("Device")) {
				continue
			}
			g, shown, ok := device.parse(line)
			if !ok && !yield(Group{}, &GroupLineError{"igmp", n}) {
				return
			}
			if shown && !yield(g, nil) {
				return
			}
		}
	}
}

// deviceName holds the 15 bytes after the index of the last device line, as
// net-tools does: up to the last colon they are the name.
type deviceName [15]byte

// parse takes a device line, or makes a group of a group line.
func (d *deviceName) parse(line []byte) (g Group, shown, ok bool) {
	s := scanLine(line)
	if line[0] != '\t' {
		var index int32
		scanDec(&s, &index)
		s.skipSpace()
		ok = !s.failed && len(s.line) > 0
		if ok {
			copy(d[:], s.line)
			if i := bytes.LastIndexByte(cString(d[:]), ':'); i >= 0 {
				d[i] = 0
			}
		}
		return g, false, ok
	}
	var addr uint32
	s.skipSpace()
	scanHex(&s, &addr, 8)
	scanDec(&s, &g.Users)
	if s.failed {
		return g, false, false
	}
	g.Iface = string(bytes.TrimRight(cString(d[:]), " "))
	g.Addr = netip.AddrFrom4([4]byte(binary.LittleEndian.AppendUint32(nil, addr)))
	return g, true, true
}

// cString returns the bytes before the first NUL.
func cString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// ParseGroups6 parses /proc/net/igmp6: index, device, group and users a line.
func ParseGroups6(file []byte) iter.Seq2[Group, error] {
	return func(yield func(Group, error) bool) {
		n := -1
		for line := range lines(file, groupLine) {
			n++
			var g Group
			var index int32
			var digits string
			s := scanLine(line)
			scanDec(&s, &index)
			s.word(&g.Iface, 15)
			s.skipSpace()
			s.hexDigits(&digits, 64)
			scanDec(&s, &g.Users)
			var err error
			if s.failed {
				g, err = Group{}, &GroupLineError{"igmp6", n}
			} else {
				g.Addr = wordsAddr(digits)
			}
			if !yield(g, err) {
				return
			}
		}
	}
}

// wordsAddr makes an IPv6 address of four words of hexadecimal digits; those
// that are missing are zero.
func wordsAddr(digits string) netip.Addr {
	s := scanLine([]byte(digits))
	b := make([]byte, 0, 16)
	for range 4 {
		var word uint32
		scanHex(&s, &word, 8)
		b = binary.BigEndian.AppendUint32(b, word)
	}
	return netip.AddrFrom16([16]byte(b))
}
