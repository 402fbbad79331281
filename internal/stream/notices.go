package stream

import (
	"fmt"
	"io"
)

// Notices is an output that writes the notices, each on a line of its own.
type Notices struct {
	Nop
	out               io.Writer
	recorded, watched bool
}

// NewNotices returns a writer of notices to out. recorded says that another
// output has records: then what these say too is left out. watched says that out
// is a terminal: what the hooks of this machine cannot do is for a person, and
// not for a log in which it stands at each start.
func NewNotices(out io.Writer, recorded, watched bool) *Notices {
	return &Notices{out: out, recorded: recorded, watched: watched}
}

// Notice writes a notice.
func (n *Notices) Notice(notice Notice) error {
	if n.recorded && notice.Kind != Limitation || !n.watched && notice.Kind == Inexact {
		return nil
	}
	// Nobody can be told that stderr cannot be written.
	fmt.Fprintf(n.out, "nettrace: %s\n", notice.Text)
	return nil
}
