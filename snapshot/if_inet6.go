package snapshot

import (
	"net/netip"
)

// Scopes of an IPv6 address as the kernel numbers them
// (include/net/ipv6.h, IPV6_ADDR_*).
const (
	ScopeGlobal   = 0x00
	ScopeHost     = 0x10
	ScopeLink     = 0x20
	ScopeSite     = 0x40
	ScopeCompatV4 = 0x80
)

// InterfaceAddr6 is an IPv6 address of an interface: a row of
// /proc/net/if_inet6 (net/ipv6/addrconf.c, if6_seq_show).
type InterfaceAddr6 struct {
	Addr      netip.Addr
	PrefixLen uint8
	Scope     uint8
	Flags     uint8  // IFA_F_* (include/uapi/linux/if_addr.h), the low eight
	Index     uint32 // of the interface
}

// readInterfaceAddrs6 reads the IPv6 addresses by interface name, each in the
// order of the file. Without the file there are none.
func readInterfaceAddrs6(proc string) map[string][]InterfaceAddr6 {
	file, err := readFile(proc, "net/if_inet6")
	if err != nil {
		return nil
	}
	return ParseInterfaceAddrs6(file)
}

// ParseInterfaceAddrs6 parses /proc/net/if_inet6. It ends at the first line
// that is none of its rows.
func ParseInterfaceAddrs6(file []byte) map[string][]InterfaceAddr6 {
	addrs := map[string][]InterfaceAddr6{}
	for line := range lines(file, 1024) {
		var a InterfaceAddr6
		var name string
		var groups addrGroups
		s := scanLine(line)
		groups.scan(&s)
		scanHex(&s, &a.Index, 8)
		scanHex(&s, &a.PrefixLen, 2)
		scanHex(&s, &a.Scope, 2)
		scanHex(&s, &a.Flags, 2)
		s.word(&name, 20)
		groups.store(&a.Addr)
		if s.failed || !a.Addr.IsValid() {
			break
		}
		addrs[name] = append(addrs[name], a)
	}
	return addrs
}
