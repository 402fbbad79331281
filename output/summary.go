package output

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
)

// Summary is one table of a summary: how many rows or connections there are of each
// kind, and what was measured of them.
type Summary struct {
	Start   time.Time     // of the window that it is about
	Window  time.Duration // 0: the table of a view, which has no window
	Columns []SummaryColumn
	Rows    []SummaryRow
	Rest    SummaryRow // all that the rows leave out
	Total   SummaryRow // all there is; its keys are not known
	Cut     int        // groups that the rows leave out
	Over    uint64     // how often something belonged to a group that had no place
}

// SummaryColumn is a column of the table: a measure, or a key.
type SummaryColumn struct {
	Name    string // in records
	Title   string // in text
	Measure bool
	Kind    SummaryKind
}

// SummaryRow is a group: a cell for each column.
type SummaryRow struct {
	Count uint64 // of what is counted
	Cells []SummaryCell
}

// SummaryKind says how the cells of a column are written.
type SummaryKind uint8

// The kinds.
const (
	SummaryNumber   SummaryKind = iota // a number
	SummarySize                        // a number of bytes
	SummaryDuration                    // a time in ns
	SummaryMicros                      // a time in ns, of which records have µs
	SummaryMean                        // a mean of numbers: Mean; records have it in thousandths
	SummaryString                      // Text, as whoever chose it wrote it
	SummaryHex                         // a number that records and text have in 16 hex digits
	SummaryID                          // a 64-bit number, a string in records
	SummaryState                       // a TCP state
	SummaryErrno                       // an error number
	SummaryFlag                        // 1: true
)

// SummaryCell is a value of a group. What is not known has no value.
type SummaryCell struct {
	Known  bool
	Number uint64
	Mean   float64
	Text   string
}

// SummaryText writes summaries as text: the measures first, as "uniq -c" has them, and
// then the keys. No name can forge a line.
type SummaryText struct {
	ASCII  bool // the reader's locale is not UTF-8
	widths []int
}

// Append appends the table.
func (t *SummaryText) Append(dst []byte, s *Summary) []byte {
	rows := t.rows(s)
	if s.Window > 0 {
		dst = append(dst, "# "...)
		dst = s.Start.AppendFormat(dst, "2006-01-02 15:04:05 -07:00")
		dst = append(dst, ", "...)
		dst = append(dst, s.Window.Round(time.Millisecond).String()...)
		dst = append(dst, '\n')
	}
	for _, row := range rows {
		dst = t.appendRow(dst, s, row)
	}
	if s.Over > 0 {
		dst = append(dst, "# more groups than --summary-groups: "...)
		dst = strconv.AppendUint(dst, s.Over, 10)
		dst = append(dst, " counted in the rest\n"...)
	}
	if s.Window > 0 {
		dst = append(dst, '\n')
	}
	return dst
}

// rows returns the cells of all lines, and sets the widths of the columns. The keys of
// the rest and of the total are words in place of the first one.
func (t *SummaryText) rows(s *Summary) [][]string {
	titles := make([]string, len(s.Columns))
	for i := range s.Columns {
		titles[i] = s.Columns[i].Title
	}
	rows := [][]string{titles}
	for i := range s.Rows {
		rows = append(rows, t.texts(s, &s.Rows[i], ""))
	}
	if s.Cut > 0 || s.Over > 0 {
		rows = append(rows, t.texts(s, &s.Rest, t.rest(s)))
	}
	if len(rows) > 2 {
		rows = append(rows, t.texts(s, &s.Total, "total"))
	}
	t.widths = make([]int, len(s.Columns))
	for _, row := range rows {
		for i, cell := range row {
			t.widths[i] = max(t.widths[i], cellsOf([]byte(cell)))
		}
	}
	return rows
}

// rest is what stands for the keys of what is left out.
func (t *SummaryText) rest(s *Summary) string {
	dots := "… "
	if t.ASCII {
		dots = "... "
	}
	return dots + strconv.Itoa(s.Cut) + " more"
}

// texts returns the cells of a row. A word stands for its keys.
func (t *SummaryText) texts(s *Summary, row *SummaryRow, word string) []string {
	cells := make([]string, len(s.Columns))
	for i := range s.Columns {
		switch {
		case s.Columns[i].Measure || word == "":
			cells[i] = t.cell(s.Columns[i].Kind, &row.Cells[i])
		default:
			cells[i], word = word, " "
		}
	}
	return cells
}

func (t *SummaryText) cell(kind SummaryKind, c *SummaryCell) string {
	if !c.Known {
		return "-"
	}
	switch kind {
	case SummarySize:
		return string(appendBytes(nil, c.Number, " "))
	case SummaryDuration, SummaryMicros:
		return string(appendMillis(nil, c.Number, " "))
	case SummaryMean:
		return strconv.FormatFloat(c.Mean, 'f', 1, 64)
	case SummaryString:
		return string(appendVisible(nil, c.Text, t.ASCII))
	case SummaryHex:
		return string(appendHex64(nil, c.Number))
	case SummaryState:
		return snapshot.State(c.Number).String()
	case SummaryErrno:
		return errnoText(c.Number)
	case SummaryFlag:
		return strconv.FormatBool(c.Number != 0)
	}
	return strconv.FormatUint(c.Number, 10)
}

// errnoText returns the name of an error, or its number if it has none.
func errnoText(number uint64) string {
	if name := unix.ErrnoName(unix.Errno(number)); name != "" {
		return name
	}
	return strconv.FormatUint(number, 10)
}

// appendRow appends a line: measures to the right of their columns, keys to the left.
func (t *SummaryText) appendRow(dst []byte, s *Summary, row []string) []byte {
	for i, cell := range row {
		if i > 0 {
			dst = append(dst, ' ')
		}
		pad := t.widths[i] - cellsOf([]byte(cell))
		if s.Columns[i].Measure {
			dst = appendBlanks(dst, pad)
			pad = 0
		}
		dst = appendBlanks(append(dst, cell...), pad)
	}
	return endRow(dst)
}

func appendBlanks(dst []byte, n int) []byte {
	for ; n > 0; n-- {
		dst = append(dst, ' ')
	}
	return dst
}
