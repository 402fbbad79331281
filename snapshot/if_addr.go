package snapshot

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// ReadInterfaceAddrs4 asks rtnetlink for the IPv4 addresses of the network namespace
// of the calling thread, by the name that each is shown with: that of its interface,
// or its label, which is that of an alias ("eth0:1"). The ioctls have only the first
// address of each name. It needs no privilege.
func ReadInterfaceAddrs4() (map[string][]netip.Prefix, error) {
	request := make([]byte, unix.SizeofIfAddrmsg)
	request[0] = unix.AF_INET
	addrs := make(map[string][]netip.Prefix)
	err := dumpNetlink(unix.NETLINK_ROUTE, unix.RTM_GETADDR, request, func(message []byte) {
		name, prefix := interfaceAddr4(message)
		if prefix.IsValid() {
			addrs[name] = append(addrs[name], prefix)
		}
	})
	if err != nil {
		return nil, err
	}
	return addrs, nil
}

// interfaceAddr4 parses a message (net/ipv4/devinet.c, inet_fill_ifaddr, 6.12). The
// prefix is invalid if it has no IPv4 address.
func interfaceAddr4(message []byte) (name string, prefix netip.Prefix) {
	if len(message) < unix.SizeofIfAddrmsg || message[0] != unix.AF_INET {
		return "", prefix
	}
	bits := int(message[1])
	for kind, value := range netlinkAttributes(message[unix.SizeofIfAddrmsg:]) {
		switch {
		case kind == unix.IFA_LABEL:
			name = string(cString(value))
		case kind == unix.IFA_LOCAL && len(value) == 4: // IFA_ADDRESS is the peer's on point-to-point links
			prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(value)), bits)
		}
	}
	return name, prefix
}
