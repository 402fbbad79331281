package main

import (
	"fmt"
	"strings"
)

// longOption is one row of a getopt_long table.
type longOption struct {
	name   string
	value  string // what the option stands for; options that share it are one to getopt
	hasArg bool
}

// shortOptions are netstat's letters. A is the only one that takes a value.
const shortOptions = "ACFMacdeghilnNoprsStuUvVWw2fx64?Z"

// shortTakesValue is the letter that takes a value, attached or as next word.
const shortTakesValue = 'A'

// familyOption is the value that all long options naming an address family
// share: getopt takes them for the same one.
const familyOption = "family"

// netstatOptions is netstat's table of long options. The order is that of its
// messages about ambiguous abbreviations.
var netstatOptions = []longOption{
	{"ax25", familyOption, false},
	{"x25", familyOption, false},
	{"ip", familyOption, false},
	{"ipx", familyOption, false},
	{"appletalk", familyOption, false},
	{"netrom", familyOption, false},
	{"inet", familyOption, false},
	{"inet6", familyOption, false},
	{"ddp", familyOption, false},
	{"rose", familyOption, false},
	{"unix", familyOption, false},
	{"bluetooth", familyOption, false},
	{"tcpip", familyOption, false},
	{"version", "V", false},
	{"interfaces", "i", false},
	{"help", "h", false},
	{"route", "r", false},
	{"masquerade", "M", false},
	{"protocol", "A", true},
	{"tcp", "t", false},
	{"sctp", "S", false},
	{"udp", "u", false},
	{"udplite", "U", false},
	{"raw", "w", false},
	{"unix", "x", false},
	{"l2cap", "2", false},
	{"rfcomm", "f", false},
	{"listening", "l", false},
	{"all", "a", false},
	{"timers", "o", false},
	{"continuous", "c", false},
	{"extend", "e", false},
	{"programs", "p", false},
	{"verbose", "v", false},
	{"statistics", "s", false},
	{"wide", "W", false},
	{"numeric", "n", false},
	{"numeric-hosts", "numeric-hosts", false},
	{"numeric-ports", "numeric-ports", false},
	{"numeric-users", "numeric-users", false},
	{"symbolic", "N", false},
	{"cache", "C", false},
	{"fib", "F", false},
	{"groups", "g", false},
	{"context", "Z", false},
}

// option is one option as it stood on the command line: netstat's letter or
// the full name of a long option without one, and its value.
type option struct{ name, value string }

// getopt reads a command line as the C library's getopt_long does: bundles of
// letters, attached values, unique abbreviations of long names, operands
// between options (unless posix), and "--".
type getopt struct {
	args   []string // what is not read yet
	bundle string   // the rest of a word of letters
	posix  bool     // the first operand ends the options
	own    []longOption
}

// next gives the next option. Operands are skipped: netstat has no use for
// them. After the last option ok is false. An error is a *usageError.
func (g *getopt) next() (opt option, ok bool, err error) {
	for g.bundle == "" {
		if len(g.args) == 0 {
			return option{}, false, nil
		}
		word := g.args[0]
		g.args = g.args[1:]
		switch {
		case word == "--":
			return option{}, false, nil
		case strings.HasPrefix(word, "--"):
			opt, err = g.long(word[2:])
			return opt, true, err
		case len(word) > 1 && word[0] == '-':
			g.bundle = word[1:]
		case g.posix:
			return option{}, false, nil
		}
	}
	opt, err = g.short()
	return opt, true, err
}

// short takes one letter off the bundle. Letters are bytes, as in C.
func (g *getopt) short() (option, error) {
	c := g.bundle[0]
	g.bundle = g.bundle[1:]
	if c == 'j' {
		return option{name: "json"}, nil
	}
	if strings.IndexByte(shortOptions, c) < 0 {
		return option{}, &usageError{fmt.Sprintf("invalid option -- '%s'", []byte{c})}
	}
	opt := option{name: string(c)}
	if c != shortTakesValue {
		return opt, nil
	}
	if g.bundle != "" {
		opt.value, g.bundle = g.bundle, ""
		return opt, nil
	}
	var ok bool
	if opt.value, ok = g.word(); !ok {
		return option{}, &usageError{fmt.Sprintf("option requires an argument -- '%c'", c)}
	}
	return opt, nil
}

// long reads a long option, given without its dashes. Options of our own count
// only where netstat has none that the word could mean, so that they never
// change what an abbreviation means to it.
func (g *getopt) long(word string) (option, error) {
	name, value, attached := strings.Cut(word, "=")
	found, ambiguous := lookup(netstatOptions, name)
	if found == nil {
		found, ambiguous = lookup(g.own, name)
	}
	switch {
	case found == nil:
		return option{}, &usageError{fmt.Sprintf("unrecognized option '--%s'", word)}
	case len(ambiguous) > 0:
		var b strings.Builder
		fmt.Fprintf(&b, "option '--%s' is ambiguous; possibilities:", word)
		for _, o := range ambiguous {
			fmt.Fprintf(&b, " '--%s'", o.name)
		}
		return option{}, &usageError{b.String()}
	case attached && !found.hasArg:
		return option{}, &usageError{fmt.Sprintf("option '--%s' doesn't allow an argument", found.name)}
	case found.hasArg && !attached:
		if value, attached = g.word(); !attached {
			return option{}, &usageError{fmt.Sprintf("option '--%s' requires an argument", found.name)}
		}
	}
	if found.value == familyOption {
		return option{familyOption, found.name}, nil
	}
	return option{found.value, value}, nil
}

// word takes the next word of the command line as a value, whatever it is.
func (g *getopt) word() (string, bool) {
	if len(g.args) == 0 {
		return "", false
	}
	w := g.args[0]
	g.args = g.args[1:]
	return w, true
}

// lookup finds the option that name means: the one spelled so, else the first
// that begins so. Those that begin so and stand for something else make it
// ambiguous; the list then holds all of them, the first included.
func lookup(table []longOption, name string) (found *longOption, ambiguous []longOption) {
	for i := range table {
		if table[i].name == name {
			return &table[i], nil
		}
	}
	for i := range table {
		o := &table[i]
		switch {
		case !strings.HasPrefix(o.name, name):
		case found == nil:
			found = o
		case o.hasArg != found.hasArg || o.value != found.value:
			if ambiguous == nil {
				ambiguous = append(ambiguous, *found)
			}
			ambiguous = append(ambiguous, *o)
		}
	}
	return found, ambiguous
}
