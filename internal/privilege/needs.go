package privilege

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
	"github.com/nettrace/nettrace/tracer"
)

// Of returns what a run of a tracer needs. Where the kernel asks for privilege while the
// run goes on is tried.
func Of(t *tracer.Tracer, opts *tracer.Options) (*Needs, error) {
	n := Usual(opts)
	n.ProcOwners = n.Owners
	for _, h := range t.Hooks() {
		if h.Chosen {
			n.use(h)
		}
	}
	// With the privilege that is there now, so that the library has nothing left to try.
	if err := t.Rehearse(); err != nil {
		return nil, err
	}
	n.BPF = errors.Is(Without(n.Run(), t.Rehearse), unix.EPERM)
	return n, nil
}

// use adds what a hook needs.
func (n *Needs) use(h tracer.Hook) {
	kind, _, _ := strings.Cut(h.Name, "/")
	switch kind {
	case "sockops", "cgroup":
		n.Cgroup, n.Mount = true, !cgroupMounted("/proc/self/mountinfo")
	case "kprobe", "kretprobe":
		n.Kprobes = n.Kprobes || paranoid("/proc/sys/kernel/perf_event_paranoid")
	}
	if h.Capability == tracer.Files {
		n.ProcOwners = false
	}
}

// Usual returns what a run needs where nothing is known of the hooks: no one was let in.
func Usual(opts *tracer.Options) *Needs {
	return &Needs{Memlock: capability.CountsMaps(), Netns: opts.NetnsPath != "", AllNetns: opts.AllNetns, Owners: !opts.NoOwners}
}

// OfPolling returns what a run needs that has no BPF.
func OfPolling(opts *tracer.Options) *Needs {
	return &Needs{Polls: true, Owners: !opts.NoOwners, ProcOwners: !opts.NoOwners}
}

// paranoid reports whether perf_event_open(2) wants CAP_SYS_ADMIN, as Debian has it
// (3 and more are not of Linux).
func paranoid(path string) bool {
	text, err := os.ReadFile(path)
	level, notNumber := strconv.Atoi(strings.TrimSpace(string(text)))
	return err == nil && notNumber == nil && level > 2
}

// cgroupMounted reports whether the cgroup v2 hierarchy is mounted somewhere.
func cgroupMounted(mountinfo string) bool {
	text, err := os.ReadFile(mountinfo)
	return err == nil && strings.Contains(string(text), " - cgroup2 ")
}

// Refused reports whether one of the files could not be opened, renamed or made again by
// a process that has those of its capabilities alone that are in a set.
func Refused(keep capability.Set, files []string) bool {
	return Without(keep, func() error {
		for _, file := range files {
			if err := writable(file); errors.Is(err, unix.EACCES) {
				return err
			}
		}
		return nil
	}) != nil
}

// writable reports why a file may not be written and renamed.
func writable(file string) error {
	err := unix.Faccessat(unix.AT_FDCWD, filepath.Dir(file), unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	if err != nil {
		return err
	}
	err = unix.Faccessat(unix.AT_FDCWD, file, unix.W_OK, unix.AT_EACCESS)
	if errors.Is(err, unix.ENOENT) { // it will be made
		return nil
	}
	return err
}
