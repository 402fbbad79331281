package output

import (
	"net/netip"
	"strconv"
)

// Names gives names for addresses. Both methods give "" where there is none. A
// nil Names stands for numbers only. *Resolver is one.
type Names interface {
	Host(netip.Addr) string
	Network(netip.Addr) string
}

// hostText gives the name of a host or its address. netstat asks for no name
// of an address of zeros, but shows :: in brackets when it is to show names.
func hostText(names Names, a netip.Addr) string {
	name := ""
	switch {
	case names == nil || a == netip.IPv4Unspecified():
	case a == netip.IPv6Unspecified():
		return "[::]"
	default:
		name = names.Host(a)
	}
	if name == "" {
		return addrText(a)
	}
	return name
}

func addrText(a netip.Addr) string { return string(AppendAddr(nil, a)) }

// Services gives names for ports. Service gives "" where there is none. A nil
// Services stands for numbers only. *Resolver is one.
type Services interface {
	Service(port uint16, protocol string) string
}

// portText gives the name of a port or its number, and "*" for port 0.
func portText(services Services, port uint16, protocol string) string {
	if port == 0 {
		return "*"
	}
	if services != nil {
		if name := services.Service(port, protocol); name != "" {
			return name[:min(len(name), portMax)]
		}
	}
	return strconv.Itoa(int(port))
}
