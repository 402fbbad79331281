package option

import (
	"fmt"
	"strings"
)

const (
	helpWidth  = 80
	helpIndent = 26 // where what is said of an option begins
)

// help returns the text of --help: the command line, examples, and the options by
// heading, in the order of the table.
func (t *Table) help(p *Program) string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s\n\n%s\n\nExamples:\n%s", p.UsageText, p.Usage, p.Examples)
	for _, heading := range t.headings() {
		fmt.Fprintf(&b, "\n%s:\n", heading)
		for _, o := range t.under(heading) {
			o.help(&b)
		}
	}
	return b.String()
}

// help appends what the help says of an option: its names and, from a column on, the
// words, which are wrapped.
func (o *Option) help(b *strings.Builder) {
	names := "  " + o.names("--")
	if o.Letter == "" {
		names = "      " + o.names("--")
	}
	column := len(names)
	b.WriteString(names)
	if column > helpIndent-2 {
		b.WriteString("\n")
		column = 0
	}
	for word := range strings.FieldsSeq(o.says()) {
		switch {
		case column < helpIndent:
			fmt.Fprintf(b, "%*s%s", helpIndent-column, "", word)
			column = helpIndent + len(word)
		case column+1+len(word) > helpWidth:
			fmt.Fprintf(b, "\n%*s%s", helpIndent, "", word)
			column = helpIndent + len(word)
		default:
			b.WriteString(" " + word)
			column += 1 + len(word)
		}
	}
	b.WriteString("\n")
}

// headings returns the headings of the options that the help shows, in their order.
func (t *Table) headings() []string {
	var list []string
	seen := make(map[string]bool)
	for i := range t.Options {
		if h := t.Options[i].Heading; h != "" && !seen[h] {
			seen[h] = true
			list = append(list, h)
		}
	}
	return list
}

// under returns the options with a long name under a heading; under an empty one those
// that the help does not show, but for those that stand for address families.
func (t *Table) under(heading string) []*Option {
	var list []*Option
	for i := range t.Options {
		o := &t.Options[i]
		if _, family := o.Into.(Family); o.Name != "" && o.Heading == heading && !family {
			list = append(list, o)
		}
	}
	return list
}

// names spells the names of an option as a command line has them, with its argument.
func (o *Option) names(dashes string) string {
	names := dashes + o.Name
	if o.Letter != "" {
		names = "-" + o.Letter + ", " + names
	}
	return names + o.gap() + o.argument()
}

// gap returns what stands between the name of an option and its argument: nothing where
// that has to be attached.
func (o *Option) gap() string {
	if _, attached := o.Into.(Optional); attached || !o.takesValue() {
		return ""
	}
	return " "
}

// argument returns the word that stands for the value of an option: what its usage has
// in backquotes.
func (o *Option) argument() string {
	parts := strings.SplitN(o.Usage, "`", 3) //nolint:mnd // before, in and after the quotes
	if len(parts) < 3 {
		return ""
	}
	return parts[1]
}

// says returns what the texts say of an option, with its default and the variable of the
// environment that sets it.
func (o *Option) says() string {
	text := strings.NewReplacer("`[=", "", "]`", "", "`", "").Replace(o.Usage)
	if o.Standard != "" {
		text += " (default: " + o.Standard + ")"
	}
	if o.Env != "" {
		text += " (environment: " + o.Env + ")"
	}
	return text
}
