package output

import "github.com/nettrace/nettrace/tracer/table"

// Escape sequences of ECMA-48, SGR: bold red, and back to normal.
const (
	colorFailure = "\x1b[1;31m"
	colorOff     = "\x1b[m"
)

// failed reports whether a connection ended as it should not: such ends stand
// out.
func failed(o table.Outcome) bool {
	return o != table.Finished && o != table.OutcomeUnknown
}

// ending appends how the connection ended, how long it lasted, and what it
// carried.
func (t *StreamText) ending(c *table.Change) {
	outcome := outcomeOf(c.Close)
	word := outcomes[outcome].text
	t.cell = append(t.cell[:0], word...)
	t.lasted(c)
	t.carried(c.Close)
	color := ""
	if failed(outcome) {
		color = colorFailure
	}
	t.aside(color)
}

// lasted adds the duration to the cell, if the begin was seen.
func (t *StreamText) lasted(c *table.Change) {
	if c.Conn.StartKnown && c.Time >= c.Conn.Start {
		t.cell = append(t.cell, ' ')
		t.cell = appendMillis(t.cell, c.Time-c.Conn.Start, t.layout.gap())
	}
}

// carried adds the amounts of data to the cell, if they are known.
func (t *StreamText) carried(c *table.Closed) {
	if !c.HasStats {
		return
	}
	sent, received := " ↑", " ↓"
	if t.style.ASCII {
		sent, received = " out ", " in "
	}
	t.cell = append(t.cell, sent...)
	t.cell = appendBytes(t.cell, c.BytesSent, t.layout.gap())
	t.cell = append(t.cell, received...)
	t.cell = appendBytes(t.cell, c.BytesReceived, t.layout.gap())
}
