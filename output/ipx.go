package output

import (
	"errors"
	"fmt"
	"io"

	"github.com/nettrace/nettrace/snapshot"
)

func ipxSockets(w, diag io.Writer, proc string, o *LegacyOptions) error {
	title := "Active IPX sockets\nProto Recv-Q Send-Q Local Address              Foreign Address            State"
	if o.Extend {
		title += " User"
	}
	badPort := ""
	rows := func(yield func(snapshot.IPXSocket, error) bool) {
		for row, err := range snapshot.IPXSockets(proc) {
			switch {
			case errors.Is(err, snapshot.ErrIPXSourcePort):
				badPort = "source"
			case errors.Is(err, snapshot.ErrIPXDestPort):
				badPort = "destination"
			default:
				if !yield(row, err) {
					return
				}
			}
		}
	}
	err := legacyTable(w, title, "", rows, func(r *tableRow, row snapshot.IPXSocket) {
		r.ipx(&row, o)
		r.end(w)
	})
	if err == nil && badPort != "" {
		return failed(diag, 255, "netstat.c: Internal Error `ipx socket format error in %s port'.", badPort)
	}
	return err
}

func (r *tableRow) ipx(s *snapshot.IPXSocket, o *LegacyOptions) {
	r.text("IPX   ")
	r.rightInt(int64(s.SendQ), 6)
	r.text(" ")
	r.rightInt(int64(s.RecvQ), 6)
	r.text(" ")
	r.left(ipxText(s.Local), 26)
	r.text(" ")
	remote := "-"
	if s.Connected {
		remote = ipxText(s.Remote)
	}
	r.left(remote, 26)
	r.text(" ")
	switch s.State {
	case 1:
		r.text("ESTAB")
	case 7: // not connected
		r.text("     ")
	default:
		r.text("UNK. ")
	}
	if o.Extend {
		r.text(" ")
		start := len(*r)
		*r = padTo(o.Users.AppendUser(*r, s.UID), start+10)
	}
}

// ipxText spells an address as netstat does: the port with its bytes swapped,
// no node of zeros, and nothing of a network that is none or all.
func ipxText(a snapshot.IPXAddr) string {
	text := ""
	if a.Network != 0 && a.Network != 0xffffffff {
		text = fmt.Sprintf("%08X", a.Network)
		if a.Node != [6]byte{} {
			text += fmt.Sprintf(":%02X", a.Node[:])
		}
	}
	return text + fmt.Sprintf(":%04X", a.Port>>8|a.Port<<8)
}
