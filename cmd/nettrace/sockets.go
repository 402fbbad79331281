package main

import (
	"fmt"
	"iter"
	"os"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// socketTables shows the tables of the socket view in one round.
type socketTables struct {
	*session
	selection
	tell   socketTeller
	loaded bool // owners are read
}

// socketTeller tells sockets in one form: netstat's text or records. What it
// writes may fail without ending the run, as in netstat.
type socketTeller interface {
	owners(*snapshot.Owners)
	internetTitle(output.Listening)
	unixTitle(output.Listening)
	socket(*snapshot.Socket)
	sctpEndpoint(*snapshot.SCTPEndpoint)
	sctpAssociation(*snapshot.SCTPAssociation)
	unixSocket(*snapshot.UnixSocket)
}

// sockets shows the parts of the socket view in netstat's order and stops at
// the first that fails.
func (s *session) sockets(sel selection) error {
	o := s.opts
	t := &socketTables{session: s, selection: sel, tell: s.teller()}
	parts := []struct {
		selected bool
		show     func() error
	}{
		{sel.header, t.header},
		{sel.tcp, func() error { return t.inet(snapshot.TCP, o.tcp) }},
		{sel.sctp, t.sctp},
		{sel.udp, func() error { return t.inet(snapshot.UDP, o.udp) }},
		{sel.udplite, func() error { return t.inet(snapshot.UDPLite, o.udplite) }},
		{sel.raw, func() error { return t.inet(snapshot.Raw, o.raw) }},
		{sel.groups, t.groups},
		{sel.unix, t.unix},
		{sel.ipx, func() error { return t.legacy(familyIPX) }},
		{sel.ax25, func() error { return t.legacy(familyAX25) }},
		{sel.x25, func() error { return t.legacy(familyX25) }},
		{sel.netrom, func() error { return t.legacy(familyNetrom) }},
		{sel.rose, func() error { return t.legacy(familyRose) }},
		{sel.bluetooth, t.bluetooth},
	}
	for _, part := range parts {
		if !part.selected {
			continue
		}
		if err := part.show(); err != nil {
			return err
		}
	}
	return nil
}

// kind says which sockets the options ask for.
func (o *options) kind() output.Listening {
	switch {
	case o.all:
		return output.ServersAndEstablished
	case o.listening:
		return output.OnlyServers
	}
	return output.WithoutServers
}

// shows reports whether a socket is asked for, given whether it is a server.
func (o *options) shows(server bool) bool {
	return o.all || o.listening == server
}

// header loads the owners, which comes first so that their warning does, and
// prints the title of the Internet tables.
func (t *socketTables) header() error {
	if err := t.loadOwners(); err != nil {
		return err
	}
	t.tell.internetTitle(t.opts.kind())
	return nil
}

// loadOwners reads which process holds which socket, once a round.
func (t *socketTables) loadOwners() error {
	if !t.opts.programs || t.loaded {
		return nil
	}
	t.loaded = true
	owners, err := t.readOwners(t.tcp)
	if err != nil {
		return err
	}
	t.tell.owners(owners)
	switch {
	case !owners.Denied:
	case owners.Empty():
		fmt.Fprintf(t.env.stderr, "(No info could be read for \"-p\": geteuid()=%d but you should be root.)\n", os.Geteuid())
	default:
		fmt.Fprint(t.env.stderr, "(Not all processes could be identified, non-owned process info\n will not be shown, you would have to be root to see it all.)\n")
	}
	return nil
}

// inet shows the tables of a protocol. The absence of the IPv4 file is told
// when the protocol was named; that of the IPv6 file never is.
func (t *socketTables) inet(p snapshot.Protocol, named bool) error {
	read, err := t.socketReader(p, t.v4 && t.v6)
	if err != nil {
		return err
	}
	kind := p.String()
	if p == snapshot.UDPLite {
		kind = "udp"
	}
	return eachFamily(t, "AF INET ("+p.String()+")", named, kind, read, func(s *snapshot.Socket) {
		if t.opts.shows(!s.Connected()) {
			t.tell.socket(s)
		}
	})
}

// sctp shows the endpoints, which are the servers, and the associations.
func (t *socketTables) sctp() error {
	const name = "AF INET (sctp)"
	if t.opts.all || t.opts.listening {
		read := func(ipv6 bool) (iter.Seq2[snapshot.SCTPEndpoint, error], error) {
			return snapshot.ReadSCTPEndpoints(t.opts.procRoot, ipv6)
		}
		if err := eachFamily(t, name, t.opts.sctp, "sctp eps", read, t.tell.sctpEndpoint); err != nil {
			return err
		}
	}
	if t.opts.listening && !t.opts.all {
		return nil
	}
	read := func(ipv6 bool) (iter.Seq2[snapshot.SCTPAssociation, error], error) {
		return snapshot.ReadSCTPAssociations(t.opts.procRoot, ipv6)
	}
	return eachFamily(t, name, t.opts.sctp, "sctp assoc", read, t.tell.sctpAssociation)
}

// eachFamily reads the tables of the selected families and shows their rows.
// Lines that are no rows are told as those of a kind.
func eachFamily[Row any](t *socketTables, name string, named bool, kind string,
	read func(ipv6 bool) (iter.Seq2[Row, error], error), show func(*Row),
) error {
	var failure error
	for _, ipv6 := range []bool{false, true} {
		if ipv6 && !t.v6 || !ipv6 && !t.v4 {
			continue
		}
		rows, err := read(ipv6)
		switch {
		case err == nil:
			showRows(t, kind, rows, show)
		case ipv6:
			// Netstat tells nothing, whatever the reason.
		case !absent(err):
			return openFailure(err)
		default:
			failure = t.missing(name, named, t.implied)
		}
	}
	return failure
}

// showRows shows the rows of a table and tells of lines that are none.
func showRows[Row any](t *socketTables, kind string, rows iter.Seq2[Row, error], show func(*Row)) {
	var row Row // one for all: what is shown by its address is not on the stack
	for r, err := range rows {
		if err != nil {
			fmt.Fprintf(t.env.stderr, "warning, got bogus %s line.\n", kind)
			continue
		}
		row = r
		show(&row)
	}
}

// unix shows the Unix domain sockets. Their title comes before their file is
// opened.
func (t *socketTables) unix() error {
	if err := t.loadOwners(); err != nil {
		return err
	}
	t.tell.unixTitle(t.opts.kind())
	rows, err := snapshot.ReadUnix(t.opts.procRoot)
	if err != nil && absent(err) {
		return t.missing("AF UNIX", t.explicit && !t.implied, t.implied)
	}
	if err != nil {
		return openFailure(err)
	}
	showRows(t, "unix", rows, func(u *snapshot.UnixSocket) {
		if t.opts.shows(u.Listening()) {
			t.tell.unixSocket(u)
		}
	})
	return nil
}

// groups shows the multicast groups.
func (t *socketTables) groups() error {
	o := output.GroupOptions{IPv4: t.v4, IPv6: t.v6, Names: t.hostNames(t.opts.numericHosts), Implied: t.implied}
	if t.json != nil {
		return t.json.Groups(t.env.stderr, t.opts.procRoot, o)
	}
	return output.Groups(t.env.stdout, t.env.stderr, t.opts.procRoot, o)
}

// legacy shows the sockets of a family that few kernels have.
func (t *socketTables) legacy(family string) error {
	o := output.LegacyOptions{
		All: t.opts.all, Extend: t.opts.extend > 0, Users: t.names,
		Explicit: t.explicit, Verbose: t.opts.verbose,
	}
	if t.json != nil {
		return t.json.LegacySockets(t.env.stderr, t.opts.procRoot, family, o)
	}
	return output.LegacySockets(t.env.stdout, t.env.stderr, t.opts.procRoot, family, o)
}

// bluetooth tells that there are no such sockets: net-tools is built without
// them.
func (t *socketTables) bluetooth() error {
	return failf("netstat: feature `AF BLUETOOTH' not supported.\nPlease recompile `net-tools' with newer kernel source or full configuration.")
}
