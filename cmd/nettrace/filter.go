package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/filter/lookup"
	"github.com/nettrace/nettrace/internal/filter/source"
	"github.com/nettrace/nettrace/internal/option"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/internal/view"
	"github.com/nettrace/nettrace/tracer"
)

// filterOptions say which sockets and records are told.
type filterOptions struct {
	source.Source
	explain     bool
	inUserSpace bool // the kernel side sends what the filter leaves out
}

func filterFlags(f *filterOptions) []option.Option {
	return []option.Option{
		{Name: "filter", Heading: headFilter, Usage: "only what an `EXPRESSION` selects, as in ss(8); may be repeated", Into: &f.Expressions},
		{Name: "filter-file", Heading: headFilter, Usage: "the expression in `FILE`, or in stdin (-); lines that begin with # are left out", Values: option.Files, Into: &f.Files},
		{Name: "explain-filter", Heading: headFilter, Usage: "say how the filter is read and what it takes", Into: &f.explain},
		{Name: "port", Heading: headFilter, Usage: "only `PORT`, at either end; like those below short for an expression", Into: &f.Flags.Port},
		{Name: "pid", Heading: headFilter, Usage: "only sockets of process `N`", Into: &f.Flags.PID},
		{Name: "comm", Heading: headFilter, Usage: "only sockets of processes of this `NAME`", Into: &f.Flags.Comm},
		{Name: "user", Heading: headFilter, Usage: "only sockets of `USER`", Values: option.Users, Into: &f.Flags.User},
		{Name: "state", Heading: headFilter, Usage: "only sockets in `STATE`", Values: ",established syn-sent syn-recv fin-wait-1 fin-wait-2 time-wait closed close-wait last-ack listening closing all connected synchronized bucket big", Into: &f.Flags.State},
		{Name: "failed", Heading: headFilter, Usage: "with -c, only connections that were never established", Into: &f.Flags.Failed},
		{Name: "slower", Heading: headFilter, Usage: "with -c, only connections that took longer than `D` to open, or to fail", Into: &f.Flags.Slower},
		{Name: "filter-in-user-space", Usage: "with -c, have the kernel side send what the filter leaves out", Into: &f.inUserSpace},
	}
}

// prepareFilter reads the filter and has views use it. It returns nil if there is none.
// Nothing is looked up or started before every error is found that the words have.
func (o *options) prepareFilter(e *env, streams bool) (*filter.Filter, error) {
	sel := o.Select()
	f, err := o.filter.Parse(os.Stdin, sel.Explicit && sel.Unix && !sel.Protocols.Any())
	if f == nil && err == nil && o.filter.explain {
		return nil, &usageError{"option '--explain-filter' needs a filter to explain"}
	}
	if f == nil || err != nil {
		return nil, err
	}
	if o.Kind != view.Sockets || o.doctor {
		return nil, &filter.Error{What: "it selects sockets", Hint: "leave -r, -i, -s, -M and --doctor out"}
	}
	if err := f.Check(o.filterRun(streams)); err != nil {
		return nil, err
	}
	for _, note := range f.Notes {
		fmt.Fprintln(e.stderr, "note:", note)
	}
	if f.AsksState() {
		o.All, o.Listening = true, false
	}
	return f, nil
}

// filterRun says what the filter is for.
func (o *options) filterRun(streams bool) filter.Run {
	caps, err := capability.Effective()
	run := filter.Run{In: field.View, AllNetns: o.stream.Trace.AllNetns, Marks: err == nil && caps.Has(unix.CAP_NET_ADMIN)}
	if streams {
		run.In, run.Of = field.Stream, filterOf(o.streamed())
	}
	return run
}

// filterOf says whose sockets a stream has.
func filterOf(traced tracer.Protocols) filter.Protocols {
	return filter.Protocols{NoTCP: !traced.Has(tracer.TCP), Others: traced.Others() != 0, Unix: traced.Has(tracer.Unix)}
}

// bindFilter looks the names of a filter up. The interfaces are those of a network
// namespace, given by its file; empty: the current one.
func (o *options) bindFilter(f *filter.Filter, streams bool, netnsPath string) (*filter.Program, error) {
	return f.Bind(&lookup.System{NetnsPath: netnsPath}, o.filterRun(streams))
}

// explainFilter prints what a filter does.
func explainFilter(e *env, p *filter.Program) error {
	_, err := fmt.Fprint(e.stdout, p.Explain())
	return err
}

// binder has the stream use a filter that is bound. Where it has to poll, a filter
// that asks for what polling does not know is an error.
func binder(f *filter.Filter, p *filter.Program, run filter.Run) stream.Binder {
	canonical := p.Canonical()
	return func(in field.Where) (stream.Matcher, string, error) {
		if err := f.Check(filter.Run{In: in, Of: run.Of}); err != nil {
			return nil, "", err
		}
		return p, canonical, nil
	}
}
