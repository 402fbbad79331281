package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/build"
	"github.com/nettrace/nettrace/internal/capability"
	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/tracer"
)

// Source is where the changes come from: a tracer.Tracer, or a tracer.Poller.
// One that is an io.Closer is closed with the stream.
type Source interface {
	// Run reports to the handler until the context ends. An error of the
	// handler ends it too, and is returned.
	Run(context.Context, tracer.Handler) error
	// Stats returns the counters. It is called by the handler, and after Run.
	Stats() tracer.Stats
	// Resync asks for a comparison with the kernel's table. It may be called at
	// any time.
	Resync()
	// EachNamespace calls a function in each network namespace that is traced:
	// proc is the directory whose net/ shows it, inode is what the rows of its
	// connections have as Netns. The handler may call it.
	EachNamespace(func(proc string, inode uint32) error) error
}

// Where the changes come from, in the words of the start record.
const (
	modeBPF  = "bpf"
	modePoll = "poll"
)

// openPoller returns a stream that polls, where the tracer could not be opened.
func openPoller(opts Options, why error) (*Stream, error) {
	why = capability.Explain(why)
	if errors.Is(why, unix.ENOMEM) {
		return nil, fmt.Errorf("%w (a smaller --ring-size needs less)", why)
	}
	if opts.RequireBPF {
		return nil, why
	}
	if opts.Trace.NetnsPath != "" || opts.Trace.AllNetns {
		return nil, fmt.Errorf("%w; polling sees the current network namespace only", why)
	}
	s := New(&tracer.Poller{
		Proc: opts.ProcRoot, Family: opts.Trace.Family, NoOwners: opts.Trace.NoOwners, Protocols: opts.Trace.Protocols,
	}, opts)
	if err := s.bind(field.Poll); err != nil {
		return nil, err
	}
	if err := s.giveUp(); err != nil {
		return nil, err
	}
	s.start.Mode, s.start.Closes = modePoll, opts.closesOf(false)
	s.start.Inexact = []string{missedByPolling(opts.Trace.Protocols) + " are missed, and of several transitions in a second the last is told"}
	s.sayLonely()
	s.limitation("%v", why)
	s.limitation("polling /proc every %v instead: %s will be missed", tracer.PollInterval, missedByPolling(opts.Trace.Protocols))
	return s, nil
}

// missedByPolling says what a run that polls does not see.
func missedByPolling(p tracer.Protocols) string {
	if tracesTCP(p) {
		return "short-lived connections"
	}
	return "short-lived sockets"
}

// startRecord returns what is known of a run before its source is open.
func startRecord(opts *Options) output.Start {
	s := output.Start{Version: opts.Version, Commit: build.Commit(), Reason: "start", FileSeq: 1, Arch: runtime.GOARCH}
	s.Transports = strings.Join(transports(opts.Trace.Protocols), ",")
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		s.Kernel = unix.ByteSliceToString(uts.Release[:])
		s.Arch = unix.ByteSliceToString(uts.Machine[:])
	}
	if id, err := os.ReadFile(filepath.Join(procRoot(opts.ProcRoot), "sys/kernel/random/boot_id")); err == nil {
		s.BootID = strings.TrimSpace(string(id))
	}
	return s
}

func procRoot(root string) string {
	if root == "" {
		return "/proc"
	}
	return root
}
