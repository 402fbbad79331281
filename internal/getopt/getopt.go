// Package getopt reads a command line as the C library's getopt_long does. It knows
// words and options, not what an option means.
package getopt

import (
	"fmt"
	"strings"
)

// Option is an option that the command line may have.
type Option struct {
	Name   string // the long one; empty: it has a letter only
	Letter string // empty: it has a long name only
	// Place orders the long options of getopt_long's own table, from 1, as messages
	// about ambiguous abbreviations do; 0: the option is not in that table.
	Place int
	Value bool // the next word, or what is attached, is its value
	// Optional says that what is attached to the long name is its value; the next word
	// is not.
	Optional bool
	// Alias is the same for long options that getopt_long takes for one, so that an
	// abbreviation of several of them is not ambiguous; empty: the option is alone.
	Alias string

	index int // in its table
}

func (o *Option) same(other *Option) bool {
	return o == other || o.Alias != "" && o.Alias == other.Alias
}

// Error is a command line that cannot be followed. The message is what getopt_long
// prints after the program's name.
type Error struct {
	message string
	Unknown string // the long name that no option has; empty: another error
}

func (e *Error) Error() string { return e.message }

func errorf(format string, args ...any) error {
	return &Error{message: fmt.Sprintf(format, args...)}
}

// Grammar is a table of options, in order to be looked up.
type Grammar struct {
	table []Option
	first []*Option // long options with a place, in that order
	added []*Option // long options without one
}

// New takes a table. The indexes of its options are what a Reader returns.
func New(table []Option) *Grammar {
	g := &Grammar{table: table, first: make([]*Option, len(table))}
	last := 0
	for i := range table {
		o := &table[i]
		o.index = i
		switch {
		case o.Place > 0:
			g.first[o.Place-1] = o
			last = max(last, o.Place)
		case o.Name != "":
			g.added = append(g.added, o)
		}
	}
	g.first = g.first[:last]
	return g
}

// Find returns the index of the option that a long name means, abbreviated or not;
// of the first one if it is ambiguous, and -1 if there is none.
func (g *Grammar) Find(name string) int {
	if found, _ := g.byName(name); found != nil {
		return found.index
	}
	return -1
}

// byLetter returns the option of a letter, or nil.
func (g *Grammar) byLetter(letter string) *Option {
	for i := range g.table {
		if g.table[i].Letter == letter {
			return &g.table[i]
		}
	}
	return nil
}

// byName returns the option that a long name means, abbreviated or not, or nil.
// Options without a place count only where none with one could be meant, so that
// they never change what an abbreviation means. Several options that are not the
// same make it ambiguous; then all of them are returned, too.
func (g *Grammar) byName(name string) (found *Option, ambiguous []*Option) {
	if found, ambiguous = lookup(g.first, name); found == nil {
		found, ambiguous = lookup(g.added, name)
	}
	return found, ambiguous
}

// lookup finds the option that name means: the one spelled so, else the first
// that begins so. Those that begin so and stand for something else make it
// ambiguous; the list then holds all of them, the first included.
func lookup(list []*Option, name string) (found *Option, ambiguous []*Option) {
	for _, o := range list {
		if o.Name == name {
			return o, nil
		}
	}
	for _, o := range list {
		switch {
		case !strings.HasPrefix(o.Name, name):
		case found == nil:
			found = o
		case !o.same(found):
			if ambiguous == nil {
				ambiguous = append(ambiguous, found)
			}
			ambiguous = append(ambiguous, o)
		}
	}
	return found, ambiguous
}

// Given is an option as it stood on the command line.
type Given struct {
	Index int    // of the option, in the table
	Value string // empty if it takes none
}

// Reader reads a command line: bundles of letters, attached values, unique
// abbreviations of long names, operands between options (unless posix), and "--".
type Reader struct {
	*Grammar
	args   []string // what is not read yet
	bundle string   // the rest of a word of letters
	posix  bool     // the first operand ends the options
	others []string // operands that were skipped
}

// Operands returns the words that are no options, in order. They are complete after
// the last option.
func (r *Reader) Operands() []string { return r.others }

// NewReader reads words, which are a command line without the program's name. With
// posix the first operand ends the options.
func (g *Grammar) NewReader(words []string, posix bool) *Reader {
	return &Reader{Grammar: g, args: words, posix: posix}
}

// Next returns the next option. Operands are skipped. After the last option ok is
// false. An error is an *Error.
func (r *Reader) Next() (opt Given, ok bool, err error) {
	for r.bundle == "" {
		word, ok := r.word()
		if !ok {
			return Given{}, false, nil
		}
		switch {
		case word == "--":
			r.others = append(r.others, r.args...)
			return Given{}, false, nil
		case strings.HasPrefix(word, "--"):
			opt, err = r.long(word[2:])
			return opt, true, err
		case len(word) > 1 && word[0] == '-':
			r.bundle = word[1:]
		case r.posix:
			r.others = append(append(r.others, word), r.args...)
			return Given{}, false, nil
		default:
			r.others = append(r.others, word)
		}
	}
	opt, err = r.short()
	return opt, true, err
}

// short takes one letter off the bundle. Letters are bytes, as in C.
func (r *Reader) short() (Given, error) {
	letter := r.bundle[:1]
	r.bundle = r.bundle[1:]
	o := r.byLetter(letter)
	switch {
	case o == nil:
		return Given{}, errorf("invalid option -- '%s'", letter)
	case !o.Value:
		return Given{Index: o.index}, nil
	case r.bundle != "":
		value := r.bundle
		r.bundle = ""
		return Given{o.index, value}, nil
	}
	value, ok := r.word()
	if !ok {
		return Given{}, errorf("option requires an argument -- '%s'", letter)
	}
	return Given{o.index, value}, nil
}

// long reads a long option, without its dashes.
func (r *Reader) long(word string) (Given, error) {
	name, value, attached := strings.Cut(word, "=")
	o, ambiguous := r.byName(name)
	switch {
	case o == nil:
		return Given{}, &Error{fmt.Sprintf("unrecognized option '--%s'", word), name}
	case len(ambiguous) > 0:
		var b strings.Builder
		for _, o := range ambiguous {
			fmt.Fprintf(&b, " '--%s'", o.Name)
		}
		return Given{}, errorf("option '--%s' is ambiguous; possibilities:%s", word, b.String())
	case attached && !o.Value && !o.Optional:
		return Given{}, errorf("option '--%s' doesn't allow an argument", o.Name)
	case o.Value && !attached:
		if value, attached = r.word(); !attached {
			return Given{}, errorf("option '--%s' requires an argument", o.Name)
		}
	}
	return Given{o.index, value}, nil
}

// word takes the next word of the command line.
func (r *Reader) word() (string, bool) {
	if len(r.args) == 0 {
		return "", false
	}
	w := r.args[0]
	r.args = r.args[1:]
	return w, true
}
