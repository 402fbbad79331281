package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// Headings of the help.
const (
	headViews   = "Views"
	headSockets = "Sockets and address families"
	headShow    = "What to show of them"
	headTrace   = "Tracing and output"
	headOther   = "Other"
)

// netstatFlags are netstat's options by their full names. The letters are for
// the help: they are read before, by getopt.
func netstatFlags(o *options) []cli.Flag {
	return []cli.Flag{
		counter(headViews, "route", "r", "routing tables"),
		counter(headViews, "interfaces", "i", "interfaces and their counters"),
		toggle(headViews, "groups", "g", "multicast group memberships", &o.groups),
		counter(headViews, "statistics", "s", "counters of the protocols"),
		counter(headViews, "masquerade", "M", "masqueraded connections"),

		toggle(headSockets, "tcp", "t", "TCP sockets", &o.tcp),
		toggle(headSockets, "udp", "u", "UDP sockets", &o.udp),
		toggle(headSockets, "udplite", "U", "UDP-Lite sockets", &o.udplite),
		toggle(headSockets, "sctp", "S", "SCTP endpoints and associations", &o.sctp),
		toggle(headSockets, "raw", "w", "raw sockets", &o.raw),
		&cli.StringSliceFlag{
			Category: headSockets, Name: "protocol", Aliases: []string{"A"},
			Usage: "address families: a `LIST` of inet (-4), inet6 (-6), unix (-x), ipx, ax25, x25, netrom, rose, ddp; also --inet, --unix, …",
			Action: func(_ *cli.Context, list []string) error {
				o.families = list
				return nil
			},
		},
		toggle(headSockets, "l2cap", "2", "Bluetooth L2CAP sockets (never compiled in)", &o.l2cap),
		toggle(headSockets, "rfcomm", "f", "Bluetooth RFCOMM sockets (never compiled in)", &o.rfcomm),

		toggle(headShow, "all", "a", "listening and other sockets; interfaces that are down", &o.all),
		toggle(headShow, "listening", "l", "only listening sockets", &o.listening),
		toggle(headShow, "numeric", "n", "no names of hosts, ports and users", nil),
		toggle(headShow, "numeric-hosts", "", "no names of hosts", &o.numericHosts),
		toggle(headShow, "numeric-ports", "", "no names of ports", &o.numericPorts),
		toggle(headShow, "numeric-users", "", "no names of users", &o.numericUsers),
		toggle(headShow, "symbolic", "N", "names of hardware (addresses of -r and of SCTP stay numbers)", &o.symbolic),
		counter(headShow, "extend", "e", "more columns; may be repeated"),
		toggle(headShow, "timers", "o", "timers of sockets", &o.timers),
		toggle(headShow, "programs", "p", "process that holds each socket", &o.programs),
		toggle(headShow, "context", "Z", "its SELinux context", &o.context),
		toggle(headShow, "wide", "W", "do not cut addresses", &o.wide),
		toggle(headShow, "verbose", "v", "say which tables the kernel does not have", &o.verbose),
		toggle(headShow, "fib", "F", "routing table (the default)", &o.fib),
		toggle(headShow, "cache", "C", "routing cache instead of the table", &o.cache),
		toggle(headShow, "continuous", "c", "go on: stream every change of TCP sockets, repeat other views each second", &o.continuous),
	}
}

// ownFlags are the options that netstat does not have. They have long names
// only, but for -j.
func ownFlags(o *options) []cli.Flag {
	return []cli.Flag{
		toggle(headTrace, "json", "j", "one JSON object a line (NDJSON)", &o.json),
		&cli.IntFlag{
			Category: headTrace, Name: "count", Usage: "with -c, end after `N` changes or rounds", DefaultText: "no end", Destination: &o.count,
			Action: func(_ *cli.Context, n int) error { return atLeastOne("count", n) },
		},
		&cli.DurationFlag{
			Category: headTrace, Name: "duration", Usage: "with -c, end after a time `D` such as 90s", DefaultText: "no end", Destination: &o.duration,
			Action: func(_ *cli.Context, d time.Duration) error { return atLeastOne("duration", d) },
		},
		&cli.StringFlag{Category: headTrace, Name: "netns", Usage: "network namespace: a `NAME`, a path or a process id", Destination: &o.netns},
		toggle(headTrace, "all-netns", "", "with -c, all network namespaces", &o.allNetns),
		toggle(headTrace, "resolve", "", "with -c, names of hosts and ports in the changes, as soon as they are known", &o.resolve),
		toggle(headTrace, "require-bpf", "", "with -c, fail where BPF cannot be used instead of polling", &o.requireBPF),
		&cli.DurationFlag{
			Category: headTrace, Name: "interval", Usage: "with -c, compare with the kernel's table every `D`", DefaultText: "chosen by the tracer", Destination: &o.interval,
			Action: func(_ *cli.Context, d time.Duration) error { return atLeastOne("interval", d) },
		},
		&cli.StringFlag{
			Category: headTrace, Name: "ring-size", Usage: "with -c, `SIZE` of the kernel's buffer, as in 16M",
			Action: func(_ *cli.Context, text string) (err error) {
				o.ringSize, err = parseSize(text)
				return err
			},
		},
		&cli.StringFlag{
			Category: headTrace, Name: "source", Usage: "read TCP sockets and owners from `WHERE`: proc or bpf (default: the faster)", Destination: &o.source,
			Action: func(_ *cli.Context, where string) error {
				if where != "proc" && where != "bpf" {
					return &usageError{fmt.Sprintf("option '--source' takes proc or bpf, not '%s'", where)}
				}
				return nil
			},
		},
		&cli.StringFlag{Category: headTrace, Name: "host-name", Usage: "`NAME` of this host in JSON", EnvVars: []string{"NODE_NAME"}, Destination: &o.hostName},
		toggle(headTrace, "doctor", "", "say what of tracing works on this machine and what is inexact", &o.doctor),
		&cli.StringFlag{
			Name: "hooks", Hidden: true, Usage: "comma `LIST` of hook variants to use",
			Action: func(_ *cli.Context, list string) error {
				o.hooks = strings.Split(list, ",")
				return nil
			},
		},
		&cli.StringFlag{Name: "proc", Hidden: true, Usage: "`ROOT` of the proc file system", Destination: &o.procRoot},
		&cli.BoolFlag{Name: "man", Hidden: true, Usage: "print the manual page"},
		&cli.StringFlag{Name: "completion", Hidden: true, Usage: "print the completion script for a `SHELL`"},
	}
}

func toggle(category, name, letter, usage string, into *bool) cli.Flag {
	f := &cli.BoolFlag{Category: category, Name: name, Usage: usage, DisableDefaultText: true, Destination: into}
	if letter != "" {
		f.Aliases = []string{letter}
	}
	return f
}

// counter is an option whose repeats count. cli.Context.Count gives the number.
func counter(category, name, letter, usage string) cli.Flag {
	return &cli.BoolFlag{Category: category, Name: name, Aliases: []string{letter}, Usage: usage, DisableDefaultText: true}
}

// longTable gives the flags as a getopt table.
func longTable(flags []cli.Flag) []longOption {
	var table []longOption
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		name := nameOf(f)
		table = append(table, longOption{name, name, !isBool})
	}
	return table
}

// nameOf gives the long name of a flag. The flag's own method looks for it with
// regular expressions.
func nameOf(f cli.Flag) string {
	switch f := f.(type) {
	case *cli.BoolFlag:
		return f.Name
	case *cli.StringFlag:
		return f.Name
	case *cli.IntFlag:
		return f.Name
	case *cli.DurationFlag:
		return f.Name
	}
	return f.Names()[0]
}

// atLeastOne checks a number that is given to end or pace something.
func atLeastOne[N ~int | ~int64](option string, n N) error {
	if n < 1 {
		return &usageError{fmt.Sprintf("option '--%s' needs a value above zero", option)}
	}
	return nil
}

// parseSize reads a number of bytes with an optional suffix K, M or G, powers
// of 1024.
func parseSize(text string) (int, error) {
	digits, shift := text, 0
	if i := strings.IndexAny("KMG", text[max(len(text)-1, 0):]); i >= 0 && text != "" {
		digits, shift = text[:len(text)-1], 10*(i+1)
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n == 0 || n<<shift > math.MaxUint32>>1 {
		return 0, &usageError{fmt.Sprintf("option '--ring-size' needs a size from 1 to 2047M, such as 16M, not '%s'", text)}
	}
	return int(n) << shift, nil
}
