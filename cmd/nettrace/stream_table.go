package main

import (
	"iter"
	"net/netip"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
)

// table prints the initial table of the stream as netstat prints it, and the
// header of the changes.
func (s *stream) table(rows iter.Seq[*tracer.Conn]) error {
	o := s.opts
	t := &output.SocketText{
		Names:    &output.Resolver{NumericHosts: true, NumericPorts: true, NumericUsers: o.numericUsers},
		Owners:   tableOwners(rows),
		Extend:   o.extend > 0,
		Programs: true,
		Timers:   o.timers,
		Wide:     true,
	}
	timers := map[endpoints]*snapshot.Socket{}
	if o.timers {
		timers = readTimers(o.procRoot)
	}
	s.text.Append(func(b []byte) []byte { return t.AppendInternetHeader(b, o.kind()) })
	for _, ipv6 := range []bool{false, true} {
		for c := range rows {
			if c.Local.Addr().Is6() != ipv6 || !s.wanted(c) {
				continue
			}
			row := socketRow(c, timers[endpoints{c.Local, c.Remote}])
			s.text.Append(func(b []byte) []byte { return t.AppendSocket(b, &row) })
			if err := s.flushIfFull(); err != nil {
				return err
			}
		}
	}
	s.text.Note("")
	s.text.Header()
	return s.flush()
}

type endpoints struct{ local, remote netip.AddrPort }

// readTimers reads the timers of TCP sockets, which the tracer does not follow.
// Where they cannot be read the column says off.
func readTimers(proc string) map[endpoints]*snapshot.Socket {
	timers := make(map[endpoints]*snapshot.Socket)
	for _, ipv6 := range []bool{false, true} {
		rows, err := snapshot.ReadSockets(proc, snapshot.TCP, ipv6)
		if err != nil {
			continue
		}
		for row, err := range rows {
			if err == nil {
				timers[endpoints{row.Local, row.Remote}] = &row
			}
		}
	}
	return timers
}

func socketRow(c *tracer.Conn, timer *snapshot.Socket) snapshot.Socket {
	row := snapshot.Socket{
		Protocol: snapshot.TCP, Local: c.Local, Remote: c.Remote, State: c.State,
		RecvQ: uint64(c.RecvQ), SendQ: uint64(c.SendQ), UID: c.UID, Inode: c.Inode,
	}
	if timer != nil {
		row.Timer, row.Expires, row.Retrans, row.Timeout = timer.Timer, timer.Expires, timer.Retrans, timer.Timeout
	}
	return row
}

// tableOwners gives the owners that the tracer knows in the form of the table.
func tableOwners(rows iter.Seq[*tracer.Conn]) *snapshot.Owners {
	owners := new(snapshot.Owners)
	known := make(map[*tracer.Process]*snapshot.Process)
	for row := range rows {
		p := row.Owner.Process
		if p == nil || row.Inode == 0 {
			continue
		}
		if known[p] == nil {
			known[p] = &snapshot.Process{PID: int(p.PID), Cmdline: []byte(p.Cmdline)}
		}
		owners.Put(row.Inode, known[p])
	}
	return owners
}
