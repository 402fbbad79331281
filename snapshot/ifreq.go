package snapshot

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ioctl asks the kernel about the interfaces of a network namespace with the
// ioctls of netdevice(7). They need no privilege.
type Ioctl struct{ fd int }

// NewIoctl opens the socket that ioctls are made on. It belongs to the network
// namespace that the calling thread is in.
func NewIoctl() (*Ioctl, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket to ask for interfaces: %w", err)
	}
	return &Ioctl{fd}, nil
}

// Close closes the socket.
func (c *Ioctl) Close() error { return unix.Close(c.fd) }

// ifreq is struct ifreq (include/uapi/linux/if.h) of a 64-bit kernel.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data [24]byte
}

// ifconf is struct ifconf (include/uapi/linux/if.h).
type ifconf struct {
	len int32
	_   int32
	req unsafe.Pointer
}

// Private ioctls of SLIP (include/linux/if_slip.h).
const (
	siocGKeepAlive = unix.SIOCDEVPRIVATE + 1
	siocGOutFill   = unix.SIOCDEVPRIVATE + 3
)

func (c *Ioctl) ioctl(request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// request makes one of the ioctls that take a name and give 24 bytes.
func (c *Ioctl) request(name string, request uintptr) ([24]byte, error) {
	var r ifreq
	if len(name) >= len(r.name) {
		return r.data, unix.ENODEV
	}
	copy(r.name[:], name)
	err := c.ioctl(request, unsafe.Pointer(&r))
	return r.data, err
}

// Addressed gives the names of SIOCGIFCONF: interfaces and aliases that have
// an IPv4 address, in the kernel's order.
func (c *Ioctl) Addressed() ([]string, error) {
	for n := 30; ; n *= 2 {
		reqs := make([]ifreq, n)
		conf := ifconf{len: int32(n) * int32(unsafe.Sizeof(ifreq{})), req: unsafe.Pointer(&reqs[0])}
		if err := c.ioctl(unix.SIOCGIFCONF, unsafe.Pointer(&conf)); err != nil {
			return nil, fmt.Errorf("list interfaces with addresses: %w", err)
		}
		got := int(conf.len) / int(unsafe.Sizeof(ifreq{}))
		if got == n {
			continue
		}
		names := make([]string, got)
		for i := range names {
			names[i] = string(cString(reqs[i].name[:]))
		}
		return names, nil
	}
}

// Query fills in what the ioctls tell of an interface. What the kernel does
// not tell stays unknown; only an error for the flags is one of the interface.
func (c *Ioctl) Query(i *Interface) error {
	flags, err := c.request(i.Name, unix.SIOCGIFFLAGS)
	if err != nil {
		return err
	}
	i.Flags = InterfaceFlags(binary.NativeEndian.Uint16(flags[:]))
	if hw, err := c.request(i.Name, unix.SIOCGIFHWADDR); err == nil {
		i.HWType = binary.NativeEndian.Uint16(hw[:])
		copy(i.HWAddr[:], hw[2:])
	}
	if mtu, err := c.request(i.Name, unix.SIOCGIFMTU); err == nil {
		i.MTU = int32(binary.NativeEndian.Uint32(mtu[:]))
	}
	i.TxQueueLen = -1
	if qlen, err := c.request(i.Name, unix.SIOCGIFTXQLEN); err == nil {
		i.TxQueueLen = int32(binary.NativeEndian.Uint32(qlen[:]))
	}
	c.queryMap(i)
	c.querySLIP(i)
	c.queryAddrs(i)
	return nil
}

func (c *Ioctl) queryMap(i *Interface) {
	m, err := c.request(i.Name, unix.SIOCGIFMAP)
	if err != nil {
		return
	}
	i.Map = InterfaceMap{
		MemStart: binary.NativeEndian.Uint64(m[0:]),
		MemEnd:   binary.NativeEndian.Uint64(m[8:]),
		BaseAddr: binary.NativeEndian.Uint16(m[16:]),
		IRQ:      m[18],
		DMA:      m[19],
		Port:     m[20],
	}
}

// querySLIP asks SLIP devices, and no other, for what their private ioctls tell.
func (c *Ioctl) querySLIP(i *Interface) {
	switch i.HWType {
	case unix.ARPHRD_SLIP, unix.ARPHRD_CSLIP, unix.ARPHRD_SLIP6, unix.ARPHRD_CSLIP6, unix.ARPHRD_ADAPT:
	default:
		return
	}
	if v, err := c.request(i.Name, siocGOutFill); err == nil {
		i.OutFill = int32(binary.NativeEndian.Uint32(v[:]))
	}
	if v, err := c.request(i.Name, siocGKeepAlive); err == nil {
		i.KeepAlive = int32(binary.NativeEndian.Uint32(v[:]))
	}
}

func (c *Ioctl) queryAddrs(i *Interface) {
	var err error
	if i.Addr, err = c.addr(i.Name, unix.SIOCGIFADDR); err != nil {
		return
	}
	i.PeerAddr, _ = c.addr(i.Name, unix.SIOCGIFDSTADDR)
	i.Broadcast, _ = c.addr(i.Name, unix.SIOCGIFBRDADDR)
	i.Netmask, _ = c.addr(i.Name, unix.SIOCGIFNETMASK)
}

// addr makes one of the ioctls that give an IPv4 socket address.
func (c *Ioctl) addr(name string, request uintptr) (netip.Addr, error) {
	sa, err := c.request(name, request)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.AddrFrom4([4]byte(sa[4:8])), nil
}
