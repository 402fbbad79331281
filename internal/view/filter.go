package view

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/snapshot"
)

// selector decides which rows of a round the filter selects. It reads what is needed
// beside the rows when the first row is there that needs it.
type selector struct {
	program *filter.Program // nil: a summary has the rows completed
	needs   field.Need
	reader  *reader
	owners  *snapshot.Owners // nil: not needed

	subject    field.Subject
	head       snapshot.Head // of what has none of its own
	attributes map[snapshot.Protocol]*snapshot.Attributes
	unixNames  snapshot.UnixNames
	unixPeers  snapshot.UnixPeers
	described  map[*snapshot.Process]*snapshot.Process
	err        error // the first one of reading
}

// selector returns what decides about rows; nil: there is no filter.
func (s *session) selector() *selector {
	if s.opts.Filter == nil {
		return nil
	}
	return s.newSelector(s.opts.Filter, s.opts.Filter.Needs())
}

func (s *session) newSelector(program *filter.Program, needs field.Need) *selector {
	return &selector{
		program: program, needs: needs, reader: &s.reader,
		attributes: map[snapshot.Protocol]*snapshot.Attributes{}, described: map[*snapshot.Process]*snapshot.Process{},
	}
}

// checkFilter says that a filter does not know the rows that are asked for.
func (s *session) checkFilter(sel *Selection) error {
	if s.opts.Filter == nil || !sel.Explicit {
		return nil
	}
	if others := sel.others(); len(others) > 0 {
		return &Error{StatusUsage, "nettrace: --filter selects among Internet and Unix sockets, not " + others[0]}
	}
	return nil
}

// needsOwners reports whether rows are decided by their owners.
func (s *selector) needsOwners() bool { return s != nil && s.needs&field.Owners != 0 }

// socket reports whether a row of the Internet tables is selected.
func (s *selector) socket(row *snapshot.Socket) bool {
	if s == nil {
		return true
	}
	s.subject.SetSocket(row)
	s.setAttributes(row)
	s.setOwner()
	return s.program.Match(&s.subject)
}

// unix reports whether a Unix socket is selected.
func (s *selector) unix(row *snapshot.UnixSocket) bool {
	if s == nil {
		return true
	}
	s.subject.SetUnix(row, &s.head)
	s.setName(row)
	s.setOwner()
	return s.program.Match(&s.subject)
}

// setName takes the whole names of a socket and of its peer: netstat's text cuts them at
// white space, and has none of the peer.
func (s *selector) setName(row *snapshot.UnixSocket) {
	if !s.reader.live() {
		return
	}
	wantsPeer := s.program.Needs()&field.Peers != 0
	if s.unixNames == nil && (wantsPeer || !s.reader.opts.JSON) {
		s.readUnix(wantsPeer)
	}
	if name, ok := s.unixNames[row.Inode]; ok {
		s.subject.Name = unixName(name)
	}
	if peer, ok := s.unixPeers[row.Inode]; ok {
		name, known := s.unixNames[peer]
		s.subject.Peer, s.subject.HasPeer = unixName(name), known
	}
}

// readUnix reads the names, and the peers. Where that is refused, those of the file
// serve, and no peer is known.
func (s *selector) readUnix(peers bool) {
	if s.unixNames, _ = snapshot.ReadUnixNames(); s.unixNames == nil {
		s.unixNames = snapshot.UnixNames{}
	}
	if peers {
		s.unixPeers, _ = snapshot.ReadUnixPeers()
	}
}

// unixName spells a name as /proc does: that of an abstract socket begins with @.
func unixName(name string) string { return strings.ReplaceAll(name, "\x00", "@") }

// endpoint reports whether an SCTP endpoint is selected by one of its addresses.
func (s *selector) endpoint(e *snapshot.SCTPEndpoint) bool {
	if s == nil {
		return true
	}
	head := snapshot.Head{State: snapshot.State(e.State), UID: e.UID, Inode: e.Inode}
	return s.pairs(head, e.Local, nil, e.Port, 0)
}

// association reports whether an SCTP association is selected by a pair of its
// addresses.
func (s *selector) association(a *snapshot.SCTPAssociation) bool {
	if s == nil {
		return true
	}
	head := snapshot.Head{
		State: snapshot.State(a.State), UID: a.UID, Inode: a.Inode, RecvQ: uint64(a.RecvQ), SendQ: uint64(a.SendQ),
	}
	return s.pairs(head, a.Local, a.Remote, a.LPort, a.RPort)
}

// pairs tries the addresses of both ends with one another. An end without any has an
// unspecified one.
func (s *selector) pairs(head snapshot.Head, local, remote []netip.Addr, lport, rport uint16) bool {
	s.head = head
	if len(local) == 0 {
		local = []netip.Addr{netip.IPv4Unspecified()}
	}
	for _, l := range local {
		peers := remote
		if len(peers) == 0 {
			peers = []netip.Addr{unspecified(l)}
		}
		for _, r := range peers {
			s.head.Local, s.head.Remote = netip.AddrPortFrom(l, lport), netip.AddrPortFrom(r, rport)
			s.subject.SetSCTP(&s.head)
			s.setOwner()
			if s.program.Match(&s.subject) {
				return true
			}
		}
	}
	return false
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// setAttributes joins what sock_diag alone knows, if it is asked for.
func (s *selector) setAttributes(row *snapshot.Socket) {
	if s.needs&field.Attributed == 0 {
		return
	}
	table, read := s.attributes[row.Protocol]
	if !read {
		var err error
		if table, err = s.readAttributes(row.Protocol, s.needs&field.Autobound != 0); err != nil && s.err == nil {
			s.err = fmt.Errorf("--filter or --summary: sock_diag has what it asks for, and cannot be asked for %s: %w", row.Protocol, err)
		}
		s.attributes[row.Protocol] = table
	}
	if table != nil {
		s.subject.Attr = table.Of(row)
	}
}

func (s *selector) readAttributes(p snapshot.Protocol, autobound bool) (*snapshot.Attributes, error) {
	if !s.reader.live() {
		return nil, fmt.Errorf("%s is not this machine's", s.reader.proc)
	}
	return snapshot.ReadAttributes(p, autobound)
}

// setOwner joins the processes that hold the socket, if they are asked for.
func (s *selector) setOwner() {
	h := s.subject.Head
	if s.owners == nil || h.Inode == 0 {
		return
	}
	first := true
	for p := range s.owners.All(h.Inode) {
		p = s.describe(p)
		if first {
			h.Owner = snapshot.Owner{Process: p, Source: snapshot.OwnerFiles}
			if s.needs&field.Contained != 0 {
				h.Workload = s.reader.workloads.Of(p)
			}
			first = false
			continue
		}
		s.subject.Others = append(s.subject.Others, p)
	}
}

// describe adds the name and the executable of a process, each process once.
func (s *selector) describe(p *snapshot.Process) *snapshot.Process {
	if s.needs&field.Details == 0 {
		return p
	}
	whole, ok := s.described[p]
	if !ok {
		whole = snapshot.Describe(s.reader.proc, p)
		s.described[p] = whole
	}
	return whole
}

// filteredOptions returns the options of a run with a filter: one that names a state
// says which sockets are shown, and -a and -l do not.
func filteredOptions(o Options) Options {
	if o.Filter != nil && o.Filter.AsksState() {
		o.All, o.Listening = true, false
	}
	return o
}
