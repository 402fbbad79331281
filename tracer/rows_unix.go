package tracer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// readUnix reads the Unix sockets of the calling thread's namespace: by the iterator, whose
// rows come by the ring buffer, and from elsewhere where there is none, or it had no room.
func (r *rowReader) readUnix(inode uint32) error {
	if r.unixIter != nil {
		if whole, err := r.unixIter(); err != nil || whole {
			return err
		}
	}
	rows, err := readUnixEnds(r.scope.proc(), inode)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		r.parts <- rowPart{netns: inode, before: rows[0].Time, sockets: rows}
	}
	return nil
}

// readUnixEnds reads the Unix sockets of the calling thread's namespace from sock_diag, or
// from /proc where the kernel lacks the module. Where there is no such file it has no such
// sockets.
func readUnixEnds(proc string, netns uint32) (rows []table.SocketEvent, err error) {
	after := monotonic()
	err = errNoDiag
	if ofMachine(proc) {
		err = snapshot.ReadUnixEnds(func(u *snapshot.UnixEnd) { rows = append(rows, unixRow(u, netns)) })
	}
	if err != nil {
		if rows, err = readUnixFile(proc, netns); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	setSpan(rows, after)
	return rows, err
}

// readUnixFile reads them from /proc. Those that wait for accept() have no inode, so that
// nothing tells one from another.
func readUnixFile(proc string, netns uint32) (rows []table.SocketEvent, err error) {
	found, err := snapshot.ReadUnix(proc)
	if err != nil {
		return nil, err
	}
	for u, err := range found {
		if err == nil && u.Inode != 0 {
			rows = append(rows, unixFileRow(&u, netns))
		}
	}
	return rows, nil
}

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

// unixFileRow makes an event of a row of /proc, which has neither peer nor user.
func unixFileRow(u *snapshot.UnixSocket, netns uint32) table.SocketEvent {
	const connected = 3 // SS_CONNECTED
	e := table.SocketEvent{
		Protocol: snapshot.Unix, Type: uint8(u.Type), State: snapshot.Close, Netns: netns, Shown: true,
		Inode: uint32(u.Inode), Unix: table.UnixEvent{HasSocket: true},
	}
	switch {
	case u.Listening():
		e.State = snapshot.Listen
	case u.State == connected:
		e.State = snapshot.Established
	}
	if name := []byte(u.Path); len(name) > 0 {
		if name[0] == '@' {
			name[0] = 0
		}
		e.Unix.Name, e.Unix.Named = name, true
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
