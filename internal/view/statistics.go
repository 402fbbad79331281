package view

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// statisticsPrinter prints sections of statistics in one form.
type statisticsPrinter interface {
	section(*snapshot.StatSection)
	// skip passes over a section that is not shown.
	skip(*snapshot.StatSection)
}

// statistics shows the counters of the protocols. Families without statistics
// are a failure; a file that the kernel lacks is none.
func (s *session) statistics() error {
	read := snapshot.Statistics
	switch families := strings.Join(s.opts.Families, ","); families {
	case "", FamilyInet:
	case FamilyInet6:
		read = snapshot.Statistics6
	default:
		return s.failInText("netstat: No statistics support for specified address family: %s", families)
	}
	shown := s.opts.Protocols
	if !shown.Any() {
		shown = Protocols{TCP: true, UDP: true, Raw: true, SCTP: true}
	}
	p := s.statisticsPrinter()
	for section, err := range read(s.env.Proc) {
		var format *snapshot.StatFormatError
		var file *fs.PathError
		switch {
		case errors.As(err, &format):
			s.warn("Problem while parsing /proc/%s", format.File)
		case errors.As(err, &file):
			s.warn("cannot open /proc/net/%s: %s", filepath.Base(file.Path), reason(err))
		case err != nil:
			return err
		case output.KnownSection(&section) && !shown.section(section.Title):
			p.skip(&section)
		default:
			p.section(&section)
		}
	}
	return nil
}

// section reports whether the protocols ask for a section that netstat knows.
// UDP-Lite alone asks for none of them.
func (p Protocols) section(title string) bool {
	switch title {
	case "Ip", "Icmp", "Ip6", "Icmp6":
		return p.Raw
	case "Tcp", "TcpExt", "Tcp6":
		return p.TCP
	case "Udp", "Udp6":
		return p.UDP
	default:
		return p.SCTP
	}
}
