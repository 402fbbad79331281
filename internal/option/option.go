// Package option makes of one table of options all that a command line needs of it: the
// rows that getopt reads, the flags of the library, and its texts (help, manual page,
// completion).
package option

// Option is a row of a table.
type Option struct {
	Name   string // long name; empty: it has a letter only
	Letter string // empty: it has a long name only
	// Place orders netstat's long options, from 1, as its messages about ambiguous
	// abbreviations do; 0: netstat has no long option for the row.
	Place    int
	Heading  string // of the help; empty: the help does not show it
	Usage    string
	Standard string // what the help says of its default; empty: nothing
	Env      string // variable of the environment that sets it, too
	Library  bool   // help and version, which the flag library has of its own accord
	Values   Values // what its value may be, for the completion
	// Into is where its value goes: a *bool, *int, *time.Duration, *string or
	// *[]string, a func(string) error that takes a text, Counted, or Family.
	// What is nil or a *bool, Counted or Family takes no value; Optional takes one that
	// is attached.
	Into any
	Then func() error // checks or completes the options once values are set
}

// Counted is an option whose repeats count.
type Counted struct{ N *int }

// Optional takes the text that is attached to the option, or none.
type Optional func(string) error

// Family is an option that stands for a word of -A.
type Family string

// takesValue reports whether the next word, or what is attached, is its value.
func (o *Option) takesValue() bool {
	switch o.Into.(type) {
	case nil, *bool, Counted, Family, Optional:
		return false
	}
	return true
}

// NamesFamily reports whether the option is one of those. --unix stands twice in
// netstat's table: once among them, once for -x.
func (o *Option) NamesFamily() bool {
	_, ok := o.Into.(Family)
	return ok && o.Letter == ""
}
