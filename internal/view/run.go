package view

import (
	"io"
	"math/rand/v2"
	"time"

	"github.com/nettrace/nettrace/internal/names"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// Env is where a run reads and writes.
type Env struct {
	Stdout Stdout
	Stderr io.Writer
	Proc   string // root of the proc file system; empty: DefaultProc
	// Interfaces answers for the interfaces of the network namespace; nil means
	// the kernel.
	Interfaces snapshot.InterfaceSource
}

// Stdout is a buffered writer. Text that it cannot write ends no run, as in
// netstat; records that it cannot write do.
type Stdout interface {
	io.Writer
	Flush() error
}

// DefaultProc is where the proc file system is.
const DefaultProc = "/proc"

// Run shows a view, once or, with Continuous, each second until it fails or its
// rounds or its time are over. What netstat says on stderr has been printed
// when an *Error is returned.
func Run(env Env, o Options) error {
	s := newSession(env, o)
	if !o.Continuous || o.Kind == Statistics {
		return s.round()
	}
	return s.repeat()
}

// session is one run: what stays between the rounds of -c.
type session struct {
	env     Env
	opts    Options
	names   output.Names
	records *output.RowRecords // nil: text
	outlet  outlet             // of the records
	reader  reader
	rounds  int // rounds shown so far
}

func newSession(env Env, o Options) *session {
	if env.Proc == "" {
		env.Proc = DefaultProc
	}
	s := &session{env: env, opts: filteredOptions(o), names: chosenNames(&o)}
	s.reader = reader{opts: &s.opts, proc: env.Proc}
	if o.JSON {
		s.outlet.w = env.Stdout
		s.records = output.NewRowRecords(&s.outlet, output.NDJSONOptions{
			Host: o.HostName, RunID: rand.Uint64(), Cmdline: o.Programs, Users: s.names.Users,
			Devices: &s.reader.devices, Workloads: &s.reader.workloads, Fields: o.Fields,
		})
	}
	return s
}

// chosenNames returns the names that the options leave.
func chosenNames(o *Options) output.Names {
	var n output.Names
	resolver := new(names.Resolver)
	if !o.NumericHosts {
		n.Hosts = resolver
	}
	if !o.NumericPorts {
		n.Services = resolver
	}
	if !o.NumericUsers {
		n.Users = resolver
	}
	return n
}

// repeat shows the view each second.
func (s *session) repeat() error {
	start := time.Now()
	for {
		if err := s.round(); err != nil {
			return err
		}
		_ = s.env.Stdout.Flush() // of text: see Stdout
		s.rounds++
		if s.opts.Rounds > 0 && s.rounds >= s.opts.Rounds {
			return nil
		}
		if s.opts.Duration > 0 && time.Since(start) >= s.opts.Duration {
			return nil
		}
		time.Sleep(time.Second)
	}
}

// round shows the view once.
func (s *session) round() error {
	s.reader.newRound()
	err := s.show()
	if s.records == nil {
		return err
	}
	_ = s.records.Flush() // the outlet never fails
	if failed := s.outlet.err; failed != nil && err != nil {
		s.warn("nettrace: %v", failed) // err has a status of its own
	} else if failed != nil {
		err = failed
	}
	return err
}

// outlet is where records go until that fails. From then on they are dropped: what
// is left of a table is still read, and its records are not kept for a later try.
type outlet struct {
	w   io.Writer
	err error // the first one
}

// Write writes records. It never fails.
func (o *outlet) Write(p []byte) (int, error) {
	if o.err == nil {
		_, o.err = o.w.Write(p)
	}
	return len(p), nil
}

func (s *session) show() error {
	switch s.opts.Kind {
	case Masquerade:
		return s.masquerades()
	case Statistics:
		return s.statistics()
	case Routes:
		return s.routes()
	case Interfaces:
		return s.interfaces()
	default:
		return s.sockets()
	}
}
