package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Capability is something that the stream can report, by whichever hook loads.
type Capability string

// The capabilities.
const (
	Transitions Capability = "transitions"
	SourcePort  Capability = "source-port"
	MiniSockets Capability = "mini-sockets"
	Substate    Capability = "timewait-substate"
	Acceptor    Capability = "acceptor"
	Closer      Capability = "closer"
	Resets      Capability = "resets"
	TimewaitEnd Capability = "timewait-end"
	Connects    Capability = "connects"
	Rows        Capability = "rows"
	Files       Capability = "files"
)

// Hook is one way to a capability, and the result of trying it.
type Hook struct {
	Capability Capability
	Name       string // kind/function, as in the program's section
	Chosen     bool   // attached and in use
	Err        error  // why it is not chosen; nil where a better one was
}

// KnownHooks returns every hook that there is for some protocols; 0: for TCP. None of
// them is chosen.
func KnownHooks(traced Protocols) []Hook {
	traced = cmp.Or(traced, TCP)
	var known []Hook
	for _, of := range []struct {
		some    Protocols
		ladders []ladder
	}{{TCP, tcpLadders}, {inet, inetLadders}, {Unix, unixLadders}} {
		if !traced.Has(of.some) {
			continue
		}
		for _, l := range of.ladders {
			for _, c := range l.hooks {
				known = append(known, Hook{Capability: l.capability, Name: c.name})
			}
		}
	}
	return known
}

// Inexact says what is not exact where no hook of the capability loads.
func (c Capability) Inexact() string {
	for _, l := range ladders {
		if l.capability == c {
			return l.without
		}
	}
	return ""
}

// Reason says why the hook is not in use, and what that means.
func (h Hook) Reason() string {
	switch err := h.Err; {
	case err == nil:
		return ""
	case errors.Is(err, errLeftOut):
		return err.Error()
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, fs.ErrNotExist):
		return err.Error() + " (this kernel does not have it)"
	case errors.Is(err, fs.ErrPermission):
		return "refused by the kernel (EPERM): a capability is missing, or it is the machine's policy"
	default:
		return err.Error()
	}
}

// hooks are the loaded and attached programs. They live until close: a link that the
// garbage collector closes detaches silently.
//
// Capabilities are chosen one after another; chosen has those that have a hook, and
// tried every hook in the order of the ladders. programs and links have the programs
// of chosen hooks, by name; copies says which of them do the same.
type hooks struct {
	objects  []*object
	maps     *ebpf.Collection // the maps and variables of all objects
	types    kernelTypes      // read once
	set      settings
	tried    []Hook
	chosen   map[Capability]string
	copies   []copies // of chosen hooks
	fallible []copies // those of them that the kernel may skip all for one event
	programs map[string]*ebpf.Program
	links    map[string]io.Closer

	since         uint64 // when all of them were attached
	noTrampolines error  // EPERM of the first program on fentry or fexit; nil: not refused
}

// keepsCloses reports whether the hooks are those that closes alone take: cookies, probe
// reads, mini-sockets, and rows with cookies.
func (h *hooks) keepsCloses() bool {
	return h.set.cookie && h.set.probe && h.chosen[MiniSockets] != "" && h.chosen[Rows] != ""
}

func (h *hooks) close() {
	for _, l := range h.links {
		l.Close()
	}
	for _, p := range h.programs {
		p.Close()
	}
	for _, o := range h.objects {
		o.release()
		o.maps.Close()
	}
}

// releaseTypes drops what only loading needs, which is larger than the table of a
// busy host. Nothing can be loaded afterwards.
func (h *hooks) releaseTypes() {
	h.types = kernelTypes{}
	for _, o := range h.objects {
		o.release()
	}
}

// choose tries the hooks of each capability in turn and keeps the first that
// loads and attaches.
func (h *hooks) choose(capabilities ...Capability) {
	for _, l := range ladders {
		if !slices.Contains(capabilities, l.capability) {
			continue
		}
		for _, c := range l.hooks {
			hook := Hook{Capability: l.capability, Name: c.name}
			if h.chosen[l.capability] == "" {
				hook.Err = h.try(c)
			}
			if h.chosen[l.capability] == "" && hook.Err == nil {
				hook.Chosen = true
				h.chosen[l.capability] = c.name
				h.chose(c)
			}
			h.tried = append(h.tried, hook)
		}
	}
}

// chose takes the programs of a hook that was chosen.
func (h *hooks) chose(c candidate) {
	for _, of := range h.needed(c.programs) {
		h.copies = append(h.copies, of)
		if !strings.HasPrefix(c.name, "tp_btf/") || len(of) < 2 || h.set.threeCopies {
			h.fallible = append(h.fallible, of)
		} // else one copy sees each event, whichever are skipped for others: see handle_once in bpf/state.c
	}
}

// needed returns the copies that this kernel needs of programs.
func (h *hooks) needed(programs []copies) []copies {
	if h.set.threeCopies {
		return programs
	}
	var needed []copies
	for _, of := range programs {
		needed = append(needed, of[:min(len(of), 2)])
	}
	return needed
}

var errLeftOut = errors.New("left out by request")

func (h *hooks) try(c candidate) error {
	kind, _, _ := strings.Cut(c.name, "/")
	if len(h.set.kinds) > 0 && !slices.Contains(h.set.kinds, kind) {
		return errLeftOut
	}
	if kind == "sockops" || kind == "cgroup" {
		if !h.set.cookie {
			return errors.New("needs socket cookies in tracing programs (Linux 5.12) to tell which socket it saw")
		}
	}
	// A kernel that refuses one such program by policy refuses all of them. Asking for
	// each takes tens of milliseconds of the start: relocation comes before the answer.
	trampoline := kind == "fentry" || kind == "fexit"
	if trampoline && h.noTrampolines != nil {
		return h.noTrampolines
	}
	if kind == "kprobe" || kind == "kretprobe" {
		if err := haveKprobes(kprobeFiles); err != nil {
			return fmt.Errorf("attach %s: %w", c.name, err)
		}
	}
	if len(c.programs) == 0 {
		_, err := c.attach("", nil)
		return err
	}
	names := slices.Concat(h.needed(c.programs)...)
	if err := h.load(names); err != nil {
		if trampoline && errors.Is(err, unix.EPERM) {
			h.noTrampolines = err
		}
		return err
	}
	for _, name := range names {
		l, err := c.attach(name, h.programs[name])
		if err != nil {
			h.drop(names)
			return fmt.Errorf("attach %s: %w", c.name, err)
		}
		h.links[name] = l
	}
	return nil
}

func (h *hooks) drop(programs []string) {
	for _, name := range programs {
		if l := h.links[name]; l != nil {
			l.Close()
			delete(h.links, name)
		}
		if p := h.programs[name]; p != nil {
			p.Close()
			delete(h.programs, name)
		}
	}
}
