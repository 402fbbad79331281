package view

import (
	"errors"
	"io/fs"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
)

// diag begins to read the sockets of a protocol from sock_diag. The error is
// errors.ErrUnsupported where sock_diag is not asked, else the reason why it does not
// serve.
func (r *reader) diag(p snapshot.Protocol, ipv4, ipv6 bool) (familyReader, error) {
	if !r.diagSuffices(p) {
		return nil, errors.ErrUnsupported
	}
	for _, v6 := range families(ipv4, ipv6) {
		// The absence of the IPv6 file is no error, and sock_diag has no rows then.
		err := snapshot.CheckSocketFile(r.proc, p, v6)
		if err != nil && !(v6 && ipv4 && errors.Is(err, fs.ErrNotExist)) {
			return nil, errors.ErrUnsupported // /proc has the error
		}
	}
	if p == snapshot.TCP && ipv4 && ipv6 {
		table, err := r.loadDiag(p, unix.AF_UNSPEC)
		if err != nil {
			return nil, err
		}
		return func(v6 bool) (iter.Seq2[snapshot.Socket, error], error) { return table.Sockets(v6), nil }, nil
	}
	return r.diagByFamily(p, families(ipv4, ipv6))
}

// families lists the families to be read, IPv6 as true.
func families(ipv4, ipv6 bool) []bool {
	var list []bool
	if ipv4 {
		list = append(list, false)
	}
	if ipv6 {
		list = append(list, true)
	}
	return list
}

// diagByFamily reads each family by a dump of its own, all at once.
func (r *reader) diagByFamily(p snapshot.Protocol, wanted []bool) (familyReader, error) {
	tables := map[bool]*snapshot.DiagTable{}
	for _, v6 := range wanted {
		family := uint8(unix.AF_INET)
		if v6 {
			family = unix.AF_INET6
		}
		table, err := r.loadDiag(p, family)
		if err != nil {
			for _, t := range tables {
				t.Close()
			}
			return nil, err
		}
		tables[v6] = table
	}
	return func(v6 bool) (iter.Seq2[snapshot.Socket, error], error) { return tables[v6].Sockets(v6), nil }, nil
}

func (r *reader) loadDiag(p snapshot.Protocol, family uint8) (*snapshot.DiagTable, error) {
	return snapshot.LoadDiag(snapshot.DiagOptions{Protocol: p, Family: family, Users: r.opts.Extend > 0, Proc: r.proc})
}

// diagSuffices reports whether sock_diag is to be asked: it has all that is shown, in
// the order of /proc. Timers are in /proc only, and JSON always has them.
func (r *reader) diagSuffices(p snapshot.Protocol) bool {
	if r.opts.Source == "proc" || r.proc != DefaultProc || r.opts.Timers || r.opts.JSON {
		return false
	}
	return p != snapshot.TCP || !r.opts.Shown().Shows(true) || snapshot.ListenersInOrder()
}
