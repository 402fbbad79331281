package view

import (
	"net/netip"
	"time"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/summary"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// summedSockets sums up sockets instead of printing each.
type summedSockets struct {
	sum  *summary.Summary
	rows *selector // completes them
}

func (s *session) newSummedSockets() *summedSockets {
	needs := field.Need(0)
	for _, f := range s.opts.Summary.Fields() {
		needs |= f.Need
	}
	return &summedSockets{summary.New(s.opts.Summary, s.names.Users, &s.reader.devices), s.newSelector(nil, needs)}
}

// withoutLegacy takes out what has no fields to sum up by.
func (s Selection) withoutLegacy() Selection {
	s.IPX, s.AX25, s.X25, s.NetROM, s.ROSE = false, false, false, false, false
	return s
}

func (p *summedSockets) owners(o *snapshot.Owners) { p.rows.owners = o }

func (p *summedSockets) internetTitle(output.Listening) {}

func (p *summedSockets) unixTitle(output.Listening) {}

func (p *summedSockets) socket(s *snapshot.Socket) {
	row := *s
	p.rows.subject.SetSocket(&row)
	p.rows.setAttributes(&row)
	p.add()
}

// add counts the subject. Of several processes the first one counts, as in netstat.
func (p *summedSockets) add() {
	p.rows.setOwner()
	p.sum.AddRow(&p.rows.subject)
}

func (p *summedSockets) sctpEndpoint(e *snapshot.SCTPEndpoint) {
	p.sctp(snapshot.Head{State: snapshot.State(e.State), UID: e.UID, Inode: e.Inode, Local: sctpAddr(e.Local, e.Port)})
}

func (p *summedSockets) sctpAssociation(a *snapshot.SCTPAssociation) {
	p.sctp(snapshot.Head{
		State: snapshot.State(a.State), UID: a.UID, Inode: a.Inode,
		Local: sctpAddr(a.Local, a.LPort), Remote: sctpAddr(a.Remote, a.RPort),
		RecvQ: uint64(a.RecvQ), SendQ: uint64(a.SendQ),
	})
}

func (p *summedSockets) sctp(head snapshot.Head) {
	p.rows.head = head
	p.rows.subject.SetSCTP(&p.rows.head)
	p.add()
}

// sctpAddr returns the first address of a side, which is the primary one.
func sctpAddr(list []netip.Addr, port uint16) netip.AddrPort {
	if len(list) == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(list[0], port)
}

func (p *summedSockets) unixSocket(u *snapshot.UnixSocket) {
	p.rows.subject.SetUnix(u, &p.rows.head)
	p.rows.setName(u)
	p.add()
}

// tellSummary prints what the sockets of a round sum up to.
func (s *session) tellSummary(p *summedSockets) error {
	if p.rows.err != nil {
		return s.fail(StatusFailed, "nettrace: %v", p.rows.err)
	}
	t := p.sum.Table(time.Time{}, 0)
	if s.records != nil {
		s.records.Summary(time.Now(), &t)
		return nil
	}
	text := output.SummaryText{ASCII: s.opts.ASCII}
	_, _ = s.env.Stdout.Write(text.Append(nil, &t)) // of text: see Stdout
	return nil
}
