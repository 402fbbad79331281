// Package lookup finds what the names in a filter stand for: on this machine, in its
// files, in DNS, and in a network namespace.
package lookup

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/nettrace/nettrace/internal/cgroup"
	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/names"
	"github.com/nettrace/nettrace/internal/netns"
)

// System looks names up on this machine. The zero value asks for interfaces in the
// network namespace of the calling thread. It must not be used by several goroutines
// at once.
type System struct {
	// NetnsPath is the file of the network namespace that has the interfaces; empty:
	// that of the calling thread.
	NetnsPath string

	resolver names.Resolver
	cgroups  cgroup.Tree
}

// Host returns all addresses of a host.
func (s *System) Host(name string) []netip.Addr { return s.resolver.Addrs(name) }

// Service returns the ports of a service.
func (s *System) Service(name string) []uint16 { return s.resolver.Ports(name) }

// User returns the number of a user.
func (s *System) User(name string) (uint32, bool) { return s.resolver.UID(name) }

// Device returns the index and the addresses of an interface. What follows a colon is
// the label of an address and no part of the name.
func (s *System) Device(name string) (index uint32, addrs []netip.Addr, ok bool) {
	s.inNetns(func() {
		name, _, _ := strings.Cut(name, ":")
		i, err := net.InterfaceByName(name)
		if err != nil {
			return
		}
		index, ok = uint32(i.Index), true
		list, _ := i.Addrs() // without them it has none
		for _, a := range list {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				addrs = append(addrs, p.Addr().Unmap())
			}
		}
	})
	return index, addrs, ok
}

// DeviceName returns the name of an interface.
func (s *System) DeviceName(index uint32) (name string) {
	s.inNetns(func() {
		if i, err := net.InterfaceByIndex(int(index)); err == nil {
			name = i.Name
		}
	})
	return name
}

// inNetns calls a function where the interfaces are.
func (s *System) inNetns(f func()) {
	if s.NetnsPath == "" {
		f()
		return
	}
	_ = netns.Do(s.NetnsPath, func() error { // where it cannot be entered there is nothing
		f()
		return nil
	})
}

// Netns returns the inode of a network namespace: by name, path, process id or pid:N.
func (s *System) Netns(name string) (uint32, bool) {
	path, err := netns.Path(strings.TrimPrefix(name, "pid:"))
	if err != nil {
		return 0, false
	}
	inode, err := netns.Inode(path)
	return inode, err == nil
}

// Cgroup returns the id of a cgroup by its path below the cgroup2 mount.
func (s *System) Cgroup(path string) (uint64, bool) { return s.cgroups.ID(path) }

// CgroupPath returns the path of a cgroup by its id.
func (s *System) CgroupPath(id uint64) (string, bool) { return s.cgroups.Path(id) }

// Known returns the names that there are for a type of field.
func (s *System) Known(t field.Type) []string {
	switch t {
	case field.Port:
		return s.resolver.Services()
	case field.User:
		return s.resolver.UserNames()
	case field.Netns:
		return entries(netns.Dir)
	case field.Cgroup:
		var list []string
		for _, path := range s.cgroups.All() {
			list = append(list, path)
		}
		slices.Sort(list)
		return list
	case field.Device:
		var list []string
		s.inNetns(func() {
			all, _ := net.Interfaces() // without them there are none
			for i := range all {
				list = append(list, all[i].Name)
			}
		})
		return list
	}
	return nil
}

func entries(dir string) []string {
	list, _ := os.ReadDir(dir) // one that is not there has none
	found := make([]string, len(list))
	for i, e := range list {
		found[i] = e.Name()
	}
	return found
}
