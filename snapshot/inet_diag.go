package snapshot

import (
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"
)

// SocketDevices are the interfaces that IPv6 sockets of a protocol are bound to, as
// indexes, which /proc does not show.
type SocketDevices map[boundSocket]uint32

// boundSocket identifies a socket in two tables that were read one after the other.
type boundSocket struct {
	local, remote netip.AddrPort
	inode         uint64
}

// manyDevices marks sockets that cannot be told apart and are bound to different
// interfaces.
const manyDevices = ^uint32(0)

// ReadSocketDevices asks sock_diag for the interfaces, in the network namespace of
// the calling thread. It needs no privilege, but the kernel may lack the module of
// the protocol. Raw sockets have none here.
func ReadSocketDevices(p Protocol) (SocketDevices, error) {
	if p == Raw {
		return nil, nil
	}
	d, err := OpenDiag()
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // nothing is written
	devices := SocketDevices{}
	err = d.Dump(DiagQuery{Protocol: p, Family: unix.AF_INET6}, func(b DiagBatch) error {
		for row := range b.Rows {
			devices.add(row.Socket(p))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return devices, nil
}

func (d SocketDevices) add(s Socket) {
	if s.Device == 0 {
		return
	}
	socket := boundSocket{s.Local, s.Remote, s.Inode}
	device := s.Device
	if other, ok := d[socket]; ok && other != device {
		device = manyDevices
	}
	d[socket] = device
}

// Of returns the interface that a socket is bound to, or 0: none, or not known.
func (d SocketDevices) Of(s *Socket) uint32 {
	device := d[boundSocket{s.Local, s.Remote, s.Inode}]
	if device == manyDevices {
		return 0
	}
	return device
}

// WithDevices adds to sockets with link-local addresses the interface that these
// belong to, which /proc does not show. sock_diag is asked for it at the first one, in
// the network namespace of the thread that goes over the rows, which must be theirs.
func WithDevices(rows iter.Seq2[Socket, error], p Protocol) iter.Seq2[Socket, error] {
	return func(yield func(Socket, error) bool) {
		var known SocketDevices
		asked := false
		for s, err := range rows {
			if err == nil && linkLocal(&s) {
				if !asked {
					asked = true
					known, _ = ReadSocketDevices(p) // not known where that is refused
				}
				s.Device = known.Of(&s)
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

func linkLocal(s *Socket) bool {
	local, remote := s.Local.Addr(), s.Remote.Addr()
	return local.IsLinkLocalUnicast() || local.IsLinkLocalMulticast() ||
		remote.IsLinkLocalUnicast() || remote.IsLinkLocalMulticast()
}
