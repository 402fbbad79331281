package main

import (
	"strings"
	"time"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/internal/summary"
	"github.com/nettrace/nettrace/internal/view"
	"github.com/nettrace/nettrace/tracer"
)

// selection says what stands in records, and what they are summed up to.
type selection struct {
	fields    string // list of fields, as it was given; empty: the default
	summarize bool
	summary   summary.Options
	every     time.Duration // a table of the stream each such time; 0: one at the end
}

// topOfText is how many groups a stream of text shows where nothing is said.
const topOfText = 20

func (o *options) setSummary(list string) error {
	o.summarize, o.summary.List = true, list
	return nil
}

// chooseSummary reads the options of a summary for what is shown.
func (o *options) chooseSummary(streams bool) error {
	if !o.summarize {
		return nil
	}
	others := o.Select().Others()
	for _, clash := range []struct {
		is   bool
		says string
	}{
		{o.Kind != view.Sockets, "option '--summary' is for sockets"},
		{o.summary.List == "" && len(o.filter.Operands) > 0, "option '--summary' takes its list after a '=': --summary=" + strings.Join(o.filter.Operands, " ")},
		{o.fields != "", "options '--summary' and '--fields' exclude each other: the list of the summary has its columns"},
		{o.out.Read.Closes(), "options '--summary' and '--events' exclude each other: --filter chooses what is summed up"},
		{streams && o.Rounds > 0 && o.every == 0, "option '--count' is about the tables of a summary, and needs --every"},
		{!streams && len(others) > 0, "option '--summary' is for Internet and Unix sockets: leave out " + strings.Join(others, ", ")},
	} {
		if clash.is {
			return &usageError{clash.says}
		}
	}
	o.summary.In = field.View
	if streams {
		o.summary.In = summaryIn(o.streamed())
		if o.summary.Top == 0 && !o.JSON {
			o.summary.Top = topOfText
		}
	}
	spec, err := summary.Parse(&o.summary)
	if err != nil {
		return &usageError{err.Error()}
	}
	o.Summary = spec
	for _, f := range spec.Fields() {
		o.Programs = o.Programs || !streams && f.Need&field.Owners != 0
	}
	return nil
}

// summaryIn says what a summary of the stream is about.
func summaryIn(traced tracer.Protocols) field.Where {
	in := field.Stream
	if traced.Has(tracer.TCP) {
		in |= field.Conns
	}
	if traced.Others() != 0 {
		in |= field.Others
	}
	return in
}

// checkSummed refuses a filter that would show only some of the records of connections
// whose records are followed: what is open would never end.
func (o *options) checkSummed(f *filter.Filter) error {
	if f != nil && f.AsksState() && o.Summary != nil && o.Summary.Counts() == summary.Connections {
		return &usageError{"option '--summary': a filter on states selects records, and connections are counted here: leave it out, or add state or outcome to the list"}
	}
	return nil
}

// checkingSummary has the run fail where its source does not know what is summed up, as
// polling knows no owners and no outcomes.
func (o *options) checkingSummary(bind stream.Binder) stream.Binder {
	if o.Summary == nil {
		return bind
	}
	return func(in field.Where) (stream.Matcher, string, error) {
		if err := o.Summary.Check(in); err != nil || bind == nil {
			return nil, "", err
		}
		return bind(in)
	}
}
