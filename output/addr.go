package output

import "net/netip"

// AppendAddr appends an address as the C library's inet_ntop spells it, but
// for a v4-mapped one, which is spelled as the IPv4 address that it holds, as
// netstat does. It differs from netip.Addr.String in the addresses whose first
// 96 bits are zero: their rest is dotted unless 16 more bits are zero. A scope
// is left out.
func AppendAddr(dst []byte, a netip.Addr) []byte {
	a = a.WithZone("").Unmap()
	if !a.Is6() {
		return a.AppendTo(dst)
	}
	b := a.As16()
	if [12]byte(b[:12]) != ([12]byte{}) || b[12] == 0 && b[13] == 0 {
		return a.AppendTo(dst)
	}
	dst = append(dst, "::"...)
	return netip.AddrFrom4([4]byte(b[12:])).AppendTo(dst)
}
