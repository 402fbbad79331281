// Package netstat is the options of net-tools 2.10 netstat: their letters, their long
// names, and their places in its table.
package netstat

import (
	"github.com/nettrace/nettrace/internal/option"
	"github.com/nettrace/nettrace/internal/view"
)

// Headings of the help.
const (
	headViews   = "Views"
	headSockets = "Sockets and address families"
	headShow    = "What to show of them"
)

// Views counts the options that choose a view, as netstat does: more than one in all is
// an error.
type Views struct{ Route, Interfaces, Statistics, Masquerade int }

// Chosen returns the view that they choose. Where they choose several, ok is false.
func (n Views) Chosen() (kind view.Kind, ok bool) {
	switch {
	case n.Interfaces+n.Route+n.Masquerade+n.Statistics > 1:
		return 0, false
	case n.Masquerade > 0:
		return view.Masquerade, true
	case n.Statistics > 0:
		return view.Statistics, true
	case n.Route > 0:
		return view.Routes, true
	case n.Interfaces > 0:
		return view.Interfaces, true
	}
	return view.Sockets, true
}

// Options returns netstat's options, whose values go to o and n. Those that are used
// most come first.
func Options(o *view.Options, n *Views) []option.Option {
	table := append(showOptions(o), socketOptions(o)...)
	table = append(table, familyOptions()...)
	return append(table, viewOptions(o, n)...)
}

func viewOptions(o *view.Options, n *Views) []option.Option {
	return []option.Option{
		{Name: "route", Letter: "r", Place: 17, Heading: headViews, Usage: "routing tables", Into: option.Counted{N: &n.Route}},
		{Name: "interfaces", Letter: "i", Place: 15, Heading: headViews, Usage: "interfaces and their counters", Into: option.Counted{N: &n.Interfaces}},
		{Name: "groups", Letter: "g", Place: 44, Heading: headViews, Usage: "multicast group memberships", Into: &o.Groups},
		{Name: "statistics", Letter: "s", Place: 35, Heading: headViews, Usage: "counters of the protocols", Into: option.Counted{N: &n.Statistics}},
		{Name: "masquerade", Letter: "M", Place: 18, Heading: headViews, Usage: "masqueraded connections", Into: option.Counted{N: &n.Masquerade}},
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

func socketOptions(o *view.Options) []option.Option {
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

func showOptions(o *view.Options) []option.Option {
	numeric := func() error {
		o.NumericHosts, o.NumericPorts, o.NumericUsers = true, true, true
		return nil
	}
	return []option.Option{
		{Name: "all", Letter: "a", Place: 29, Heading: headShow, Usage: "listening and other sockets; interfaces that are down", Into: &o.All},
		{Name: "listening", Letter: "l", Place: 28, Heading: headShow, Usage: "only listening sockets", Into: &o.Listening},
		{Name: "numeric", Letter: "n", Place: 37, Heading: headShow, Usage: "no names of hosts, ports and users", Then: numeric},
		{Name: "programs", Letter: "p", Place: 33, Heading: headShow, Usage: "process that holds each socket", Into: &o.Programs},
		{Name: "continuous", Letter: "c", Place: 31, Heading: headShow, Usage: "go on: stream every change of sockets (TCP's where none are named), repeat other views each second", Into: &o.Continuous},
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
