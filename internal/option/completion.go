package option

import (
	"fmt"
	"io"
	"strings"
)

// printCompletion prints the completion script of the program for a shell.
func (t *Table) printCompletion(w io.Writer, p *Program, shell string) error {
	write := map[string]func(*Program) string{"bash": t.bash, "fish": t.fish, "zsh": t.zsh}[shell]
	if write == nil {
		return &Error{fmt.Sprintf("option '--completion' knows bash, fish and zsh, not '%s'", shell)}
	}
	_, err := io.WriteString(w, write(p))
	return err
}

// completed returns the options that a completion offers: those that the help shows, and
// those that stand for address families.
func (t *Table) completed() []*Option {
	var list []*Option
	seen := make(map[string]bool)
	for i := range t.Options {
		o := &t.Options[i]
		_, family := o.Into.(Family)
		if o.Name != "" && (family || o.Heading != "") && !seen[o.Name] {
			seen[o.Name] = true
			list = append(list, o)
		}
	}
	return list
}

// describes returns what a completion says of an option beside its name.
func (o *Option) describes() string {
	if family, ok := o.Into.(Family); ok {
		return "the same as -A " + string(family)
	}
	return o.says()
}

// quoted puts a text in single quotes, as all three shells read them. None of our texts
// has one within.
func quoted(text string) string {
	return "'" + strings.ReplaceAll(text, "'", "") + "'"
}
