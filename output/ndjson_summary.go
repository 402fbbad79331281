package output

import (
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// summaryRecords writes the records of summaries.
type summaryRecords struct{ *encoder }

// Summary appends the records of a summary, as RowRecords does, and returns how many
// that are.
func (w *NDJSON) Summary(at time.Time, s *Summary) int {
	return summaryRecords{&w.encoder}.Summary(at, s)
}

// Summary appends the "agg" records of a summary: one for each row, one for what they
// leave out, if that is something, and one for the total. It returns how many that are.
func (w summaryRecords) Summary(at time.Time, s *Summary) int {
	before := w.seq
	for i := range s.Rows {
		w.beginSummary(at, s)
		w.uint(`,"rank":`, uint64(i+1))
		w.summaryRow(s, &s.Rows[i], true)
		w.endWhole()
	}
	if s.Cut > 0 || s.Over > 0 {
		w.beginSummary(at, s)
		w.flag(`,"rest":`, true)
		w.uint(`,"groups":`, uint64(s.Cut))
		w.uint(`,"groups_over":`, s.Over)
		w.summaryRow(s, &s.Rest, false)
		w.endWhole()
	}
	w.beginSummary(at, s)
	w.flag(`,"total":`, true)
	w.uint(`,"groups":`, uint64(len(s.Rows)+s.Cut))
	w.summaryRow(s, &s.Total, false)
	w.endWhole()
	return int(w.seq - before)
}

func (w summaryRecords) beginSummary(at time.Time, s *Summary) {
	w.beginAt("agg", at)
	if s.Window > 0 {
		w.time(`,"window_start":`, s.Start.UnixNano())
		w.uint(`,"window_ns":`, uint64(s.Window))
	}
}

// summaryRow adds the cells of a row.
func (w summaryRecords) summaryRow(s *Summary, row *SummaryRow, keys bool) {
	w.uint(`,"count":`, row.Count)
	for i := range s.Columns {
		c := &s.Columns[i]
		if cell := &row.Cells[i]; cell.Known && c.Name != "count" && (keys || c.Measure) {
			w.summaryCell(`,"`+c.Name+`":`, c.Kind, cell, len(s.Columns)-i-1)
		}
	}
}

// cellMax is how much a key and its number take at most.
const cellMax = 64

// summaryCell adds a cell, after which others come.
func (w summaryRecords) summaryCell(key string, kind SummaryKind, c *SummaryCell, others int) {
	switch kind {
	case SummaryString:
		w.summaryText(key, c.Text, w.room()-(others+1)*cellMax)
		return
	case SummaryMicros:
		w.uint(key, c.Number/uint64(time.Microsecond))
	case SummaryMean:
		w.uint(key, uint64(c.Mean*1000+0.5))
	case SummaryHex:
		w.key(key)
		w.buf = append(appendHex64(append(w.buf, '"'), c.Number), '"')
	case SummaryID:
		w.id(key, c.Number)
	case SummaryState:
		w.state(key, snapshot.State(c.Number))
	case SummaryErrno:
		w.word(key, errnoText(c.Number))
	case SummaryFlag:
		w.flag(key, c.Number != 0)
	default:
		w.uint(key, c.Number)
	}
}

// summaryText adds a text that has room, as far as there is some.
func (w summaryRecords) summaryText(key, text string, room int) {
	if room > 0 {
		w.str(key, text, min(room, textMax))
	} else if text != "" {
		w.cutHere()
	}
}
