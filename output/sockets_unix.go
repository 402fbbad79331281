package output

import (
	"strconv"

	"github.com/nettrace/nettrace/snapshot"
)

// AppendUnixHeader appends the two lines above the Unix domain sockets.
func (t *SocketText) AppendUnixHeader(dst []byte, l Listening) []byte {
	dst = append(dst, "Active UNIX domain sockets "...)
	dst = append(dst, l.String()...)
	dst = append(dst, "\nProto RefCnt Flags       Type       State         I-Node  "...)
	if t.Programs {
		dst = append(dst, " PID/Program name    "...)
	}
	if t.Context {
		dst = appendLeft(dst, " Security Context", contextWidth)
	}
	return append(dst, " Path\n"...)
}

// AppendUnix appends the row of a Unix domain socket. Its path is raw.
func (t *SocketText) AppendUnix(dst []byte, u *snapshot.UnixSocket) []byte {
	protocol := "unix"
	if u.Protocol != 0 {
		protocol = "??"
	}
	dst = appendLeft(dst, protocol, 5)
	dst = append(dst, ' ')
	start := len(dst)
	dst = strconv.AppendInt(dst, int64(u.RefCount), 10)
	dst = padTo(dst, start+6)
	dst = append(dst, ' ')
	dst = appendUnixFlags(dst, u.Flags)
	dst = append(dst, ' ')
	dst = appendLeft(dst, unixType(u.Type), 10)
	dst = append(dst, ' ')
	dst = appendLeft(dst, unixState(u), 13)
	dst = append(dst, ' ')
	start = len(dst)
	if u.HasInode {
		dst = strconv.AppendUint(dst, u.Inode, 10)
	} else {
		dst = append(dst, '-')
	}
	dst = padTo(dst, start+8)
	dst = t.appendHolder(dst, u.Inode)
	dst = append(dst, ' ')
	dst = append(dst, u.Path...)
	return append(dst, '\n')
}

// appendUnixFlags appends the flags in their column. Kernels set the first
// only; the others are of old ones (__SO_WAITDATA, __SO_NOSPACE).
func appendUnixFlags(dst []byte, flags uint64) []byte {
	start := len(dst)
	dst = append(dst, "[ "...)
	if flags&snapshot.UnixAccepting != 0 {
		dst = append(dst, "ACC "...)
	}
	if flags&(1<<17) != 0 {
		dst = append(dst, "W "...)
	}
	if flags&(1<<18) != 0 {
		dst = append(dst, "N "...)
	}
	dst = append(dst, ']')
	return padTo(dst, start+11)
}

func unixType(n uint32) string {
	types := [...]string{1: "STREAM", 2: "DGRAM", 3: "RAW", 4: "RDM", 5: "SEQPACKET"}
	if n == 0 || uint64(n) >= uint64(len(types)) {
		return "UNKNOWN"
	}
	return types[n]
}

func unixState(u *snapshot.UnixSocket) string {
	switch u.State {
	case 0:
		return "FREE"
	case 1:
		if u.Listening() {
			return "LISTENING"
		}
		return ""
	case 2:
		return "CONNECTING"
	case 3:
		return "CONNECTED"
	case 4:
		return "DISCONNECTING"
	}
	return "UNKNOWN"
}
