package view

import (
	"slices"
	"time"

	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/summary"
	"github.com/nettrace/nettrace/output"
)

// Kind is one of the five things that netstat shows.
type Kind int

// The views.
const (
	Sockets Kind = iota // and multicast groups, which netstat prints among them
	Masquerade
	Statistics
	Routes
	Interfaces
)

// Protocols are protocols of the Internet family.
type Protocols struct {
	TCP, UDP, UDPLite, SCTP, Raw bool
}

// Any reports whether there is one at all.
func (p Protocols) Any() bool { return p != Protocols{} }

// Options say what a run shows. They are netstat's options where no other is
// named.
type Options struct {
	Kind Kind

	Protocols      // -t, -u, -U, -S, -w
	Groups    bool // -g
	Bluetooth bool // -2, -f
	// Families are the canonical names of address families in the order of the
	// command line, repeats included: -r shows one table for each.
	Families []string

	All, Listening                           bool // -a, -l
	NumericHosts, NumericPorts, NumericUsers bool // -n is all of them
	Symbolic                                 bool // -N
	Wide, Timers, Programs, Context, Verbose bool // -W, -o, -p, -Z, -v
	Cache, FIB                               bool // -C, -F
	Extend                                   int  // -e, each one counts

	Continuous bool          // -c: a round each second
	Rounds     int           // end after so many; 0: no end (--count)
	Duration   time.Duration // end after this time; 0: no end (--duration)

	Filter *filter.Program // selects among Internet and Unix sockets; nil: all

	JSON   bool     // records instead of text
	Fields []string // the members of records; nil: all

	Summary  *summary.Spec // sums of the sockets instead of each; nil: none
	ASCII    bool          // of sums as text: the reader's locale is not UTF-8
	HostName string        // for the "host" key of records
	Source   string        // "proc" or "diag"; empty: sock_diag where it serves
}

// inFamily reports whether the family was named.
func (o *Options) inFamily(name string) bool { return slices.Contains(o.Families, name) }

// Shown says which sockets the options ask for.
func (o *Options) Shown() output.Listening { return output.ListeningOf(o.All, o.Listening) }
