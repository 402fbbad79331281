package output

import (
	"errors"
	"io"

	"github.com/nettrace/nettrace/snapshot"
)

// GroupOptions say what Groups shows.
type GroupOptions struct {
	IPv4, IPv6 bool
	Names      Names // nil with -n or --numeric-hosts
	// Quiet says that the kernel's lack of groups is no failure and not told:
	// netstat is so where the options name a family but no protocol.
	Quiet bool
}

// Groups prints netstat's -g. The kernel's lack of IPv4 groups is status 1 and
// ends the run; that of IPv6 groups is not told.
func Groups(w, diag io.Writer, proc string, o GroupOptions) error {
	var r tableRow
	for _, line := range []string{
		"IPv6/IPv4 Group Memberships",
		"Interface       RefCnt Group",
		"--------------- ------ ---------------------",
	} {
		r.text(line)
		r.end(w)
	}
	if o.IPv4 {
		if err := groupRows(w, diag, snapshot.Groups(proc), &o); err != nil && !(o.Quiet && lacks(err)) {
			return missing(diag, "AF INET (igmp)", "/proc/net/igmp", err)
		}
	}
	if o.IPv6 {
		_ = groupRows(w, diag, snapshot.Groups6(proc), &o) // not told, whatever the reason
	}
	return nil
}

func groupRows(w, diag io.Writer, groups func(func(snapshot.Group, error) bool), o *GroupOptions) error {
	var r tableRow
	for g, err := range groups {
		var line *snapshot.GroupLineError
		switch {
		case errors.As(err, &line):
			_ = failed(diag, 0, "warning, got bogus %s line %d.", line.File, line.Line)
			continue
		case err != nil:
			return err
		}
		r.left(g.Iface, 15)
		r.text(" ")
		r.leftInt(int64(g.Users), 6)
		r.text(" ")
		r.text(hostText(o.Names, g.Addr))
		r.end(w)
	}
	return nil
}
