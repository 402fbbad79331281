package snapshot

import "encoding/binary"

// UnixEnd is a Unix socket as sock_diag has it: who it is and whom it is connected to.
type UnixEnd struct {
	Type      uint8 // SOCK_STREAM, …
	State     State // sk_state: Established, Listen or Close
	Inode     uint32
	Cookie    uint64
	PeerInode uint32 // of a client that was not accepted yet 0
	UID       uint32
	Named     bool // it is bound
	HasPeer   bool
	HasUID    bool   // UID is known: since Linux 5.3
	Name      []byte // as bound; the name of an abstract socket begins with a NUL
}

// ReadUnixEnds hands the Unix sockets of the network namespace of the calling thread to a
// function. Each is valid during the call, and so is its name. Sockets that wait for
// accept() are not among them (net/unix/diag.c, sk_diag_dump, 6.12). It needs no privilege,
// but the kernel may lack unix_diag.
func ReadUnixEnds(each func(*UnixEnd)) error {
	var end UnixEnd
	return dumpUnix(unixDiagShowName|unixDiagShowPeer|unixDiagShowUID, func(message []byte) {
		if end.read(message) {
			each(&end)
		}
	})
}

// read reads a message (include/uapi/linux/unix_diag.h, struct unix_diag_msg) and reports
// whether it is one.
func (u *UnixEnd) read(message []byte) bool {
	if len(message) < unixDiagFixed {
		return false
	}
	native := binary.NativeEndian
	*u = UnixEnd{
		Type: message[1], State: State(message[2]), Inode: native.Uint32(message[4:]),
		Cookie: uint64(native.Uint32(message[8:])) | uint64(native.Uint32(message[12:]))<<32,
	}
	for kind, value := range netlinkAttributes(message[unixDiagFixed:]) {
		switch {
		case kind == unixDiagName:
			u.Named, u.Name = true, unixNameBytes(value)
		case kind == unixDiagPeer && len(value) >= 4:
			u.HasPeer, u.PeerInode = true, native.Uint32(value)
		case kind == unixDiagUID && len(value) >= 4:
			u.HasUID, u.UID = true, native.Uint32(value)
		}
	}
	return true
}
