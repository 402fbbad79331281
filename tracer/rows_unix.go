package tracer

import (
	"fmt"
	"slices"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// unixRow makes an event of a row of sock_diag. That names no peer but by its inode.
func unixRow(u *snapshot.UnixEnd, netns uint32) table.SocketEvent {
	e := table.SocketEvent{
		Protocol: snapshot.Unix, Type: u.Type, State: u.State, Netns: netns, Shown: true,
		Cookie: u.Cookie, Inode: u.Inode, UID: u.UID, HasUID: u.HasUID,
		Unix: table.UnixEvent{
			Name: slices.Clone(u.Name), Named: u.Named, HasSocket: true, PeerInode: u.PeerInode,
		},
	}
	if u.HasPeer {
		e.Unix.Peer = table.PeerByInode
	}
	return e
}

// unixIter returns what reads all Unix sockets of the calling thread's namespace into the
// ring buffer, and reports whether that had room for all; nil: there is no such iterator.
func (h *hooks) unixIter() func() (whole bool, err error) {
	if h.chosen[UnixRows] == "" {
		return nil
	}
	leftOut := h.maps.Variables[socketsVarUnixRowsLeftOut]
	return func() (bool, error) {
		var before, after uint32
		if err := leftOut.Get(&before); err != nil {
			return false, fmt.Errorf("read the rows of Unix sockets: %w", err)
		}
		if err := h.runIter(socketsProgUnixRows); err != nil {
			return false, err
		}
		if err := leftOut.Get(&after); err != nil {
			return false, fmt.Errorf("read the rows of Unix sockets: %w", err)
		}
		return before == after, nil
	}
}
