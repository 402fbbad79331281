package snapshot

import (
	"bytes"
	"encoding/hex"
	"errors"
	"iter"
)

// IPXAddr is the address of an IPX socket.
type IPXAddr struct {
	Network uint32
	Node    [6]byte
	Port    uint16
}

// IPXSocket is a row of /proc/net/ipx/socket. Linux had IPX up to 4.17.
type IPXSocket struct {
	Local, Remote IPXAddr
	Connected     bool   // Remote is set
	SendQ, RecvQ  uint64 // bytes
	State         uint32
	UID           uint32
}

// Errors of an IPX row that cannot be read; no row follows.
var (
	ErrIPXSourcePort = errors.New("net/ipx/socket: no port in a local address")
	ErrIPXDestPort   = errors.New("net/ipx/socket: no port in a remote address")
)

// IPXSockets yields the IPX sockets of net/ipx/socket below a proc root. An
// error is the last element.
func IPXSockets(proc string) iter.Seq2[IPXSocket, error] {
	return readRows(proc, "net/ipx/socket", ParseIPXSockets)
}

// ParseIPXSockets parses /proc/net/ipx/socket. What a row lacks is that of the
// row before, as in net-tools.
func ParseIPXSockets(file []byte) iter.Seq2[IPXSocket, error] {
	return func(yield func(IPXSocket, error) bool) {
		_, rows := cutLine(file)
		var row IPXSocket
		var local, remote string
		for line := range lines(rows, legacyLine) {
			s := scanLine(line)
			s.word(&local, len(line))
			s.word(&remote, len(line))
			scanHex(&s, &row.SendQ, len(line))
			scanHex(&s, &row.RecvQ, len(line))
			scanUint(&s, &row.State)
			scanUint(&s, &row.UID)
			var err error
			if !row.Local.parse(local) {
				err = ErrIPXSourcePort
			} else if row.Connected = remote != "Not_Connected"; row.Connected && !row.Remote.parse(remote) {
				err = ErrIPXDestPort
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// parse reads "NETWORK:NODE:PORT", all hexadecimal; the node may be missing.
func (a *IPXAddr) parse(text string) bool {
	i := bytes.LastIndexByte([]byte(text), ':')
	if i < 0 {
		return false
	}
	s := scanLine([]byte(text[i+1:]))
	*a = IPXAddr{}
	scanHex(&s, &a.Port, len(text))
	network, node, _ := bytes.Cut([]byte(text[:i]), []byte(":"))
	s = scanLine(network)
	scanHex(&s, &a.Network, 8)
	if len(node) >= hex.EncodedLen(len(a.Node)) {
		if _, err := hex.Decode(a.Node[:], node[:12]); err != nil {
			a.Node = [6]byte{}
		}
	}
	return true
}

// legacyLine is the longest piece of a line that net-tools reads at a time
// from the files of the families other than Internet and Unix.
const legacyLine = 256
