package main

import (
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/build"
	"github.com/nettrace/nettrace/internal/metrics"
	"github.com/nettrace/nettrace/internal/netns"
	"github.com/nettrace/nettrace/internal/netstat"
	"github.com/nettrace/nettrace/internal/option"
	"github.com/nettrace/nettrace/internal/outputs"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/internal/view"
	"github.com/nettrace/nettrace/tracer"
)

// options is a command line, read. Tests compare it; nothing is started by
// making it.
type options struct {
	view.Options                // netstat's options, and those that views and stream share
	stream       stream.Options // options of the stream alone; see streamOptions

	views netstat.Views

	out outputs.Choice // where the stream goes

	filter    filterOptions // which sockets and records are told
	selection               // which records, and what of them

	metrics  metrics.Place
	resolve  bool   // names of hosts and ports in the changes
	color    string // auto (or empty), always or never
	doctor   bool
	runAs    string // the user to go on as; empty: who starts it
	netns    string // name, path or pid of a network namespace; empty: the current one
	procRoot string // where the proc file system is

	texts option.Texts // that are printed instead
}

// chosenView returns the view that runs.
func (o *options) chosenView() (view.Kind, error) {
	kind, ok := o.views.Chosen()
	if !ok {
		return 0, &usageError{}
	}
	return kind, nil
}

// streamed returns whose changes -c streams: the sockets that are named, and TCP's where
// nothing is or a family alone; none: there is no stream.
func (o *options) streamed() (p tracer.Protocols) {
	kind, err := o.chosenView()
	if err != nil || kind != view.Sockets || !o.Continuous {
		return 0
	}
	sel := o.Select()
	if !sel.Explicit || sel.Implied {
		p = tracer.TCP
	}
	named := sel.Explicit && !sel.Implied
	for _, part := range []struct {
		asked bool
		is    tracer.Protocols
	}{
		{named && sel.TCP, tracer.TCP},
		{named && sel.UDP, tracer.UDP},
		{named && sel.UDPLite, tracer.UDPLite},
		{named && sel.Raw, tracer.Raw},
		{sel.Explicit && sel.Unix, tracer.Unix},
	} {
		if part.asked {
			p |= part.is
		}
	}
	return p
}

// streams reports whether -c means the stream.
func (o *options) streams() bool { return o.streamed() != 0 }

// streamOptions returns all that the options say of the stream.
func (o *options) streamOptions() (stream.Options, error) {
	opts := o.stream
	opts.Trace.Family, opts.Trace.Protocols = o.streamFamily(), o.streamed()
	opts.ProcRoot = o.procRoot
	opts.Listening = o.Shown()
	opts.Count, opts.Duration = o.Rounds, o.Duration
	if o.Summary != nil {
		opts.Count = 0 // tables are counted
	}
	opts.LeftOut = o.leftOut()
	opts.Version = build.Version()
	var err error
	opts.Trace.NetnsPath, err = netns.Path(o.netns)
	return opts, err
}

// streamFamily returns the one address family that the options ask for, or 0.
func (o *options) streamFamily() uint16 {
	switch sel := o.Select(); {
	case sel.IPv4 && !sel.IPv6:
		return unix.AF_INET
	case sel.IPv6 && !sel.IPv4:
		return unix.AF_INET6
	}
	return 0
}

// leftOut names what the options ask for by name, and what no stream has yet.
func (o *options) leftOut() []string {
	sel := o.Select()
	sel.TCP, sel.UDP, sel.UDPLite, sel.Raw, sel.Unix = false, false, false, false, false
	names := sel.Named()
	if o.Context {
		names = append(names, "SELinux contexts")
	}
	return names
}
