package tracer

import (
	"errors"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// readOthers reads the sockets of the calling thread's namespace that are not TCP's.
func (r *rowReader) readOthers(inode uint32, protocols Protocols) error {
	if protocols.Has(Unix) {
		if err := r.readUnix(inode); err != nil {
			return err
		}
	}
	for p, family := range protocols.files(r.family) {
		if err := r.readSockets(inode, p, family); err != nil {
			return err
		}
	}
	return nil
}

// readSockets reads the sockets of a protocol and a family: from sock_diag, or from /proc
// where that does not serve.
func (r *rowReader) readSockets(inode uint32, p snapshot.Protocol, family uint8) error {
	if !r.noDiag[p] {
		err := r.dumpAll(inode, snapshot.DiagQuery{Protocol: p, Family: family})
		if err == nil {
			return nil
		}
		r.noDiag[p] = errors.Is(err, unix.ENOENT) // the module is missing
	}
	rows, err := readSocketFile(r.scope.proc(), inode, p, family == unix.AF_INET6)
	if len(rows) > 0 {
		r.parts <- rowPart{netns: inode, before: rows[0].Time, sockets: rows}
	}
	return err
}

// readSocketFile reads the sockets of a file of /proc, but for those that have nothing to
// know them by. There are none where there is no such file.
func readSocketFile(proc string, netns uint32, p snapshot.Protocol, ipv6 bool) ([]table.SocketEvent, error) {
	after := monotonic()
	rows, err := snapshot.ReadSockets(proc, p, ipv6)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	if ipv6 && ofMachine(proc) {
		rows = snapshot.WithDevices(rows, p)
	}
	var events []table.SocketEvent
	for s, err := range rows {
		if err == nil && s.Inode != 0 {
			events = append(events, socketRow(&s, netns))
		}
	}
	setSpan(events, after)
	return events, nil
}

// setSpan says that rows were read between a time and now.
func setSpan(rows []table.SocketEvent, after uint64) {
	before := monotonic()
	for i := range rows {
		rows[i].After, rows[i].Time = after, before
	}
}

// socketRow makes an event of a row that was read.
func socketRow(s *snapshot.Socket, netns uint32) table.SocketEvent {
	e := table.SocketEvent{
		Protocol: s.Protocol, Type: syscall.SOCK_DGRAM, State: s.State, Netns: netns, Shown: true,
		Cookie: s.Cookie, Local: s.Local, Remote: s.Remote, Device: s.Device, Inode: uint32(s.Inode),
		UID: s.UID, HasUID: hasUser(s), RecvQ: s.RecvQ, SendQ: s.SendQ,
	}
	if s.Protocol == snapshot.Raw {
		e.Type = syscall.SOCK_RAW
	}
	return e
}
