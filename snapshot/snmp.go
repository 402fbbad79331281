package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Counter is one statistic by its kernel name.
type Counter struct {
	Name     string
	Value    uint64
	Negative bool // the file has a minus sign: Value is that of an int64
}

// scan reads the value, which stays what it is where there is none. netstat shows
// all values as unsigned, but the kernel's MaxConn is -1 (net/ipv4/proc.c,
// snmp_seq_show_tcp_udp, 6.12).
func (c *Counter) scan(s *scanner) {
	s.skipSpace()
	negative := len(s.line) > 0 && s.line[0] == '-'
	scanUint(s, &c.Value)
	if !s.failed {
		c.Negative = negative && c.Value != 0
	}
}

// StatSection is a group of statistics under the title that the kernel, or
// for IPv6 and SCTP net-tools, gives it: "Ip", "TcpExt", "Udp6", "Sctp".
type StatSection struct {
	File     string // below the proc root, as "net/snmp"
	Title    string
	Counters []Counter
}

// A StatFormatError says that a statistics file does not consist of pairs of
// lines with titles. The sections before that place have been given.
type StatFormatError struct {
	File string // below the proc root, as "net/snmp"
}

func (e *StatFormatError) Error() string {
	return fmt.Sprintf("%s: not pairs of lines that begin with a title and a colon", e.File)
}

// Statistics yields the statistics of the namespace: those of IPv4 and of the
// transports over both families, from net/snmp, net/netstat and, where the
// kernel has SCTP, net/sctp/snmp. A *StatFormatError ends its file only. Any
// other error is of net/snmp and ends the sequence; the other two files need
// not be there.
func Statistics(proc string) iter.Seq2[StatSection, error] {
	return func(yield func(StatSection, error) bool) {
		_ = yieldPairs(proc, "net/snmp", true, yield) &&
			yieldPairs(proc, "net/netstat", false, yield) &&
			yieldSCTP(proc, yield)
	}
}

// Statistics6 yields the IPv6 statistics from net/snmp6, and the sections of
// net/snmp whose titles begin with "Tcp", as these count both families. An
// error is of one of these files and ends the sequence; where net/snmp is not
// in pairs its rest is left out.
func Statistics6(proc string) iter.Seq2[StatSection, error] {
	return func(yield func(StatSection, error) bool) {
		file, err := readFile(proc, "net/snmp6")
		if err != nil {
			yield(StatSection{}, err)
			return
		}
		for _, section := range ParseStatistics6(file) {
			if !yield(section, nil) {
				return
			}
		}
		yieldPairs(proc, "net/snmp", true, func(s StatSection, err error) bool {
			var format *StatFormatError
			return errors.As(err, &format) || err == nil && !strings.HasPrefix(s.Title, "Tcp") || yield(s, err)
		})
	}
}

// yieldPairs yields the sections of a file and reports whether to go on.
func yieldPairs(proc, name string, required bool, yield func(StatSection, error) bool) bool {
	file, err := readFile(proc, name)
	if err != nil {
		if required {
			yield(StatSection{}, err)
		}
		return !required
	}
	for section, ok := range ParseStatistics(file) {
		section.File = name
		var err error
		if !ok {
			err = &StatFormatError{name}
		}
		if !yield(section, err) {
			return false
		}
	}
	return true
}

// yieldSCTP yields the section of SCTP if the kernel has one.
func yieldSCTP(proc string, yield func(StatSection, error) bool) bool {
	file, err := readFile(proc, "net/sctp/snmp")
	return err != nil || yield(ParseSCTPStatistics(file), nil)
}

// ParseStatistics parses /proc/net/snmp or /proc/net/netstat: pairs of lines,
// the names and the values, each after a title (net/ipv4/proc.c,
// snmp_seq_show and netstat_seq_show). A name without a value has 0. A last
// element false says that a pair has no titles; the rest is not parsed.
func ParseStatistics(file []byte) iter.Seq2[StatSection, bool] {
	return func(yield func(StatSection, bool) bool) {
		for len(file) > 0 {
			var names, values []byte
			names, file = cutLine(file)
			if len(names) == 0 {
				continue
			}
			if len(file) == 0 {
				return
			}
			values, file = cutLine(file)
			title, names, ok := bytes.Cut(names, []byte(":"))
			_, values, ok2 := bytes.Cut(values, []byte(":"))
			if !ok || !ok2 {
				yield(StatSection{}, false)
				return
			}
			section := StatSection{Title: string(title), Counters: pairCounters(names, values)}
			if !yield(section, true) {
				return
			}
		}
	}
}

// pairCounters joins the names of a pair of lines with the values. After a
// value that is no number all are 0.
func pairCounters(names, values []byte) []Counter {
	s := scanLine(values)
	var counters []Counter
	for _, name := range bytes.FieldsFunc(names, blank) {
		c := Counter{Name: string(name)}
		c.scan(&s)
		counters = append(counters, c)
	}
	return counters
}

func blank(r rune) bool { return r == ' ' || r == '\t' || r == '\n' }

// cutLine takes the first line, without its newline, off a file.
func cutLine(file []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(file, []byte("\n"))
	return line, rest
}

// ParseStatistics6 parses /proc/net/snmp6: a name and a value a line
// (net/ipv6/proc.c). The title of a section is what its first name has up to
// the 6, and it goes on while names contain it. A value that is missing or no
// number is that of the line before, as in net-tools.
func ParseStatistics6(file []byte) []StatSection {
	var sections []StatSection
	var c Counter
	for line := range lines(file, statLine) {
		s := scanLine(line)
		s.word(&c.Name, len(line))
		c.scan(&s)
		last := len(sections) - 1
		if last < 0 || !strings.Contains(c.Name, sections[last].Title) {
			title := c.Name
			if i := strings.IndexByte(title, '6'); i >= 0 {
				title = title[:i+1]
			}
			sections = append(sections, StatSection{File: "net/snmp6", Title: title})
			last++
		}
		sections[last].Counters = append(sections[last].Counters, c)
	}
	return sections
}

// ParseSCTPStatistics parses /proc/net/sctp/snmp: a name and a value a line
// (net/sctp/proc.c). A line without a value is none.
func ParseSCTPStatistics(file []byte) StatSection {
	section := StatSection{File: "net/sctp/snmp", Title: "Sctp"}
	for line := range lines(file, statLine) {
		end := max(bytes.IndexFunc(line, blank), 0)
		s := scanLine(line[end:])
		s.skipSpace()
		if len(s.line) == 0 {
			continue
		}
		c := Counter{Name: string(line[:end])}
		c.scan(&s)
		section.Counters = append(section.Counters, c)
	}
	return section
}

// statLine is the longest piece of a line that net-tools reads at a time from
// the files with one counter a line.
const statLine = 1024
