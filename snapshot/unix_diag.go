package snapshot

import (
	"encoding/binary"
	"maps"
	"strings"

	"golang.org/x/sys/unix"
)

// UnixNames are the names of the Unix sockets of a network namespace by inode,
// as they were bound. The name of an abstract socket begins with a NUL. A socket
// without a name has an empty one.
//
// Sockets without an inode, which wait in the accept queue of another one, are
// not among them: the kernel does not list them (net/unix/diag.c, sk_diag_dump,
// 6.12).
type UnixNames map[uint64]string

// Of include/uapi/linux/unix_diag.h.
const (
	unixDiagShowName = 1 << 0 // UDIAG_SHOW_NAME
	unixDiagShowPeer = 1 << 2 // UDIAG_SHOW_PEER
	unixDiagShowUID  = 1 << 6 // UDIAG_SHOW_UID
	unixDiagName     = 0      // UNIX_DIAG_NAME
	unixDiagPeer     = 2      // UNIX_DIAG_PEER
	unixDiagUID      = 7      // UNIX_DIAG_UID
	unixDiagFixed    = 16     // size of struct unix_diag_msg
)

// ReadUnixNames asks sock_diag for the names, in the network namespace of the
// calling thread. It needs no privilege, but the kernel may lack unix_diag.
func ReadUnixNames() (UnixNames, error) {
	names := UnixNames{}
	if err := dumpUnix(unixDiagShowName, names.add); err != nil {
		return nil, err
	}
	return names, nil
}

// dumpUnix asks for all Unix sockets, and for something of each.
func dumpUnix(show uint32, each func(message []byte)) error {
	request := make([]byte, 24) // struct unix_diag_req
	request[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(request[4:], ^uint32(0)) // in all states
	binary.NativeEndian.PutUint32(request[12:], show)
	return dumpNetlink(unix.NETLINK_SOCK_DIAG, unix.SOCK_DIAG_BY_FAMILY, request, each)
}

// UnixPeers are the peers of the Unix sockets of a network namespace, by inode; of a
// client that was not accepted yet it is 0 (net/unix/diag.c, sk_diag_dump_peer, 6.12).
type UnixPeers map[uint64]uint64

// ReadUnixPeers asks sock_diag for the peers, as ReadUnixNames for the names.
func ReadUnixPeers() (UnixPeers, error) {
	peers := UnixPeers{}
	if err := dumpUnix(unixDiagShowPeer, peers.add); err != nil {
		return nil, err
	}
	return peers, nil
}

// add takes the inode of a message and that of its peer, if it has one.
func (p UnixPeers) add(message []byte) {
	if len(message) < unixDiagFixed {
		return
	}
	for kind, value := range netlinkAttributes(message[unixDiagFixed:]) {
		if kind == unixDiagPeer && len(value) >= 4 {
			p[uint64(binary.NativeEndian.Uint32(message[4:]))] = uint64(binary.NativeEndian.Uint32(value))
		}
	}
}

// add takes the inode and the name of a message.
func (n UnixNames) add(message []byte) {
	if len(message) < unixDiagFixed {
		return
	}
	name := ""
	for kind, value := range netlinkAttributes(message[unixDiagFixed:]) {
		if kind == unixDiagName {
			name = unixName(value)
		}
	}
	n[uint64(binary.NativeEndian.Uint32(message[4:]))] = name
}

// unixName returns a name without the NUL that ends the name of a file. The NULs
// of an abstract name are its own.
func unixName(b []byte) string { return string(unixNameBytes(b)) }

func unixNameBytes(b []byte) []byte {
	if len(b) > 0 && b[0] != 0 {
		return cString(b)
	}
	return b
}

// inProc returns a name as /proc/net/unix shows it, where "@" also stands for
// NUL.
func inProc(name string) string { return strings.ReplaceAll(name, "\x00", "@") }

// byText returns the names by the text of /proc/net/unix. Of names with the same
// text it has none.
func (n UnixNames) byText() map[string]string {
	texts := make(map[string]string, len(n))
	for name := range maps.Values(n) {
		text := inProc(name)
		if other, ok := texts[text]; ok && other != name {
			name = "" // cannot be told apart
		}
		texts[text] = name
	}
	return texts
}
