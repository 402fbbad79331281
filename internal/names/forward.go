package names

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Addrs returns all addresses of a host, from the hosts file and DNS, each once. It
// returns none where there is no such host, or no answer in time.
func (r *Resolver) Addrs(host string) []netip.Addr {
	lookup := r.LookupHost
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			system := net.Resolver{PreferGo: true}
			return system.LookupNetIP(ctx, "ip", host)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	found, err := lookup(ctx, host)
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for _, a := range found {
		if a = a.Unmap().WithZone(""); !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// Ports returns the ports of a service, by its name or an alias, of TCP and UDP.
func (r *Resolver) Ports(service string) []uint16 {
	var ports []uint16
	for names, port := range r.services {
		if slices.Contains(names, service) && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// Services returns the names of all services, aliases included.
func (r *Resolver) Services() []string {
	var all []string
	for names := range r.services {
		all = append(all, names...)
	}
	return all
}

// services yields the names and the port of each line of services(5) for TCP and UDP.
func (r *Resolver) services(yield func(names []string, port uint16) bool) {
	for words := range fields(readText(r.etc(), "services")) {
		if len(words) < 2 {
			continue
		}
		number, protocol, _ := strings.Cut(words[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil || protocol != "tcp" && protocol != "udp" {
			continue
		}
		if !yield(append(words[:1:1], words[2:]...), uint16(port)) {
			return
		}
	}
}

// UID returns the number of a user.
func (r *Resolver) UID(user string) (uint32, bool) {
	for line := range strings.Lines(readText(r.etc(), "passwd")) {
		columns := strings.Split(line, ":")
		if len(columns) < 4 || columns[0] != user {
			continue
		}
		uid, err := strconv.ParseUint(columns[2], 10, 32)
		return uint32(uid), err == nil
	}
	return 0, false
}

// UserNames returns the names of all users.
func (r *Resolver) UserNames() []string {
	var all []string
	for line := range strings.Lines(readText(r.etc(), "passwd")) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			all = append(all, name)
		}
	}
	return all
}
