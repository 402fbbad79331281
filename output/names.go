package output

import (
	"net/netip"
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
)

// Hosts returns the names of hosts and of IPv4 networks, or "" for none.
type Hosts interface {
	Host(netip.Addr) string
	Network(netip.Addr) string
}

// Services returns the names of ports, or "" for none.
type Services interface {
	Service(port uint16, protocol string) string
}

// Users returns the names of users, or "" for none.
type Users interface {
	User(uid uint32) string
}

// Names says which numbers have names. A nil member means numbers only.
type Names struct {
	Hosts    Hosts
	Services Services
	Users    Users
}

// AppendHost appends the name of a host, or its address.
func (n *Names) AppendHost(dst []byte, a netip.Addr) []byte { return appendHost(dst, n.Hosts, a) }

// AppendPort appends the name of a port or its number, and "*" for port 0. The
// port of a raw socket is the number of its IP protocol.
func (n *Names) AppendPort(dst []byte, p snapshot.Protocol, port uint16) []byte {
	return appendPort(dst, n.Services, port, p.String())
}

// AppendUser appends the name of a user, or the number as netstat holds it:
// signed.
func (n *Names) AppendUser(dst []byte, uid uint32) []byte {
	if n.Users != nil {
		if name := n.Users.User(uid); name != "" {
			return append(dst, name...)
		}
	}
	return strconv.AppendInt(dst, int64(int32(uid)), 10)
}

// appendHost appends the name of a host or its address. netstat looks up no
// name of an address of zeros, but prints :: in brackets when it prints names.
func appendHost(dst []byte, hosts Hosts, a netip.Addr) []byte {
	switch {
	case hosts == nil || a == netip.IPv4Unspecified():
	case a == netip.IPv6Unspecified():
		return append(dst, "[::]"...)
	default:
		if name := hosts.Host(a); name != "" {
			return append(dst, name...)
		}
	}
	return AppendAddr(dst, a)
}

func hostText(hosts Hosts, a netip.Addr) string { return string(appendHost(nil, hosts, a)) }

func addrText(a netip.Addr) string { return string(AppendAddr(nil, a)) }

// portMax is the longest name of a port that netstat prints, in bytes.
const portMax = 63

func appendPort(dst []byte, services Services, port uint16, protocol string) []byte {
	if port == 0 {
		return append(dst, '*')
	}
	if services != nil {
		if name := services.Service(port, protocol); name != "" {
			return append(dst, name[:min(len(name), portMax)]...)
		}
	}
	return strconv.AppendUint(dst, uint64(port), 10)
}
