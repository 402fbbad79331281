package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// usageText follows the message of a usage error.
const usageText = `usage: nettrace [-r | -i | -g | -s | -M] [-tuUSwx] [-46] [-A FAMILY,...]
                [-aleopcnvWNFCZ] [-j] [OPTION...]
Try 'nettrace --help' for more information.
`

// version is set by the linker.
var version = "devel"

const description = `Without -c it prints what netstat (net-tools 2.10) prints for the same options, byte for byte, or the same facts as JSON with -j. With -c, if TCP sockets are among what is shown, it prints their table once and then every state transition as the kernel makes it; without the privilege for BPF it looks once a second instead and says so. Other views repeat each second. Called by the name netstat it repeats all of them, as netstat does.

Options are read as netstat's: letters may be bundled, long names abbreviated where they stay unique among netstat's, operands are ignored.`

const helpTemplate = `usage: {{.UsageText}}

{{.Usage}}
{{range .VisibleFlagCategories}}
{{if .Name}}{{.Name}}:{{else}}Other:{{end}}{{range .Flags}}
  {{.}}{{end}}
{{end}}`

// newApp makes the flag library's view of the command line: help, version,
// manual page and completion come from it.
func newApp(o *options, out io.Writer) *cli.App {
	cli.HelpFlag = &cli.BoolFlag{Category: headOther, Name: "help", Aliases: []string{"h"}, Usage: "this text", DisableDefaultText: true}
	cli.VersionFlag = &cli.BoolFlag{Category: headOther, Name: "version", Aliases: []string{"V"}, Usage: "version", DisableDefaultText: true}
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintln(c.App.Writer, "nettrace", c.App.Version) }
	return &cli.App{
		Name:                      "nettrace",
		Usage:                     "netstat, and a tracer of TCP connections",
		UsageText:                 "nettrace [-r | -i | -g | -s | -M] [OPTION...]",
		Description:               description,
		Version:                   version,
		Flags:                     append(netstatFlags(o), ownFlags(o)...),
		Writer:                    out,
		ErrWriter:                 io.Discard,
		CustomAppHelpTemplate:     helpTemplate,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return &usageError{err.Error()}
		},
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

// parse reads the command line of e. It gives nil options when the command
// line asked for a text that is now printed (help, version, manual page,
// completion).
func parse(e *env, args []string) (*options, error) {
	o := &options{procRoot: defaultProcRoot}
	words, err := normalise(e, args[1:], longTable(ownFlags(o)))
	if err != nil {
		return nil, err
	}
	var parsed *options
	app := newApp(o, e.stdout)
	if !asksForText(words) {
		app.Flags = used(app.Flags, words)
	}
	app.Action = func(c *cli.Context) error {
		switch {
		case c.Bool("man"):
			return printManual(c.App)
		case c.IsSet("completion"):
			return printCompletion(c.App, c.String("completion"))
		}
		o.route, o.interfaces = c.Count("route"), c.Count("interfaces")
		o.statistics, o.masquerade = c.Count("statistics"), c.Count("masquerade")
		o.extend = c.Count("extend")
		if c.Bool("numeric") {
			o.numericHosts, o.numericPorts, o.numericUsers = true, true, true
		}
		o.programs = o.programs || o.context
		parsed = o
		return nil
	}
	err = app.Run(append([]string{"nettrace"}, words...))
	return parsed, err
}

// asksForText reports whether the words ask for a text about all options.
func asksForText(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		return w == "--help" || w == "--man" || strings.HasPrefix(w, "--completion=")
	})
}

// used leaves only the flags that the words name, and those that the
// environment may set. The library looks each of its flags up among all
// others, with a regular expression for each: for all of ours that takes
// longer than most views.
func used(flags []cli.Flag, words []string) []cli.Flag {
	return slices.DeleteFunc(flags, func(f cli.Flag) bool {
		if d, ok := f.(cli.DocGenerationFlag); ok && len(d.GetEnvVars()) > 0 {
			return false
		}
		own := nameOf(f)
		return !slices.ContainsFunc(words, func(w string) bool {
			name, _, _ := strings.Cut(strings.TrimPrefix(w, "--"), "=")
			return name == own
		})
	})
}
