package output

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nettrace/nettrace/snapshot"
)

// StatisticsOptions say what Statistics shows.
type StatisticsOptions struct {
	// Families are the canonical names of address families of the command
	// line: inet, which none stands for, or inet6. Others have no statistics.
	Families []string
	// The protocols whose sections are shown. None stands for all; UDPLite
	// alone for none of those that netstat knows.
	TCP, UDP, Raw, SCTP, UDPLite bool
}

// Statistics prints netstat's -s. Families without statistics are status 1,
// with the message on w; a file that the kernel lacks is no failure.
func Statistics(w, diag io.Writer, proc string, o StatisticsOptions) error {
	s := statWriter{w: w}
	return eachSection(w, diag, proc, o, s.section)
}

// eachSection reads the sections of the family that the options name and tells
// them, with the options completed.
func eachSection(w, diag io.Writer, proc string, o StatisticsOptions, told func(*snapshot.StatSection, *StatisticsOptions)) error {
	read := snapshot.Statistics
	switch families := strings.Join(o.Families, ","); families {
	case "", "inet":
	case "inet6":
		read = snapshot.Statistics6
	default:
		return failed(w, 1, "netstat: No statistics support for specified address family: %s", families)
	}
	if !o.TCP && !o.UDP && !o.Raw && !o.SCTP && !o.UDPLite {
		o.TCP, o.UDP, o.Raw, o.SCTP = true, true, true, true
	}
	for section, err := range read(proc) {
		var format *snapshot.StatFormatError
		var file *fs.PathError
		switch {
		case err == nil:
			told(&section, &o)
		case errors.As(err, &format):
			tell(diag, "Problem while parsing /proc/%s", format.File)
		case errors.As(err, &file):
			tell(diag, "cannot open /proc/net/%s: %s", filepath.Base(file.Path), reason(err))
		default:
			return err
		}
	}
	return nil
}

// shows reports whether a section that netstat knows is shown.
func (o *StatisticsOptions) shows(title string) bool {
	switch title {
	case "Ip", "Icmp", "Ip6", "Icmp6":
		return o.Raw
	case "Tcp", "TcpExt", "Tcp6":
		return o.TCP
	case "Udp", "Udp6":
		return o.UDP
	default:
		return o.SCTP
	}
}

// statWriter prints sections. The rule of the last known row stays with it
// over sections that netstat does not know: while it is one of a histogram,
// rows that netstat does not know are indented by eight instead of four.
type statWriter struct {
	w    io.Writer
	row  tableRow
	mode statRule // statIn, statOut or statAlways
}

func (s *statWriter) section(section *snapshot.StatSection, o *StatisticsOptions) {
	table, known := statTable(section)
	if known {
		s.mode = statAlways
	}
	if known && !o.shows(section.Title) {
		return
	}
	s.row.text(section.Title)
	s.row.text(":")
	s.row.end(s.w)
	for _, c := range section.Counters {
		if text, ok := table[c.Name]; ok {
			s.known(text, c.Value)
		} else if c.Value != 0 {
			s.indented(c.Name + ": " + strconv.FormatUint(c.Value, 10))
		}
	}
}

// statTable gives the statistics that netstat knows of a section, if it knows
// the section.
func statTable(section *snapshot.StatSection) (table map[string]statText, known bool) {
	tables := statTables
	if section.File == "net/snmp6" {
		tables = statTables6
	}
	table, known = tables[section.Title]
	return table, known
}

// known prints a row that netstat has a text for.
func (s *statWriter) known(t statText, value uint64) {
	switch t.rule {
	case statNever:
		return
	case statIn, statOut:
		if s.mode != t.rule {
			s.indented(map[statRule]string{statIn: "ICMP input histogram:", statOut: "ICMP output histogram:"}[t.rule])
		}
		s.mode = t.rule
	default:
		s.mode = statAlways
	}
	if value != 0 || t.rule == statAlways {
		s.indented(strings.Replace(t.text, "#", strconv.FormatUint(value, 10), 1))
	}
}

// indented prints a line below the section's title or the histogram's.
func (s *statWriter) indented(text string) {
	s.row.text("    ")
	if s.mode == statIn || s.mode == statOut {
		s.row.text("    ")
	}
	s.row.text(text)
	s.row.end(s.w)
}
