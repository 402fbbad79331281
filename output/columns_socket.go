package output

import (
	"github.com/nettrace/nettrace/tracer/table"
)

// socketColumns are those that UDP, raw or Unix sockets alone have.
var socketColumns = []column{
	{name: "change", title: "CHANGE", width: 10, append: ofSocket(func(l *columnLine, dst []byte) []byte {
		if l.socket.Kind == table.SocketClose {
			return dst
		}
		return append(dst, l.socket.Kind.String()...)
	})},
	{name: "reason", title: "REASON", width: 9, append: ofSocket(func(l *columnLine, dst []byte) []byte {
		return append(dst, reasonOf(l.socket.Closed)...)
	})},
	{name: "closed_by_pid", title: "CLOSER", width: 7, append: ofSocket(func(l *columnLine, dst []byte) []byte {
		pid, _ := anotherCloser(l.socket)
		return appendNonzero(dst, uint64(pid))
	})},
	{name: "type", title: "TYPE", width: 9, append: ofUnix(func(l *columnLine, dst []byte) []byte {
		return append(dst, unixType(uint32(l.socket.Socket.Type))...)
	})},
	{name: "path", title: "PATH", width: 24, append: ofUnix(func(l *columnLine, dst []byte) []byte {
		return l.style.appendName(dst, l.socket.Socket.Unix.Name)
	})},
	{name: "peer_id", title: "PEER ID", width: 16, append: ofUnix(func(l *columnLine, dst []byte) []byte {
		if id := l.socket.Socket.Unix.Peer; id != 0 {
			return appendHex64(dst, id)
		}
		return dst
	})},
	{name: "peer_inode", title: "PEER INODE", width: numberColumn, append: ofUnix(func(l *columnLine, dst []byte) []byte {
		return appendNonzero(dst, l.socket.Socket.Unix.PeerInode)
	})},
	{name: "peer_pid", title: "PEER PID", width: 8, append: ofUnix(func(l *columnLine, dst []byte) []byte {
		return appendNonzero(dst, uint64(l.socket.Socket.Unix.PeerPID))
	})},
}

// ofSocket makes a column that is empty for TCP.
func ofSocket(value func(*columnLine, []byte) []byte) func(*columnLine, []byte) []byte {
	return func(l *columnLine, dst []byte) []byte {
		if l.socket == nil {
			return dst
		}
		return value(l, dst)
	}
}

// ofUnix makes a column that is empty for all but Unix sockets.
func ofUnix(value func(*columnLine, []byte) []byte) func(*columnLine, []byte) []byte {
	return ofSocket(func(l *columnLine, dst []byte) []byte {
		if l.socket.Socket.Unix == nil {
			return dst
		}
		return value(l, dst)
	})
}
