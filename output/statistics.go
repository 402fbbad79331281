package output

import (
	"strconv"
	"strings"

	"github.com/nettrace/nettrace/snapshot"
)

// StatisticsText writes netstat's text of the protocols' counters, byte for
// byte. Rows are appended to a buffer of the caller.
//
// The rule of the last known row stays in force over sections that netstat does
// not know: while it is one of a histogram, rows that netstat does not know are
// indented by eight instead of four. So one StatisticsText writes all sections
// of a view, and Skip is called for those that are not shown.
type StatisticsText struct {
	mode statRule // statIn, statOut or statAlways
}

// AppendSection appends the rows of a section.
func (t *StatisticsText) AppendSection(dst []byte, section *snapshot.StatSection) []byte {
	t.Skip(section)
	var table map[string]statText
	if known := statTable(section); known != nil {
		table = known()
	}
	r := tableRow(dst)
	r.text(section.Title)
	r.text(":\n")
	for _, c := range section.Counters {
		if text, ok := table[c.Name]; ok {
			t.known(&r, text, c.Value)
		} else if c.Value != 0 {
			t.indented(&r, c.Name+": "+strconv.FormatUint(c.Value, 10))
		}
	}
	return r
}

// Skip passes over a section.
func (t *StatisticsText) Skip(section *snapshot.StatSection) {
	if KnownSection(section) {
		t.mode = statAlways
	}
}

// KnownSection reports whether netstat knows a section of the statistics.
func KnownSection(section *snapshot.StatSection) bool { return statTable(section) != nil }

// statTable returns the function that returns the statistics that netstat knows
// of a section. It is nil if netstat does not know the section.
func statTable(section *snapshot.StatSection) func() map[string]statText {
	if section.File == "net/snmp6" {
		return statTables6[section.Title]
	}
	return statTables[section.Title]
}

// known adds a row that netstat has a text for.
func (t *StatisticsText) known(r *tableRow, text statText, value uint64) {
	switch text.rule {
	case statNever:
		return
	case statIn, statOut:
		if t.mode != text.rule {
			t.indented(r, map[statRule]string{statIn: "ICMP input histogram:", statOut: "ICMP output histogram:"}[text.rule])
		}
		t.mode = text.rule
	default:
		t.mode = statAlways
	}
	if value != 0 || text.rule == statAlways {
		t.indented(r, strings.Replace(text.text, "#", strconv.FormatUint(value, 10), 1))
	}
}

// indented adds a line below the section's title or the histogram's.
func (t *StatisticsText) indented(r *tableRow, text string) {
	r.text("    ")
	if t.mode == statIn || t.mode == statOut {
		r.text("    ")
	}
	r.text(text)
	r.newline()
}
