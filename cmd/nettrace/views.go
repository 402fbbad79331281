package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// session is one run over the views: what stays between the rounds of -c.
type session struct {
	env    *env
	opts   *options
	rounds int // rounds shown so far
	names  *output.Resolver
	json   *output.NDJSON      // nil: text
	iters  *snapshot.Iterators // nil: not used so far

	used    int  // sockets in this round
	counted bool // used is known
}

func newSession(e *env, o *options) *session {
	s := &session{env: e, opts: o, names: &output.Resolver{
		NumericHosts: o.numericHosts,
		NumericPorts: o.numericPorts,
		NumericUsers: o.numericUsers,
	}}
	if o.json {
		s.json = newRecords(e, o, s.names, false)
	}
	return s
}

// round shows the view once.
func (s *session) round(v view) error {
	s.counted = false
	if s.json == nil {
		return s.tables(v)
	}
	err := s.records(v)
	// As in netstat, a reader that does not take the records is no failure.
	_ = s.json.Flush()
	return err
}

// tables shows the view as netstat does.
func (s *session) tables(v view) error {
	o, out, diag := s.opts, s.env.stdout, s.env.stderr
	switch v {
	case viewMasquerade:
		return output.Masquerades(out, diag, o.procRoot, s.masqueradeOptions())
	case viewStatistics:
		return output.Statistics(out, diag, o.procRoot, o.statisticsOptions())
	case viewRoutes:
		return output.Routes(out, diag, o.procRoot, s.routeOptions())
	case viewInterfaces:
		return s.interfaces()
	default:
		return s.sockets(o.selectSockets())
	}
}

// records tells the view as JSON.
func (s *session) records(v view) error {
	o, diag := s.opts, s.env.stderr
	switch v {
	case viewMasquerade:
		return s.json.Masquerades(diag, o.procRoot, s.masqueradeOptions())
	case viewStatistics:
		return s.json.Statistics(diag, o.procRoot, o.statisticsOptions())
	case viewRoutes:
		return s.json.Routes(diag, o.procRoot, s.routeOptions())
	case viewInterfaces:
		return s.interfaces()
	default:
		return s.sockets(o.selectSockets())
	}
}

func (o *options) statisticsOptions() output.StatisticsOptions {
	return output.StatisticsOptions{
		Families: o.families, TCP: o.tcp, UDP: o.udp, Raw: o.raw, SCTP: o.sctp, UDPLite: o.udplite,
	}
}

func (s *session) routeOptions() output.RouteOptions {
	o := s.opts
	return output.RouteOptions{
		Families: o.families, FIB: o.fib, Cache: o.cache, Extend: o.extend,
		// -N, which is about hardware names, turns the others off here.
		Names: s.hostNames(o.numericHosts || o.symbolic),
	}
}

// hostNames gives the names of hosts, or none at all.
func (s *session) hostNames(numeric bool) output.Names {
	if numeric {
		return nil
	}
	return s.names
}

func (s *session) masqueradeOptions() output.MasqueradeOptions {
	o := output.MasqueradeOptions{Extend: s.opts.extend > 0, Names: s.hostNames(s.opts.numericHosts)}
	if !s.opts.numericPorts {
		o.Services = s.names
	}
	return o
}

// interfaces shows the interfaces of the namespace.
func (s *session) interfaces() error {
	source, err := snapshot.NewIoctl()
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	o := output.InterfaceOptions{All: s.opts.all, Long: s.opts.extend > 0, Title: s.rounds == 0}
	if s.json != nil {
		return s.json.Interfaces(s.env.stderr, s.opts.procRoot, source, o)
	}
	return output.Interfaces(s.env.stdout, s.env.stderr, s.opts.procRoot, source, o)
}

// absent reports whether a file could not be opened because the kernel does not
// have what it would hold. As in netstat, a file that may not be read counts.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EACCES)
}

// missing tells that a table is absent and decides what that means: one that
// was asked for by name ends the run once its part is shown, another one is
// told with -v only, and not at all if quiet.
func (s *session) missing(name string, named, quiet bool) error {
	if named || s.opts.verbose && !quiet {
		fmt.Fprintf(s.env.stderr, "netstat: no support for `%s' on this system.\n", name)
	}
	if named {
		return &viewError{status: statusFailed}
	}
	return nil
}

// openFailure ends the run because a file could not be opened for another
// reason than its absence.
func openFailure(err error) error {
	var path *fs.PathError
	if !errors.As(err, &path) {
		return err
	}
	return &viewError{statusInternal, fmt.Sprintf("%s: %s", path.Path, errnoText(path.Err))}
}

// errnoText spells the reason of an error as the C library does.
func errnoText(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return string(text[0]&^0x20) + text[1:]
}
