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

// streams reports whether -c means the stream of TCP changes: TCP sockets are
// among what is shown.
func (o *options) streams() bool {
	kind, err := o.chosenView()
	return err == nil && kind == view.Sockets && o.Continuous && o.Select().TCP
}

// streamOptions returns all that the options say of the stream.
func (o *options) streamOptions() (stream.Options, error) {
	opts := o.stream
	opts.Trace.Family = o.streamFamily()
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

// leftOut names what the options ask for beside TCP sockets, by name, and what no
// stream has yet.
func (o *options) leftOut() []string {
	var names []string
	for _, name := range o.Select().Named() {
		if name != "TCP sockets" {
			names = append(names, name)
		}
	}
	if o.Context {
		names = append(names, "SELinux contexts")
	}
	return names
}
