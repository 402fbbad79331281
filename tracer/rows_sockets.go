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
	for p := snapshot.UDP; p <= snapshot.Raw; p++ {
		if !protocols.Covers(p) {
			continue
		}
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if r.family != 0 && r.family != uint16(family) {
				continue
			}
			if err := r.readSockets(inode, p, family); err != nil {
				return err
			}
		}
	}
	return nil
}

// readSockets reads the sockets of a protocol and a family: from sock_diag, or from /proc
// where that does not serve. Where there is no such file the kernel has no such sockets.
func (r *rowReader) readSockets(inode uint32, p snapshot.Protocol, family uint8) error {
	if !r.noDiag[p] {
		err := r.dumpAll(inode, snapshot.DiagQuery{Protocol: p, Family: family})
		if err == nil {
			return nil
		}
		r.noDiag[p] = errors.Is(err, unix.ENOENT) // the module is missing
	}
	err := r.readSocketFile(inode, p, family == unix.AF_INET6)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (r *rowReader) readSocketFile(inode uint32, p snapshot.Protocol, ipv6 bool) error {
	after := monotonic()
	proc := r.scope.proc()
	rows, err := snapshot.ReadSockets(proc, p, ipv6)
	if err != nil {
		return err
	}
	if ipv6 && ofMachine(proc) {
		rows = snapshot.WithDevices(rows, p)
	}
	part := rowPart{netns: inode}
	for s, err := range rows {
		if err == nil && s.Inode != 0 { // else there is nothing to know it by
			part.sockets = append(part.sockets, socketRow(&s, inode))
		}
	}
	part.before = monotonic()
	for i := range part.sockets {
		part.sockets[i].After, part.sockets[i].Time = after, part.before
	}
	r.parts <- part
	return nil
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
