package view

import (
	"io"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// textWriter writes netstat's text, row by row. The text printers embed it.
type textWriter struct {
	out io.Writer
	row []byte // buffer, used again for each row
}

// write writes what was appended to w.row[:0].
func (w *textWriter) write(row []byte) {
	w.row = row[:0]
	_, _ = w.out.Write(row)
}

func (s *session) textWriter() textWriter { return textWriter{out: s.env.Stdout} }

type textSockets struct {
	textWriter
	text output.SocketText
}

func (p *textSockets) owners(o *snapshot.Owners) { p.text.Owners = o }

func (p *textSockets) internetTitle(l output.Listening) {
	p.write(p.text.AppendInternetHeader(p.row, l))
}

func (p *textSockets) unixTitle(l output.Listening) { p.write(p.text.AppendUnixHeader(p.row, l)) }

func (p *textSockets) socket(s *snapshot.Socket) { p.write(p.text.AppendSocket(p.row, s)) }

func (p *textSockets) sctpEndpoint(e *snapshot.SCTPEndpoint) {
	p.write(p.text.AppendSCTPEndpoint(p.row, e))
}

func (p *textSockets) sctpAssociation(a *snapshot.SCTPAssociation) {
	p.write(p.text.AppendSCTPAssociation(p.row, a))
}

func (p *textSockets) unixSocket(u *snapshot.UnixSocket) { p.write(p.text.AppendUnix(p.row, u)) }

type textGroups struct {
	textWriter
	text output.GroupText
}

func (p *textGroups) title() { p.write(p.text.AppendTitle(p.row)) }

func (p *textGroups) group(g *snapshot.Group) { p.write(p.text.AppendGroup(p.row, g)) }

type textLegacy struct {
	textWriter
	text output.LegacyText
}

func (p *textLegacy) title(family string) { p.write(p.text.AppendTitle(p.row, family)) }

func (p *textLegacy) badLine(family, file string) {
	p.write(p.text.AppendBadLine(p.row, family, file))
}

func (p *textLegacy) ipx(s *snapshot.IPXSocket) { p.write(p.text.AppendIPX(p.row, s)) }

func (p *textLegacy) ax25(s *snapshot.AX25Socket) { p.write(p.text.AppendAX25(p.row, s)) }

func (p *textLegacy) x25(s *snapshot.X25Socket) { p.write(p.text.AppendX25(p.row, s)) }

func (p *textLegacy) netrom(s *snapshot.NetROMSocket) { p.write(p.text.AppendNetROM(p.row, s)) }

func (p *textLegacy) rose(s *snapshot.ROSESocket) { p.write(p.text.AppendROSE(p.row, s)) }

type textRoutes struct {
	textWriter
	text output.RouteText
}

func (p *textRoutes) title(cache bool) {
	if cache {
		p.write(p.text.AppendCacheTitle(p.row))
	} else {
		p.write(p.text.AppendTitle(p.row))
	}
}

func (p *textRoutes) route(r *snapshot.Route) { p.write(p.text.AppendRoute(p.row, r)) }

func (p *textRoutes) cachedRoute(r *snapshot.CachedRoute) {
	p.write(p.text.AppendCachedRoute(p.row, r))
}

func (p *textRoutes) title6(cache bool) { p.write(p.text.AppendTitle6(p.row, cache)) }

func (p *textRoutes) route6(r *snapshot.Route6) { p.write(p.text.AppendRoute6(p.row, r)) }

func (p *textRoutes) legacyTitle(family string) { p.write(p.text.AppendLegacyTitle(p.row, family)) }

func (p *textRoutes) ax25(r *snapshot.AX25Route) { p.write(p.text.AppendAX25(p.row, r)) }

func (p *textRoutes) x25(r *snapshot.X25Route) { p.write(p.text.AppendX25(p.row, r)) }

func (p *textRoutes) netrom(r *snapshot.NetROMRoute) { p.write(p.text.AppendNetROM(p.row, r)) }

func (p *textRoutes) rose(r *snapshot.ROSERoute) { p.write(p.text.AppendROSE(p.row, r)) }

type textInterfaces struct {
	textWriter
	text output.InterfaceText
}

// title prints the title of the view, which later rounds do not have, and the
// names of the columns, which they do.
func (p *textInterfaces) title(firstRound bool) {
	if firstRound {
		p.write(p.text.AppendTitle(p.row))
	}
	p.write(p.text.AppendColumns(p.row))
}

func (p *textInterfaces) iface(i *snapshot.Interface) { p.write(p.text.AppendInterface(p.row, i)) }

type textStatistics struct {
	textWriter
	text output.StatisticsText
}

func (p *textStatistics) section(s *snapshot.StatSection) { p.write(p.text.AppendSection(p.row, s)) }

func (p *textStatistics) skip(s *snapshot.StatSection) { p.text.Skip(s) }

type textMasquerades struct {
	textWriter
	text output.MasqueradeText
}

func (p *textMasquerades) title() { p.write(p.text.AppendTitle(p.row)) }

func (p *textMasquerades) masquerade(m *snapshot.Masquerade) {
	p.write(p.text.AppendMasquerade(p.row, m))
}
