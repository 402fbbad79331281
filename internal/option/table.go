package option

import "github.com/nettrace/nettrace/internal/getopt"

// Table is a table of options, as getopt reads it.
type Table struct {
	Options []Option
	grammar *getopt.Grammar
}

// NewTable takes the options of a command line.
func NewTable(options []Option) *Table {
	rows := make([]getopt.Option, len(options))
	for i := range options {
		o := &options[i]
		rows[i] = getopt.Option{Name: o.Name, Letter: o.Letter, Place: o.Place, Value: o.takesValue()}
		_, rows[i].Optional = o.Into.(Optional)
		if o.NamesFamily() { // all of them share a value in netstat's table
			rows[i].Alias = "family"
		}
	}
	return &Table{options, getopt.New(rows)}
}

// ByName returns the option that a long name means, abbreviated or not, or nil.
func (t *Table) ByName(name string) *Option {
	if i := t.grammar.Find(name); i >= 0 {
		return &t.Options[i]
	}
	return nil
}

// Given is an option as it stood on the command line, and its value if it takes one.
type Given struct {
	Option *Option
	Value  string
}

// Reader reads a command line.
type Reader struct {
	table *Table
	*getopt.Reader
}

// NewReader reads words, which are a command line without the program's name. With
// posix the first operand ends the options.
func (t *Table) NewReader(words []string, posix bool) *Reader {
	return &Reader{t, t.grammar.NewReader(words, posix)}
}

// Next returns the next option. After the last one ok is false. An error is a
// *getopt.Error.
func (r *Reader) Next() (opt Given, ok bool, err error) {
	word, ok, err := r.Reader.Next()
	if !ok || err != nil {
		return Given{}, ok, err
	}
	return Given{&r.table.Options[word.Index], word.Value}, true, nil
}

// Key identifies an option in code: its name, else its letter.
func (o *Option) Key() string {
	if o.Name == "" {
		return o.Letter
	}
	return o.Name
}

// FamilyWords returns the words of -A that an option stands for.
func (g Given) FamilyWords() (words string, ok bool) {
	if f, ok := g.Option.Into.(Family); ok {
		return string(f), true
	}
	return g.Value, g.Option.Name == "protocol"
}

// String spells an option for the flag library: its full name, the value
// attached.
func (g Given) String() string {
	if _, ok := g.Option.Into.(Optional); ok || g.Option.takesValue() {
		return "--" + g.Option.Name + "=" + g.Value
	}
	return "--" + g.Option.Name
}
