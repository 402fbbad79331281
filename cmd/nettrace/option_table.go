package main

import (
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"

	"github.com/nettrace/nettrace/internal/bytesize"
	"github.com/nettrace/nettrace/internal/netstat"
	"github.com/nettrace/nettrace/internal/option"
)

// Headings of the help.
const (
	headFilter = "Which of them"
	headSelect = "Which records, and what of them"
	headTrace  = "Tracing and output"
	headOutput = "Where records go"
	headOther  = "Other"
)

// optionTable returns the options of the command line, whose values go to o. The
// help, the manual page and the completions have them in this order.
func optionTable(o *options) []option.Option {
	table := append(netstat.Options(&o.Options, &o.views), filterFlags(&o.filter)...)
	table = append(table, selectOptions(o)...)
	table = append(table, traceOptions(o)...)
	table = append(table, o.out.Rows(headOutput)...)
	return append(table, otherOptions(o)...)
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
		{Name: "metrics", Heading: headTrace, Usage: "with -c, metrics for Prometheus, and /healthz, at `[HOST]:PORT` (without a host on loopback) or unix:PATH", Values: option.Listen, Into: o.metrics.Set},
		{Name: "no-owner", Heading: headTrace, Usage: "with -c, no search for owners of open sockets, only those that calls show: takes no capability", Into: &o.stream.Trace.NoOwners},
		{Name: "run-as", Heading: headTrace, Usage: "with -c, go on as a `USER`, a name or a number, with the capabilities alone that it still needs", Values: option.Users, Into: &o.runAs},
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
		{Name: "completion", Heading: headOther, Usage: "print the completion script for a `SHELL`: bash, fish or zsh", Values: "bash fish zsh", Into: &o.texts.Completion},
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
	size, ok := bytesize.Parse(text)
	if !ok || size < 1 || size > largest {
		return &usageError{fmt.Sprintf("option '--ring-size' needs a size from 1 to 1G, such as 16M, not '%s'", text)}
	}
	o.stream.Trace.RingBytes = ringBytes(int(size))
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
