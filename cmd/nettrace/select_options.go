package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nettrace/nettrace/internal/fieldlist"
	"github.com/nettrace/nettrace/internal/option"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer"
)

// selectOptions say which records there are, and what stands in them.
func selectOptions(o *options) []option.Option {
	return []option.Option{
		{Name: "events", Heading: headSelect, Usage: "with -c, tell `KIND`: all changes (the default), close: ends of connections alone, or failed: those that failed", Values: "all close failed", Into: o.setEvents},
		{Name: "no-snapshot", Heading: headSelect, Usage: "with -c, without the table at the start", Into: &o.stream.NoSnapshot},
		{Name: "sample", Heading: headSelect, Usage: "with -c, `1/N` of the connections, all that is told of each", Into: o.setSample},
		{Name: "fields", Heading: headSelect, Usage: "columns of -c, members of JSON: a `LIST` of names in their order; +NAME and -NAME change the default", Values: option.Fields, Into: &o.fields},
		{
			Name: "summary", Heading: headSelect, Values: option.Groups, Into: option.Optional(o.setSummary),
			Usage: "sums of sockets or connections instead of each, by `[=LIST]`: what groups differ by, and measures: count, sum(F), avg(F), min(F), max(F), p99(F) (default: state)",
		},
		{Name: "sort", Heading: headSelect, Usage: "order groups by an `ITEM` of the summary; -ITEM: falling", Standard: "the first measure, falling", Values: option.Measure, Into: &o.summary.Sort},
		{
			Name: "top", Heading: headSelect, Usage: "show `N` groups and what is left in one", Standard: "all; 20 in a stream of text", Into: &o.summary.Top,
			Then: func() error { return atLeastOne("top", o.summary.Top) },
		},
		{
			Name: "every", Heading: headSelect, Usage: "with -c, a summary each time `D`", Standard: "one at the end", Into: &o.every,
			Then: func() error { return atLeastOne("every", o.every) },
		},
		{
			Name: "summary-groups", Heading: headSelect, Usage: "keep at most `N` groups", Standard: "10000", Into: &o.summary.Groups,
			Then: func() error { return atLeastOne("summary-groups", o.summary.Groups) },
		},
	}
}

func (o *options) setEvents(kind string) error {
	events, ok := stream.ParseEvents(kind)
	if !ok {
		return &usageError{fmt.Sprintf("option '--events' takes all, close or failed, not '%s'", kind)}
	}
	o.stream.Events = events
	return nil
}

// setSample reads 1/N.
func (o *options) setSample(text string) error {
	digits, ok := strings.CutPrefix(text, "1/")
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n == 0 {
		return &usageError{fmt.Sprintf("option '--sample' takes 1/N, such as 1/100 for one connection in a hundred, not '%s'", text)}
	}
	o.stream.Sample = uint32(n)
	return nil
}

// checkSelection checks the options of selectOptions against the others, and reads
// the list of fields.
func (o *options) checkSelection(streams bool) error {
	if err := o.checkNeeds(streams); err != nil {
		return err
	}
	kinds := o.recordKinds(streams)
	if err := o.out.Choose(kinds, o.stream.Events, o.fields); err != nil {
		return err
	}
	if streams && o.out.Read.Fails() && !o.streamed().Has(tracer.TCP) {
		return &usageError{"option '--events' with failed tells of TCP connections: add -t"}
	}
	if o.out.Read.Closes() && o.Shown() == output.OnlyServers {
		return &usageError{"option '--events' with close or failed tells of connections, and -l shows none"}
	}
	if o.fields != "" {
		if err := o.chooseFields(kinds); err != nil {
			return err
		}
	}
	return o.chooseSummary(streams)
}

// checkNeeds checks that options which are about the stream, or about summaries, are
// given with it.
func (o *options) checkNeeds(streams bool) error {
	const needsStream, sums = "-c and " + stream.Kinds, "--summary"
	for _, option := range []struct {
		name  string
		given bool
		needs string
	}{
		{"events", o.stream.Events.Closes(), needsStream},
		{"no-snapshot", o.stream.NoSnapshot, needsStream},
		{"run-as", o.runAs != "", needsStream},
		{"no-owner", o.stream.Trace.NoOwners && !o.doctor, needsStream},
		{"sample", o.stream.Sample > 0, needsStream},
		{"metrics", o.metrics.Given(), needsStream},
		{"every", o.every > 0, needsStream},
		{"every", o.every > 0, sums},
		{"sort", o.summary.Sort != "", sums},
		{"top", o.summary.Top > 0, sums},
		{"summary-groups", o.summary.Groups > 0, sums},
	} {
		if option.given && (option.needs == needsStream && !streams || option.needs == sums && !o.summarize) {
			return &usageError{fmt.Sprintf("option '--%s' needs %s", option.name, option.needs)}
		}
	}
	return nil
}

// recordKinds returns the kinds of records that the stream has; none: there is no stream.
func (o *options) recordKinds(streams bool) []output.RecordKind {
	if !streams {
		return nil
	}
	return stream.RecordKinds(o.streamed())
}

// chooseFields reads the list of fields for what is shown, or for the kinds of records
// of the stream.
func (o *options) chooseFields(kinds []output.RecordKind) error {
	streams := len(kinds) > 0
	if !o.JSON && !streams {
		return &usageError{"option '--fields' needs --json, or -c and " + stream.Kinds}
	}
	v := fieldlist.Columns(nil)
	if o.JSON && streams {
		v = fieldlist.Records(kinds...)
	} else if o.JSON {
		v = fieldlist.Records(o.RecordKinds()...)
	}
	chosen, err := v.Parse(o.fields)
	if err != nil {
		return &usageError{fmt.Sprintf("option '--fields': %v", err)}
	}
	o.Fields = chosen
	for _, name := range v.Named(o.fields) {
		o.Programs = o.Programs || name == "cmdline" || !streams && fieldlist.NeedsOwner(name)
	}
	return nil
}
