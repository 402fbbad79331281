package names

import (
	"context"
	"net"
	"net/netip"
	"strings"
)

// Resolver looks names up as the C library does where its databases are files
// and DNS. The zero value uses the files below /etc and the resolver of the
// system.
//
// Names of IPv4 hosts and of services are asked for once and kept, as in
// netstat; IPv6 addresses are asked for each time. A Resolver is not safe for
// concurrent use.
type Resolver struct {
	// Etc is the directory of services, protocols, networks and passwd; empty
	// means /etc.
	Etc string
	// LookupAddr returns the names of an address; nil means the resolver of the
	// system (/etc/hosts and DNS in the order of nsswitch.conf).
	LookupAddr func(addr string) ([]string, error)
	// LookupHost returns the addresses of a host; nil means the resolver of the
	// system, likewise.
	LookupHost func(ctx context.Context, host string) ([]netip.Addr, error)

	hosts    map[netip.Addr]string // IPv4 only; empty: the address has no name
	ports    map[string]map[uint16]string
	networks map[netip.Addr]string
	users    map[uint32]string
}

// hostMax is the size of the buffer that net-tools has for the name of an IPv6
// host; a longer name is not used.
const hostMax = 128

// Host returns the name of an address, or nothing. An IPv4 address whose first
// byte is zero is taken for a network.
func (r *Resolver) Host(a netip.Addr) string {
	if a.Is6() {
		if name := r.reverse(a); len(name) < hostMax {
			return name
		}
		return ""
	}
	name, ok := r.hosts[a]
	if ok {
		return name
	}
	if a.As4()[0] == 0 {
		name = r.Network(a)
	} else {
		name = r.reverse(a)
	}
	if r.hosts == nil {
		r.hosts = map[netip.Addr]string{}
	}
	r.hosts[a] = name
	return name
}

// reverse asks the resolver. Of several names the first counts: of /etc/hosts
// it is the canonical name of the first line with the address.
func (r *Resolver) reverse(a netip.Addr) string {
	lookup := r.LookupAddr
	if lookup == nil {
		lookup = func(addr string) ([]string, error) {
			system := net.Resolver{PreferGo: true}
			return system.LookupAddr(context.Background(), addr)
		}
	}
	names, err := lookup(a.WithZone("").String())
	if err != nil || len(names) == 0 {
		return ""
	}
	return strings.TrimSuffix(names[0], ".")
}

// Service returns the name of a port, or nothing. The protocol is "tcp", "udp"
// or "raw", where ports are the numbers of IP protocols; "udplite" has the
// names of "udp".
func (r *Resolver) Service(port uint16, protocol string) string {
	if r.ports == nil {
		r.ports = readPorts(r.etc())
	}
	return r.ports[protocol][port]
}

// User returns the name of a user, or nothing.
func (r *Resolver) User(uid uint32) string {
	if r.users == nil {
		r.users = readUsers(r.etc())
	}
	return r.users[uid]
}

// Network returns the name of an IPv4 network in the networks file, or nothing.
// The number must be the same in all 32 bits.
func (r *Resolver) Network(a netip.Addr) string {
	if r.networks == nil {
		r.networks = readNetworks(r.etc())
	}
	return r.networks[a]
}

func (r *Resolver) etc() string {
	if r.Etc == "" {
		return "/etc"
	}
	return r.Etc
}
