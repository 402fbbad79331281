package main

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"

	"github.com/nettrace/nettrace/internal/option"
)

// Headings of the help.
const (
	headViews   = "Views"
	headSockets = "Sockets and address families"
	headShow    = "What to show of them"
	headFilter  = "Which of them"
	headSelect  = "Which records, and what of them"
	headTrace   = "Tracing and output"
	headOther   = "Other"
)

// optionTable returns the options of the command line, whose values go to o. The
// help, the manual page and the completions have them in this order.
func optionTable(o *options) []option.Option {
	table := append(showOptions(o), socketOptions(o)...)
	table = append(table, familyOptions()...)
	table = append(table, viewOptions(o)...)
	table = append(table, filterFlags(&o.filter)...)
	table = append(table, selectOptions(o)...)
	table = append(table, traceOptions(o)...)
	return append(table, otherOptions(o)...)
}

func viewOptions(o *options) []option.Option {
	return []option.Option{
		{Name: "route", Letter: "r", Place: 17, Heading: headViews, Usage: "routing tables", Into: option.Counted{N: &o.route}},
		{Name: "interfaces", Letter: "i", Place: 15, Heading: headViews, Usage: "interfaces and their counters", Into: option.Counted{N: &o.interfaces}},
		{Name: "groups", Letter: "g", Place: 44, Heading: headViews, Usage: "multicast group memberships", Into: &o.Groups},
		{Name: "statistics", Letter: "s", Place: 35, Heading: headViews, Usage: "counters of the protocols", Into: option.Counted{N: &o.statistics}},
		{Name: "masquerade", Letter: "M", Place: 18, Heading: headViews, Usage: "masqueraded connections", Into: option.Counted{N: &o.masquerade}},
	}
}

// familyOptions are other words for -A. The help names them there.
func familyOptions() []option.Option {
	return []option.Option{
		{Name: "ax25", Place: 1, Into: option.Family("ax25")},
		{Name: "x25", Place: 2, Into: option.Family("x25")},
		{Name: "ip", Place: 3, Into: option.Family("ip")},
		{Name: "ipx", Place: 4, Into: option.Family("ipx")},
		{Name: "appletalk", Place: 5, Into: option.Family("appletalk")},
		{Name: "netrom", Place: 6, Into: option.Family("netrom")},
		{Name: "inet", Place: 7, Into: option.Family("inet")},
		{Name: "inet6", Place: 8, Into: option.Family("inet6")},
		{Name: "ddp", Place: 9, Into: option.Family("ddp")},
		{Name: "rose", Place: 10, Into: option.Family("rose")},
		{Name: "unix", Place: 11, Into: option.Family("unix")},
		{Name: "bluetooth", Place: 12, Into: option.Family("bluetooth")},
		{Name: "tcpip", Place: 13, Into: option.Family("tcpip")},
		{Name: "unix", Letter: "x", Place: 25, Into: option.Family("unix")},
		{Letter: "4", Into: option.Family("inet")},
		{Letter: "6", Into: option.Family("inet6")},
	}
}

func socketOptions(o *options) []option.Option {
	return []option.Option{
		{Name: "tcp", Letter: "t", Place: 20, Heading: headSockets, Usage: "TCP sockets", Into: &o.TCP},
		{Name: "udp", Letter: "u", Place: 22, Heading: headSockets, Usage: "UDP sockets", Into: &o.UDP},
		{Name: "udplite", Letter: "U", Place: 23, Heading: headSockets, Usage: "UDP-Lite sockets", Into: &o.UDPLite},
		{Name: "sctp", Letter: "S", Place: 21, Heading: headSockets, Usage: "SCTP endpoints and associations", Into: &o.SCTP},
		{Name: "raw", Letter: "w", Place: 24, Heading: headSockets, Usage: "raw sockets", Into: &o.Raw},
		{
			Name: "protocol", Letter: "A", Place: 19, Heading: headSockets, Values: ",inet inet6 unix ipx ax25 x25 netrom rose ddp", Into: &o.Families,
			Usage: "address families: a `LIST` of inet (-4), inet6 (-6), unix (-x), ipx, ax25, x25, netrom, rose, ddp; also --inet, --unix, ...",
		},
		{Name: "l2cap", Letter: "2", Place: 26, Heading: headSockets, Usage: "Bluetooth L2CAP sockets (never compiled in)", Into: &o.Bluetooth},
		{Name: "rfcomm", Letter: "f", Place: 27, Heading: headSockets, Usage: "Bluetooth RFCOMM sockets (never compiled in)", Into: &o.Bluetooth},
	}
}

func showOptions(o *options) []option.Option {
	numeric := func() error {
		o.NumericHosts, o.NumericPorts, o.NumericUsers = true, true, true
		return nil
	}
	return []option.Option{
		{Name: "all", Letter: "a", Place: 29, Heading: headShow, Usage: "listening and other sockets; interfaces that are down", Into: &o.All},
		{Name: "listening", Letter: "l", Place: 28, Heading: headShow, Usage: "only listening sockets", Into: &o.Listening},
		{Name: "numeric", Letter: "n", Place: 37, Heading: headShow, Usage: "no names of hosts, ports and users", Then: numeric},
		{Name: "programs", Letter: "p", Place: 33, Heading: headShow, Usage: "process that holds each socket", Into: &o.Programs},
		{Name: "continuous", Letter: "c", Place: 31, Heading: headShow, Usage: "go on: stream every change of TCP sockets, repeat other views each second", Into: &o.Continuous},
		{Name: "extend", Letter: "e", Place: 32, Heading: headShow, Usage: "more columns; may be repeated", Into: option.Counted{N: &o.Extend}},
		{Name: "timers", Letter: "o", Place: 30, Heading: headShow, Usage: "timers of sockets", Into: &o.Timers},
		{Name: "wide", Letter: "W", Place: 36, Heading: headShow, Usage: "do not cut addresses", Into: &o.Wide},
		{Name: "verbose", Letter: "v", Place: 34, Heading: headShow, Usage: "say which tables the kernel does not have", Into: &o.Verbose},
		{Name: "numeric-hosts", Place: 38, Heading: headShow, Usage: "no names of hosts", Into: &o.NumericHosts},
		{Name: "numeric-ports", Place: 39, Heading: headShow, Usage: "no names of ports", Into: &o.NumericPorts},
		{Name: "numeric-users", Place: 40, Heading: headShow, Usage: "no names of users", Into: &o.NumericUsers},
		{Name: "symbolic", Letter: "N", Place: 41, Heading: headShow, Usage: "names of hardware (addresses of -r and of SCTP stay numbers)", Into: &o.Symbolic},
		{Name: "context", Letter: "Z", Place: 45, Heading: headShow, Usage: "its SELinux context", Into: &o.Context},
		{Name: "fib", Letter: "F", Place: 43, Heading: headShow, Usage: "routing table (the default)", Into: &o.FIB},
		{Name: "cache", Letter: "C", Place: 42, Heading: headShow, Usage: "routing cache instead of the table", Into: &o.Cache},
	}
}

// traceOptions are the options that netstat does not have. They have long names
// only, but for -j.
func traceOptions(o *options) []option.Option {
	return []option.Option{
		{Name: "json", Letter: "j", Heading: headTrace, Usage: "one JSON object a line (NDJSON)", Into: &o.JSON},
		{
			Name: "count", Heading: headTrace, Usage: "with -c, end after `N` changes or rounds", Standard: "no end", Into: &o.Rounds,
			Then: func() error { return atLeastOne("count", o.Rounds) },
		},
		{
			Name: "duration", Heading: headTrace, Usage: "with -c, end after a time `D` such as 90s", Standard: "no end", Into: &o.Duration,
			Then: func() error { return atLeastOne("duration", o.Duration) },
		},
		{Name: "netns", Heading: headTrace, Usage: "network namespace: a `NAME`, a path or a process id", Values: option.Netns, Into: &o.netns},
		{Name: "all-netns", Heading: headTrace, Usage: "with -c, all network namespaces", Into: &o.stream.Trace.AllNetns},
		{Name: "resolve", Heading: headTrace, Usage: "with -c, names of hosts and ports in the changes, as soon as they are known", Into: &o.resolve},
		{Name: "color", Heading: headTrace, Usage: "with -c, failures in color: `WHEN` is auto, always or never", Values: "auto always never", Into: o.setColor},
		{Name: "require-bpf", Heading: headTrace, Usage: "with -c, fail where BPF cannot be used instead of polling", Into: &o.stream.RequireBPF},
		{
			Name: "interval", Heading: headTrace, Usage: "with -c, compare with the kernel's table every `D`", Standard: "chosen by the tracer", Into: &o.stream.Trace.Reconcile,
			Then: func() error { return atLeastOne("interval", o.stream.Trace.Reconcile) },
		},
		{Name: "ring-size", Heading: headTrace, Usage: "with -c, `SIZE` of the kernel's buffer, as in 16M, rounded up to a power of two", Into: o.setRingSize},
		{
			Name: "source", Heading: headTrace, Usage: "read sockets from `WHERE`: proc or diag (default: diag where it serves)", Values: "proc diag", Into: &o.Source,
			Then: o.checkSource,
		},
		{Name: "host-name", Heading: headTrace, Usage: "`NAME` of this host in JSON", Env: "NODE_NAME", Into: &o.HostName},
		{Name: "doctor", Heading: headTrace, Usage: "say what of tracing works on this machine and what is inexact", Into: &o.doctor},
		{Name: "hooks", Usage: "comma `LIST` of hook variants to use", Into: o.setHooks},
		{Name: "proc", Usage: "`ROOT` of the proc file system", Values: option.Dirs, Into: &o.procRoot},
	}
}

// otherOptions ask for a text, or are accepted and mean nothing.
func otherOptions(o *options) []option.Option {
	return []option.Option{
		{Name: "help", Letter: "h", Place: 16, Heading: headOther, Usage: "this text", Library: true},
		{Name: "version", Letter: "V", Place: 14, Heading: headOther, Usage: "version", Library: true},
		{Name: "man", Heading: headOther, Usage: "print the manual page", Into: &o.texts.Manual},
		{Name: "completion", Heading: headOther, Usage: "print the completion script for a `SHELL`", Values: "bash fish zsh", Into: &o.texts.Completion},
		{Letter: "?"}, // the usage, as an error
		{Letter: "d"}, // netstat accepts it and does nothing
	}
}

// atLeastOne checks a number that is given to end or pace something.
func atLeastOne[N ~int | ~int64](option string, n N) error {
	if n < 1 {
		return &usageError{fmt.Sprintf("option '--%s' needs a value above zero", option)}
	}
	return nil
}

func (o *options) setRingSize(text string) error {
	const largest = 1 << 30
	size, ok := option.Size(text)
	if !ok || size > largest {
		return &usageError{fmt.Sprintf("option '--ring-size' needs a size from 1 to 1G, such as 16M, not '%s'", text)}
	}
	o.stream.Trace.RingBytes = ringBytes(size)
	return nil
}

// ringBytes rounds a size up to one that a ring buffer can have: a power of two,
// and a page at least.
func ringBytes(size int) int {
	return 1 << bits.Len(uint(max(size, os.Getpagesize())-1))
}

func (o *options) setColor(when string) error {
	if !slices.Contains([]string{"auto", "always", "never"}, when) {
		return &usageError{fmt.Sprintf("option '--color' takes auto, always or never, not '%s'", when)}
	}
	o.color = when
	return nil
}

func (o *options) checkSource() error {
	if o.Source != "proc" && o.Source != "diag" {
		return &usageError{fmt.Sprintf("option '--source' takes proc or diag, not '%s'", o.Source)}
	}
	return nil
}

func (o *options) setHooks(list string) error {
	o.stream.Trace.Hooks = strings.Split(list, ",")
	return nil
}
