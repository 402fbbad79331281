package view

import (
	"errors"
	"fmt"
	"iter"
	"os"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// socketPrinter prints sockets in one form.
type socketPrinter interface {
	// owners is called before all rows if there are owners to print.
	owners(*snapshot.Owners)
	internetTitle(output.Listening)
	unixTitle(output.Listening)
	socket(*snapshot.Socket)
	sctpEndpoint(*snapshot.SCTPEndpoint)
	sctpAssociation(*snapshot.SCTPAssociation)
	unixSocket(*snapshot.UnixSocket)
}

// socketTables shows the tables of the socket view in one round.
type socketTables struct {
	*session
	selected Selection
	shown    output.Listening
	printer  socketPrinter
	selector *selector // nil: all rows are shown
	loaded   bool      // owners are read
}

// sockets shows the parts of the socket view in netstat's order and stops at
// the first that fails.
func (s *session) sockets() error {
	sel := s.opts.Select()
	if s.opts.Summary != nil {
		sel = sel.withoutLegacy()
	}
	if err := s.checkFilter(&sel); err != nil {
		return err
	}
	t := &socketTables{session: s, selected: sel, shown: s.opts.Shown(), printer: s.socketPrinter(), selector: s.selector()}
	all := t.selector == nil
	legacy := s.legacyTables(&sel)
	for _, part := range []struct {
		selected bool
		show     func() error
	}{
		{sel.Protocols.Any(), t.header},
		{sel.TCP, func() error { return t.inet(snapshot.TCP, s.opts.TCP) }},
		{sel.SCTP, t.sctp},
		{sel.UDP, func() error { return t.inet(snapshot.UDP, s.opts.UDP) }},
		{sel.UDPLite, func() error { return t.inet(snapshot.UDPLite, s.opts.UDPLite) }},
		{sel.Raw, func() error { return t.inet(snapshot.Raw, s.opts.Raw) }},
		{sel.Groups, func() error { return s.groups(&sel) }},
		{sel.Unix, t.unix},
		{all && sel.IPX, legacy.ipx},
		{all && sel.AX25, legacy.ax25},
		{all && sel.X25, legacy.x25},
		{all && sel.NetROM, legacy.netrom},
		{all && sel.ROSE, legacy.rose},
		{sel.Bluetooth, s.bluetooth},
	} {
		if !part.selected {
			continue
		}
		if err := part.show(); err != nil {
			return err
		}
	}
	if sums, ok := t.printer.(*summedSockets); ok {
		return s.tellSummary(sums)
	}
	return nil
}

// header reads the owners, which comes first so that their warning does, and
// prints the title of the Internet tables.
func (t *socketTables) header() error {
	if err := t.loadOwners(); err != nil {
		return err
	}
	t.printer.internetTitle(t.shown)
	return nil
}

// loadOwners reads which process holds which socket, once a round.
func (t *socketTables) loadOwners() error {
	if !t.opts.Programs && !t.selector.needsOwners() || t.loaded {
		return nil
	}
	t.loaded = true
	owners := t.reader.owners(&t.selected)
	if owners == nil {
		var err error
		if owners, err = snapshot.ReadOwners(t.env.Proc, t.opts.Context); err != nil {
			return t.openFailure("", err)
		}
	}
	if t.opts.Programs {
		t.printer.owners(owners)
	}
	if t.selector.needsOwners() {
		t.selector.owners = owners
	}
	switch {
	case !owners.Denied:
	case owners.Empty():
		t.warn("(No info could be read for \"-p\": geteuid()=%d but you should be root.)", os.Geteuid())
	default:
		fmt.Fprint(t.env.Stderr, "(Not all processes could be identified, non-owned process info\n will not be shown, you would have to be root to see it all.)\n")
	}
	return nil
}

// inet shows the tables of a protocol. The absence of the IPv4 file is reported
// when the protocol was named; that of the IPv6 file never is.
func (t *socketTables) inet(p snapshot.Protocol, named bool) error {
	read, err := t.reader.sockets(p, t.selected.IPv4, t.selected.IPv6)
	if err != nil {
		return err
	}
	kind := p.String()
	if p == snapshot.UDPLite {
		kind = "udp"
	}
	return eachFamily(t, "AF INET ("+p.String()+")", named, kind, read, func(s *snapshot.Socket) {
		if t.shown.Shows(!s.Connected()) && t.selector.socket(s) {
			t.printer.socket(s)
		}
	})
}

// sctp shows the endpoints, which are the servers, and the associations.
func (t *socketTables) sctp() error {
	const name = "AF INET (sctp)"
	if t.shown != output.WithoutServers {
		read := func(ipv6 bool) (iter.Seq2[snapshot.SCTPEndpoint, error], error) {
			return snapshot.ReadSCTPEndpoints(t.env.Proc, ipv6)
		}
		err := eachFamily(t, name, t.opts.SCTP, "sctp eps", read, func(e *snapshot.SCTPEndpoint) {
			if t.selector.endpoint(e) {
				t.printer.sctpEndpoint(e)
			}
		})
		if err != nil {
			return err
		}
	}
	if t.shown == output.OnlyServers {
		return nil
	}
	read := func(ipv6 bool) (iter.Seq2[snapshot.SCTPAssociation, error], error) {
		return snapshot.ReadSCTPAssociations(t.env.Proc, ipv6)
	}
	return eachFamily(t, name, t.opts.SCTP, "sctp assoc", read, func(a *snapshot.SCTPAssociation) {
		if t.selector.association(a) {
			t.printer.sctpAssociation(a)
		}
	})
}

// eachFamily reads the tables of the selected families and shows their rows.
// Lines that are no rows are reported as those of a kind.
func eachFamily[Row any](t *socketTables, name string, named bool, kind string,
	read func(ipv6 bool) (iter.Seq2[Row, error], error), show func(*Row),
) error {
	var failure error
	for _, ipv6 := range []bool{false, true} {
		if ipv6 && !t.selected.IPv6 || !ipv6 && !t.selected.IPv4 {
			continue
		}
		rows, err := read(ipv6)
		switch {
		case err == nil:
			if err := showRows(t, kind, rows, show); err != nil {
				return err
			}
		case ipv6:
			// netstat reports nothing, whatever the reason.
		default:
			failure = t.unreadable(table{subject: name, named: named, quiet: t.selected.Implied}, err)
			if failure != nil && !absent(err) {
				return failure
			}
		}
	}
	return failure
}

// showRows shows the rows of a table and reports lines that are none. It fails if
// some could not be read.
func showRows[Row any](t *socketTables, kind string, rows iter.Seq2[Row, error], show func(*Row)) error {
	var row Row // one for all: what is shown by its address is not on the stack
	for r, err := range rows {
		if errors.Is(err, snapshot.ErrUnread) {
			return t.fail(StatusFailed, "nettrace: %v", err)
		}
		if err != nil {
			t.warn("warning, got bogus %s line.", kind)
			continue
		}
		row = r
		show(&row)
		if t.selector != nil && t.selector.err != nil {
			return t.fail(StatusFailed, "nettrace: %v", t.selector.err)
		}
	}
	return nil
}

// unix shows the Unix domain sockets. Their title comes before their file is
// opened.
func (t *socketTables) unix() error {
	if err := t.loadOwners(); err != nil {
		return err
	}
	t.printer.unixTitle(t.shown)
	rows, err := t.reader.unix()
	if err != nil {
		implied := t.selected.Implied
		return t.unreadable(table{subject: "AF UNIX", named: t.selected.Explicit && !implied, quiet: implied}, err)
	}
	return showRows(t, "unix", rows, func(u *snapshot.UnixSocket) {
		if t.shown.Shows(u.Listening()) && t.selector.unix(u) {
			t.printer.unixSocket(u)
		}
	})
}

// bluetooth reports that there are no such sockets: net-tools is built without
// them.
func (s *session) bluetooth() error {
	return s.fail(StatusFailed, "netstat: feature `AF BLUETOOTH' not supported.\nPlease recompile `net-tools' with newer kernel source or full configuration.")
}
