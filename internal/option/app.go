package option

import (
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"
)

// Program is what the texts say of the program.
type Program struct {
	Name        string
	Usage       string // one line
	UsageText   string // its command line
	Description string
	Version     string
}

// Texts say which texts about the options are printed instead of running.
type Texts struct {
	Manual     bool
	Completion string // for this shell; empty: none
}

const helpTemplate = `usage: {{.UsageText}}

{{.Usage}}
{{range .VisibleFlagCategories}}
{{if .Name}}{{.Name}}:{{else}}Other:{{end}}{{range .Flags}}
  {{.}}{{end}}
{{end}}`

// Error is a wrong value of an option. The message is for the user.
type Error struct{ message string }

func (e *Error) Error() string { return e.message }

// Errorf returns an error about the value of an option, of type *Error.
func Errorf(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// Set hands the options that were given to the flag library, which sets their values.
// Help, version, manual page and completion it prints to out; then ran is false. Errors
// are of type *Error where the library finds them, else those of the options.
func (t *Table) Set(p *Program, given []Given, texts *Texts, out io.Writer) (ran bool, err error) {
	words := []string{p.Name}
	for _, opt := range given {
		words = append(words, opt.String())
	}
	app := t.app(p, t.flags(given), out)
	app.Action = func(c *cli.Context) error {
		switch {
		case texts.Manual:
			return printManual(c.App)
		case c.IsSet("completion"):
			return printCompletion(c.App, texts.Completion)
		}
		ran = true
		return nil
	}
	err = app.Run(words)
	return ran, err
}

// flags returns the flags of the options that are given, and of those that the
// environment may set. A text about the options needs all of them. The library
// looks each of its flags up among all others, with a regular expression for
// each: for all of ours that takes longer than most views.
func (t *Table) flags(list []Given) []cli.Flag {
	all := slices.ContainsFunc(list, func(opt Given) bool {
		return slices.Contains([]string{"help", "man", "completion"}, opt.Option.Name)
	})
	var flags []cli.Flag
	for i := range t.Options {
		o := &t.Options[i]
		if o.inLibrary() && (all || o.Env != "" || slices.ContainsFunc(list, func(opt Given) bool { return opt.Option == o })) {
			flags = append(flags, o.flag())
		}
	}
	return flags
}

// inLibrary reports whether an option is a flag of the library: the caller has
// read those that stand for address families or have no name, and the library
// has those for help and version of its own accord.
func (o *Option) inLibrary() bool {
	_, isFamily := o.Into.(Family)
	return o.Name != "" && !isFamily && !o.Library
}

// app makes the flag library's view of the command line: help, version,
// manual page and completion come from it. Some of that it takes from its
// variables alone.
func (t *Table) app(p *Program, flags []cli.Flag, out io.Writer) *cli.App {
	help := t.ByName("help")
	about := t.ByName("version")
	cli.HelpFlag, cli.VersionFlag = help.flag(), about.flag()
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintln(c.App.Writer, p.Name, c.App.Version) }
	return &cli.App{
		Name:                      p.Name,
		Usage:                     p.Usage,
		UsageText:                 p.UsageText,
		Description:               p.Description,
		Version:                   p.Version,
		Flags:                     flags,
		Writer:                    out,
		ErrWriter:                 io.Discard,
		CustomAppHelpTemplate:     helpTemplate,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return &Error{err.Error()}
		},
		ExitErrHandler: func(*cli.Context, error) {},
	}
}
