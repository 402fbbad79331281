package main

import (
	"context"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"

	"github.com/nettrace/nettrace/internal/clock"
	"github.com/nettrace/nettrace/internal/container"
	"github.com/nettrace/nettrace/internal/doctor"
	"github.com/nettrace/nettrace/internal/fieldlist"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/metrics"
	"github.com/nettrace/nettrace/internal/names"
	"github.com/nettrace/nettrace/internal/netns"
	"github.com/nettrace/nettrace/internal/outputs"
	"github.com/nettrace/nettrace/internal/service"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/internal/view"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer"
)

// runStream streams the changes of sockets until a signal or an option ends
// it. SIGUSR1 asks for a comparison with the kernel's table, SIGHUP to open files anew.
func runStream(e *env, o *options, f *filter.Filter) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGUSR1) // a run that is still beginning is not ended by them
	opts, err := o.streamOptions()
	if err != nil {
		return err
	}
	if err := netns.Check(opts.Trace.NetnsPath); err != nil {
		return err
	}
	if f != nil {
		p, err := o.bindFilter(f, true, opts.Trace.NetnsPath)
		if err != nil {
			return err
		}
		if o.filter.explain {
			return explainFilter(e, p)
		}
		opts.Bind = binder(f, p, o.filterRun(true))
		if !o.filter.inUserSpace && opts.Trace.Protocols.Has(tracer.TCP) { // it is about TCP
			opts.Trace.Condition = p.Necessary()
		}
	}
	opts.Bind = o.checkingSummary(opts.Bind)
	m, err := metrics.Listen(o.metrics)
	if err != nil {
		return err
	}
	defer m.Close()
	outs, err := o.out.Read.Open(e.stdout, e.stderr)
	if err != nil {
		return err
	}
	if o.out.Named() {
		signal.Ignore(syscall.SIGPIPE) // else the end of stdout's reader loses what waits for other places
	}
	opts.Events, opts.Queues, opts.Files = o.out.Read.Events(), outs.Totals, outs.Files()
	opts.Observer = m.Observer(outs.Stats)
	workloads := container.Start(container.NewHost(opts.ProcRoot, "", "")) // it reads while the hooks load
	defer workloads.Close()
	defer onSignal(syscall.SIGHUP, func() { service.Reload(outs.Reopen) })() // until all is closed
	s, err := stream.Open(opts)
	if err != nil {
		return err
	}
	s.Enrich(workloads)
	defer func() { _ = s.Close() }() // what it detaches is gone with the process anyway
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	defer onSignal(syscall.SIGUSR1, s.Resync)()
	wall := clock.NewWall()
	defer func() { _ = wall.Close() }() // a timer, that is all
	return outs.Run(ctx, s, o.form(e, s, wall), service.Handlers()...)
}

// runDoctor reports what of tracing works on this machine.
func runDoctor(e *env, o *options) error {
	opts, err := o.streamOptions()
	if err != nil {
		return err
	}
	if err := netns.Check(opts.Trace.NetnsPath); err != nil {
		return err
	}
	opts.Trace.Protocols = tracer.AllProtocols
	traces, err := doctor.Report(e.stdout, opts.Trace)
	if err == nil && !traces {
		err = &view.Error{Status: view.StatusFailed}
	}
	return err
}

// onSignal calls f for each signal of a kind until stop is called.
func onSignal(kind os.Signal, f func()) (stop func()) {
	signals, stopped := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, kind)
	go func() {
		for {
			select {
			case <-signals:
				f()
			case <-stopped:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(stopped)
	}
}

// form says what the lines of a stream are.
func (o *options) form(e *env, s *stream.Stream, wall output.Clock) *outputs.Form {
	return &outputs.Form{
		JSON: o.JSON, Records: o.recordOptions(s), Text: o.textOptions(e, s), Watched: e.terminal.Stderr, Wall: wall,
		Summary: stream.SummaryOptions{Spec: o.Summary, Every: o.every, Count: o.Rounds, ASCII: !e.terminal.UTF8()},
	}
}

// textOptions say how the text of a stream looks.
func (o *options) textOptions(e *env, s *stream.Stream) stream.TextOptions {
	return stream.TextOptions{
		Listening:  o.Shown(),
		Extend:     o.Extend > 0,
		Timers:     o.Timers,
		Cmdline:    o.Programs,
		Netns:      o.stream.Trace.AllNetns,
		Hosts:      o.resolve && !o.NumericHosts,
		Ports:      o.resolve && !o.NumericPorts,
		Users:      !o.NumericUsers,
		Namespaces: s.EachNamespace,
		Closes:     o.stream.Events.Closes(),
		Tables:     o.tables(),
		Fields:     fieldlist.Chosen(o.fields),
		Width:      e.terminal.Width(),
		Color:      e.terminal.Colored(o.color),
		ASCII:      !e.terminal.UTF8(),
	}
}

// tables returns the tables that the text begins with.
func (o *options) tables() stream.Tables {
	if o.stream.NoSnapshot {
		return stream.NoTable
	}
	return stream.TablesOf(o.streamed())
}

// recordOptions says what stands in each record of a stream.
func (o *options) recordOptions(s *stream.Stream) output.NDJSONOptions {
	opts := output.NDJSONOptions{Host: o.HostName, RunID: rand.Uint64(), Cmdline: o.Programs, Devices: stream.NewDevices(s.EachNamespace)}
	opts.Fields, opts.SampleRate = o.Fields, o.stream.Sample
	if !o.NumericUsers {
		opts.Users = new(names.Resolver)
	}
	return opts
}
