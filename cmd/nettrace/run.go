package main

import (
	"os"
	"runtime"

	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/netns"
	"github.com/nettrace/nettrace/internal/privilege"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/internal/view"
)

// run does what the command line says and returns the exit status.
func run(e *env, args []string) status {
	if len(args) == 0 {
		args = []string{"nettrace"}
	}
	o, err := parse(e, args)
	if err == nil && o != nil {
		err = show(e, o)
	}
	// What was printed before an error stands; a write error is not one, as
	// in netstat.
	_ = e.stdout.Flush()
	return report(e, err)
}

// show runs what o asks for: the stream, or one view once or each second.
func show(e *env, o *options) error {
	var err error
	if o.Kind, err = o.chosenView(); err != nil {
		return err
	}
	if o.JSON && o.HostName == "" {
		o.HostName, _ = os.Hostname() // without a name it stays empty
	}
	// Records come in whole lines already, and are written so.
	if o.JSON {
		e.stdout.Direct()
	}
	streams := o.streams() && !e.isNetstat()
	if err := o.checkSelection(streams); err != nil {
		return err
	}
	f, err := o.prepareFilter(e, streams)
	if err != nil {
		return err
	}
	if err := o.checkSummed(f); err != nil {
		return err
	}
	if (o.JSON || streams) && o.out.Stdout() {
		if err := e.unread(); err != nil {
			return err
		}
	}
	// The tracer enters no namespace with this thread: it may leave it.
	switch {
	case o.doctor:
		runtime.UnlockOSThread()
		return runDoctor(e, o)
	case streams:
		runtime.UnlockOSThread()
		if err := privilege.Become(o.runAs); err != nil {
			return err
		}
		return runStream(e, o, f)
	}
	if o.stream.Trace.AllNetns {
		return &usageError{"option '--all-netns' needs -c and " + stream.Kinds + "; --netns shows the views of one namespace"}
	}
	if err := enterNetns(o.netns); err != nil {
		return err
	}
	return runView(e, o, f)
}

// runView shows one view, once or each second.
func runView(e *env, o *options, f *filter.Filter) error {
	if f != nil {
		p, err := o.bindFilter(f, false, "")
		if err != nil {
			return err
		}
		if o.filter.explain {
			return explainFilter(e, p)
		}
		o.Filter = p
	}
	if o.Summary != nil {
		o.ASCII = !e.terminal.UTF8()
	}
	return view.Run(view.Env{Stdout: e.stdout, Stderr: e.stderr, Proc: o.procRoot}, o.Options)
}

// enterNetns moves the calling thread, which must be the main one, into a
// network namespace named on the command line.
func enterNetns(name string) error {
	path, err := netns.Path(name)
	if path == "" || err != nil {
		return err
	}
	return netns.Enter(path)
}
