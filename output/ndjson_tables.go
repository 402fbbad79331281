package output

import (
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// Group appends the "group" record of a row of the multicast group view.
func (w tableRecords) Group(at time.Time, g *snapshot.Group) {
	w.beginAt("group", at)
	w.family(g.Addr)
	w.str(`,"iface":`, g.Iface, nameMax)
	w.int(`,"refcnt":`, int64(g.Users))
	w.addr(`,"group":`, g.Addr)
	w.end()
}

// Statistic appends the "statistic" record of a counter of the section with the
// given title.
func (w tableRecords) Statistic(at time.Time, title string, c snapshot.Counter) {
	w.beginAt("statistic", at)
	w.str(`,"section":`, title, textMax)
	w.str(`,"name":`, c.Name, textMax)
	if c.Negative {
		w.int(`,"value":`, int64(c.Value))
	} else {
		w.uint(`,"value":`, c.Value)
	}
	w.end()
}

// Masquerade appends the "masquerade" record of a masqueraded connection.
func (w tableRecords) Masquerade(at time.Time, m *snapshot.Masquerade) {
	w.beginAt("masquerade", at)
	w.str(`,"transport":`, m.Protocol, nameMax)
	w.endpoint(`,"source_addr":`, `,"source_port":`, m.Source)
	w.endpoint(`,"dest_addr":`, `,"dest_port":`, m.Dest)
	w.port(`,"port":`, m.Port)
	w.uint(`,"init_seq":`, m.InitSeq)
	w.int(`,"delta":`, int64(m.Delta))
	if m.HasPrevious {
		w.int(`,"previous_delta":`, int64(m.PreviousDelta))
	}
	if m.Expires <= ticksMax {
		w.ticks(`,"expires_ms":`, m.Expires)
	}
	w.end()
}
