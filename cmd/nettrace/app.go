package main

import (
	"github.com/nettrace/nettrace/internal/build"
	"github.com/nettrace/nettrace/internal/fieldlist"
	"github.com/nettrace/nettrace/internal/manual"
	"github.com/nettrace/nettrace/internal/option"
	"github.com/nettrace/nettrace/internal/summary"
	"github.com/nettrace/nettrace/internal/view"
)

// usageText follows the message of a usage error.
const usageText = `usage: nettrace [-r | -i | -g | -s | -M] [-tuUSwx] [-46] [-A FAMILY,...]
                [-aleopcnvWNFCZ] [-j] [OPTION...]
Try 'nettrace --help' for more information.
`

var about = option.Program{
	Name:      "nettrace",
	Usage:     "netstat, and a tracer of TCP connections",
	UsageText: "nettrace [-r | -i | -g | -s | -M] [OPTION...]",
	Examples:  manual.Examples, Manual: manual.Page, About: build.About,
	Fields: fieldlist.Names, Measures: summary.Names,
}

// parse reads the command line of e. It returns no options when the command line
// asked for a text that is now printed (help, version, manual page, completion).
func parse(e *env, args []string) (*options, error) {
	o := &options{procRoot: view.DefaultProc}
	table := option.NewTable(optionTable(o))
	list, operands, err := normalise(e, table, args[1:])
	if err != nil {
		return nil, err
	}
	ran, err := table.Set(&about, list, &o.texts, e.stdout)
	if err != nil || !ran {
		return nil, err
	}
	o.JSON = o.JSON || o.out.Records()
	o.Programs = o.Programs || o.Context
	if o.filter.Any() || o.summarize {
		o.filter.Operands = operands
	}
	return o, nil
}
