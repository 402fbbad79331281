package option

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// optionsMark is the line of the manual page that the options stand for.
const optionsMark = ".\\\" OPTIONS\n"

// hiddenHeading is where the manual page has the options that the help does not show.
const hiddenHeading = "For tests and to find faults"

// printManual prints the manual page, man(7).
// The library's own page comes out of a Markdown converter whose start takes
// longer than many a run of this program; the build leaves it out.
func (t *Table) printManual(w io.Writer, p *Program) error {
	before, after, ok := strings.Cut(p.Manual, optionsMark)
	if !ok {
		return &Error{"the manual page has no place for the options"}
	}
	_, err := io.WriteString(w, before+t.manual()+after)
	return err
}

// manual returns the options by heading.
func (t *Table) manual() string {
	var b strings.Builder
	for _, heading := range append(t.headings(), "") {
		title := heading
		if title == "" {
			title = hiddenHeading
		}
		fmt.Fprintf(&b, ".SS %s\n", roff(title))
		for _, o := range t.under(heading) {
			fmt.Fprintf(&b, ".TP\n%s\n%s\n", o.roffNames(), roff(o.says()))
			if o.Name == "protocol" {
				b.WriteString(t.roffFamilies())
			}
		}
	}
	return b.String()
}

// roffNames spells the names of an option, bold, and its argument, in italics.
func (o *Option) roffNames() string {
	text := `\fB` + roff("--"+o.Name) + `\fR`
	if o.Letter != "" {
		text = `\fB` + roff("-"+o.Letter) + `\fR, ` + text
	}
	if argument := o.argument(); argument != "" {
		text += o.gap() + `\fI` + roff(argument) + `\fR`
	}
	return text
}

// roffFamilies lists the options that stand for address families.
func (t *Table) roffFamilies() string {
	var names []string
	for i := range t.Options {
		name := t.Options[i].Name
		if _, ok := t.Options[i].Into.(Family); ok && name != "" && !slices.Contains(names, `\fB`+roff("--"+name)+`\fR`) {
			names = append(names, `\fB`+roff("--"+name)+`\fR`)
		}
	}
	return ".TP\n" + strings.Join(names, ", ") + "\n" + roff("-A with this name; --tcpip does nothing, as in netstat") + "\n"
}

// roffWidth is how long lines of the page are.
const roffWidth = 72

// roff keeps a text from being taken for requests of man(7), and breaks it into lines.
func roff(text string) string {
	quote := strings.NewReplacer(`\`, `\e`, "-", `\-`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`)
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		word = quote.Replace(word)
		if word[0] == '.' || word[0] == '\'' {
			word = `\&` + word
		}
		switch {
		case column == 0:
		case column+len(word) >= roffWidth:
			b.WriteString("\n")
			column = 0
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
