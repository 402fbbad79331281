package main

import (
	"github.com/nettrace/nettrace/internal/option"
	"github.com/nettrace/nettrace/internal/view"
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

var about = option.Program{
	Name:        "nettrace",
	Usage:       "netstat, and a tracer of TCP connections",
	UsageText:   "nettrace [-r | -i | -g | -s | -M] [OPTION...]",
	Description: description,
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
	program := about
	program.Version = version
	ran, err := table.Set(&program, list, &o.texts, e.stdout)
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
