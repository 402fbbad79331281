package stream

import (
	"net/netip"

	"github.com/nettrace/nettrace/snapshot"
)

// timerRows are rows of /proc with the timers of TCP sockets, which the tracer does
// not follow.
type timerRows map[endpoints]*snapshot.Socket

// endpoints identify a socket of the initial table. Different namespaces may have
// the same addresses.
type endpoints struct {
	netns         uint32
	local, remote netip.AddrPort
}

// read reads the timers in each namespace that is traced. Where they cannot be read
// the column says off.
func (t timerRows) read(each func(read func(proc string, inode uint32) error) error) {
	_ = each(func(proc string, inode uint32) error {
		t.readNamespace(proc, inode)
		return nil
	})
}

func (t timerRows) readNamespace(proc string, inode uint32) {
	for _, ipv6 := range []bool{false, true} {
		rows, err := snapshot.ReadSockets(proc, snapshot.TCP, ipv6)
		if err != nil {
			continue
		}
		for row, err := range rows {
			if err == nil {
				t[endpoints{inode, row.Local, row.Remote}] = &row
			}
		}
	}
}
