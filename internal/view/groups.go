package view

import (
	"errors"
	"iter"

	"github.com/nettrace/nettrace/snapshot"
)

// groupPrinter prints multicast groups in one form.
type groupPrinter interface {
	title()
	group(*snapshot.Group)
}

// groups shows the multicast groups. The absence of the IPv4 file is a failure,
// after the IPv6 groups, unless the protocols follow from a family (-4 and -6
// alone imply all). That of the IPv6 file is never reported.
func (s *session) groups(sel *Selection) error {
	p := s.groupPrinter()
	p.title()
	var failure error
	if sel.IPv4 {
		if err := s.groupRows(p, snapshot.Groups(s.env.Proc)); err != nil {
			igmp := table{subject: "AF INET (igmp)", path: "/proc/net/igmp", named: !sel.Implied, quiet: sel.Implied}
			failure = s.unreadable(igmp, err)
			if !absent(err) {
				return failure
			}
		}
	}
	if sel.IPv6 {
		_ = s.groupRows(p, snapshot.Groups6(s.env.Proc))
	}
	return failure
}

func (s *session) groupRows(p groupPrinter, groups iter.Seq2[snapshot.Group, error]) error {
	for g, err := range groups {
		var line *snapshot.GroupLineError
		switch {
		case errors.As(err, &line):
			s.warn("warning, got bogus %s line %d.", line.File, line.Line)
		case err != nil:
			return err
		default:
			p.group(&g)
		}
	}
	return nil
}
