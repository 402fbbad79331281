package view

import (
	"time"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// recordWriter writes rows as records. The record printers embed it. Titles are
// for tables: of records they only set the time at which a table was read.
type recordWriter struct {
	records *output.RowRecords
	at      time.Time
}

func (s *session) recordWriter() recordWriter { return recordWriter{records: s.records} }

func (w *recordWriter) begin() { w.at = time.Now() }

// flushIfFull keeps the buffer from growing with the table.
func (w *recordWriter) flushIfFull() {
	if w.records.Full() {
		_ = w.records.Flush() // the outlet never fails
	}
}

type socketRecords struct {
	recordWriter
	holders *snapshot.Owners // nil: not known
}

func (p *socketRecords) owners(o *snapshot.Owners) { p.holders = o }

func (p *socketRecords) internetTitle(output.Listening) {}

func (p *socketRecords) unixTitle(output.Listening) {}

func (p *socketRecords) socket(s *snapshot.Socket) {
	p.records.Socket(time.Now(), s, p.holders)
	p.flushIfFull()
}

func (p *socketRecords) sctpEndpoint(e *snapshot.SCTPEndpoint) {
	p.records.SCTPEndpoint(time.Now(), e, p.holders)
	p.flushIfFull()
}

func (p *socketRecords) sctpAssociation(a *snapshot.SCTPAssociation) {
	p.records.SCTPAssociation(time.Now(), a, p.holders)
	p.flushIfFull()
}

func (p *socketRecords) unixSocket(u *snapshot.UnixSocket) {
	p.records.Unix(time.Now(), u, p.holders)
	p.flushIfFull()
}

type groupRecords struct{ recordWriter }

func (p *groupRecords) title() {}

func (p *groupRecords) group(g *snapshot.Group) { p.records.Group(time.Now(), g) }

type legacyRecords struct {
	recordWriter
	warn func(format string, args ...any)
}

func (p *legacyRecords) title(string) { p.begin() }

func (p *legacyRecords) badLine(_, file string) { p.warn("problem reading data from /proc/%s", file) }

func (p *legacyRecords) ipx(s *snapshot.IPXSocket) { p.records.IPX(p.at, s) }

func (p *legacyRecords) ax25(s *snapshot.AX25Socket) { p.records.AX25(p.at, s) }

func (p *legacyRecords) x25(s *snapshot.X25Socket) { p.records.X25(p.at, s) }

func (p *legacyRecords) netrom(s *snapshot.NetROMSocket) { p.records.NetROM(p.at, s) }

func (p *legacyRecords) rose(s *snapshot.ROSESocket) { p.records.ROSE(p.at, s) }

type routeRecords struct{ recordWriter }

func (p *routeRecords) title(bool) { p.begin() }

func (p *routeRecords) route(r *snapshot.Route) { p.records.Route(p.at, r) }

func (p *routeRecords) cachedRoute(r *snapshot.CachedRoute) { p.records.CachedRoute(p.at, r) }

func (p *routeRecords) title6(bool) { p.begin() }

func (p *routeRecords) route6(r *snapshot.Route6) { p.records.Route6(p.at, r) }

func (p *routeRecords) legacyTitle(string) { p.begin() }

func (p *routeRecords) ax25(r *snapshot.AX25Route) { p.records.AX25Route(p.at, r) }

func (p *routeRecords) x25(r *snapshot.X25Route) { p.records.X25Route(p.at, r) }

func (p *routeRecords) netrom(r *snapshot.NetROMRoute) { p.records.NetROMRoute(p.at, r) }

func (p *routeRecords) rose(r *snapshot.ROSERoute) { p.records.ROSERoute(p.at, r) }

type interfaceRecords struct{ recordWriter }

func (p *interfaceRecords) title(bool) {}

func (p *interfaceRecords) iface(i *snapshot.Interface) { p.records.Interface(time.Now(), i) }

type statisticsRecords struct{ recordWriter }

// section writes each counter, zeros included.
func (p *statisticsRecords) section(s *snapshot.StatSection) {
	p.begin()
	for _, c := range s.Counters {
		p.records.Statistic(p.at, s.Title, c)
	}
}

func (p *statisticsRecords) skip(*snapshot.StatSection) {}

type masqueradeRecords struct{ recordWriter }

func (p *masqueradeRecords) title() { p.begin() }

func (p *masqueradeRecords) masquerade(m *snapshot.Masquerade) { p.records.Masquerade(p.at, m) }

// RecordKinds returns the kinds of records that a view shows.
func (o *Options) RecordKinds() []output.RecordKind {
	switch sel := o.Select(); {
	case o.Kind == Routes:
		return []output.RecordKind{output.RouteRecords}
	case o.Kind == Interfaces:
		return []output.RecordKind{output.InterfaceRecords}
	case o.Kind == Statistics:
		return []output.RecordKind{output.StatisticRecords}
	case o.Kind == Masquerade:
		return []output.RecordKind{output.MasqueradeRecords}
	case sel.Groups && sel.Protocols.Any():
		return []output.RecordKind{output.SocketRecords, output.GroupRecords}
	case sel.Groups:
		return []output.RecordKind{output.GroupRecords}
	}
	return []output.RecordKind{output.SocketRecords}
}
