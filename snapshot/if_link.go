package snapshot

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// ReadInterfaceNames asks rtnetlink for the names of the interfaces of the network
// namespace of the calling thread, by index. It needs no privilege.
func ReadInterfaceNames() (map[uint32]string, error) {
	names := make(map[uint32]string)
	request := make([]byte, unix.SizeofIfInfomsg)
	err := dumpNetlink(unix.NETLINK_ROUTE, unix.RTM_GETLINK, request, func(message []byte) {
		if len(message) < unix.SizeofIfInfomsg {
			return
		}
		index := binary.NativeEndian.Uint32(message[4:]) // struct ifinfomsg
		for kind, value := range netlinkAttributes(message[unix.SizeofIfInfomsg:]) {
			if kind == unix.IFLA_IFNAME {
				names[index] = string(cString(value))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}
