package field

import (
	"strings"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// The functions below read one value each. Those that return one make it from a
// simpler one.

func known(is bool) Known {
	if is {
		return Exact
	}
	return Absent
}

func ofHead(get func(*snapshot.Head) (uint64, bool)) func(*Subject) (uint64, Known) {
	return func(s *Subject) (uint64, Known) {
		n, ok := get(s.Head)
		return n, known(ok)
	}
}

func ofConn(get func(*table.Conn) (uint64, bool)) func(*Subject) (uint64, Known) {
	return func(s *Subject) (uint64, Known) {
		if s.Conn == nil {
			return 0, Absent
		}
		n, ok := get(s.Conn)
		return n, known(ok)
	}
}

func ofEnd(get func(*table.Closed) (uint64, bool)) func(*Subject) (uint64, Known) {
	return func(s *Subject) (uint64, Known) {
		if s.Closed == nil {
			return 0, Absent
		}
		n, ok := get(s.Closed)
		return n, known(ok)
	}
}

func portOf(get func(*Subject) (uint16, bool)) func(*Subject) (uint64, Known) {
	return func(s *Subject) (uint64, Known) {
		n, ok := get(s)
		return uint64(n), known(ok)
	}
}

// queueOf reads the length of a queue, which the kernel keeps in an int: one below
// zero is nothing that waits.
func queueOf(get func(*snapshot.Head) uint64) func(*Subject) (uint64, Known) {
	return func(s *Subject) (uint64, Known) {
		n := get(s.Head)
		if s.Time != 0 || s.Transport == Unix || int32(n) < 0 {
			return 0, Absent
		}
		return n, Exact
	}
}

func transportOf(s *Subject) (uint64, Known) { return uint64(s.Transport), Exact }

func familyOf(s *Subject) (uint64, Known) {
	a := s.Head.Local.Addr()
	switch {
	case a.Is4():
		return 1, Exact
	case a.Is6():
		return 2, Exact
	}
	return 0, Absent
}

func stateOf(s *Subject) (uint64, Known) { return uint64(s.State), known(s.State != 0) }

func inferredOf(s *Subject) (uint64, Known) {
	if s.Inferred {
		return 1, Exact
	}
	return 0, Exact
}

// deviceOf reads the interface that a socket is bound to. Rows of views have it from
// sock_diag alone; those of /proc have a zero that means nothing.
func deviceOf(s *Subject) (uint64, Known) {
	switch {
	case s.Attr != nil:
		return uint64(s.Attr.Device), Exact
	case s.Conn != nil || s.Socket != nil:
		return uint64(s.Head.Device), Exact
	}
	return 0, Absent
}

func markOf(s *Subject) (uint64, Known) {
	if s.Attr == nil {
		return 0, Absent
	}
	return uint64(s.Attr.Mark), Exact
}

// cgroupOf reads the cgroup that the socket was made in. A request or timewait socket
// has none. The stream's own number is that of the process, which is another thing.
func cgroupOf(s *Subject) (uint64, Known) {
	if s.Attr == nil {
		return 0, Absent
	}
	return s.Attr.CgroupID, known(s.Attr.CgroupID != 0)
}

func autoboundOf(s *Subject) (uint64, Known) {
	auto := s.Attr != nil && s.Attr.Autobound
	if s.Transport == Unix {
		auto = unixAutobound(s.Name)
	}
	if auto {
		return 1, Exact
	}
	return 0, Exact
}

// unixAutobound reports whether the kernel chose a name: none, or an abstract one of
// five hexadecimal digits (unix_autobind, net/unix/af_unix.c, 6.12).
func unixAutobound(name string) bool {
	const digits = 5
	rest, abstract := strings.CutPrefix(name, "@")
	return name == "" || abstract && len(rest) == digits && strings.Trim(rest, "0123456789abcdef") == ""
}

func pidOf(p *snapshot.Process) (Value, bool) {
	return Value{Number: uint64(p.PID)}, p.PID != 0
}

func tidOf(s *Subject) (uint64, Known) {
	n := s.Head.Owner.TID
	return uint64(n), known(n != 0)
}

func commOf(p *snapshot.Process) (Value, bool) { return Value{Text: p.Comm}, p.Comm != "" }

func exeOf(p *snapshot.Process) (Value, bool) { return Value{Text: p.Exe}, p.Exe != "" }

// programOf returns the program as netstat names it, or the name of the process.
func programOf(p *snapshot.Process) (Value, bool) {
	name := baseName(firstArg(p.Cmdline))
	if name == "" {
		name = p.Comm
	}
	return Value{Text: name}, name != ""
}

// ProgramNames calls a function with each name of a program, until it returns true:
// the base name of its first argument, that of its executable, and the name of the
// process. It reports whether the function did, and whether there was a name.
func ProgramNames(p *snapshot.Process, is func(string) bool) (held, known bool) {
	for _, name := range [...]string{baseName(firstArg(p.Cmdline)), baseName(p.Exe), p.Comm} {
		if name == "" {
			continue
		}
		known = true
		if is(name) {
			return true, true
		}
	}
	return false, known
}

// cmdlineOf returns the command line as a process wrote it, arguments separated by NUL.
func cmdlineOf(p *snapshot.Process) (Value, bool) {
	return Value{Text: p.Cmdline}, p.Cmdline != ""
}

func firstArg(cmdline string) string {
	name, _, _ := strings.Cut(cmdline, "\x00")
	return name
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// ofWorkload reads a name of what the owner runs in.
func ofWorkload(get func(*snapshot.Workload) string) func(*Subject) (string, bool) {
	return func(s *Subject) (string, bool) {
		if s.Head.Workload == nil {
			return "", false
		}
		name := get(s.Head.Workload)
		return name, name != ""
	}
}

// shortestID is how many digits of a container's id ask for it, at the least.
const shortestID = 4

// NamesContainer reports whether a word asks for the container of a socket: by the begin
// of its id, or by its name.
func NamesContainer(s *Subject, word string) bool {
	w := s.Head.Workload
	if w == nil || word == "" {
		return false
	}
	return w.ContainerName == word || len(word) >= shortestID && strings.HasPrefix(w.ContainerID, word)
}

// ContainerNames calls a function with the id and the name of a socket's container, until
// it returns true. It reports whether the function did.
func ContainerNames(s *Subject, is func(string) bool) bool {
	w := s.Head.Workload
	return w != nil && (w.ContainerID != "" && is(w.ContainerID) || w.ContainerName != "" && is(w.ContainerName))
}

func uidOf(s *Subject) (uint64, Known) { return uint64(s.Head.UID), known(s.HasUID) }

func ownerSourceOf(s *Subject) (uint64, Known) {
	n := s.Head.Owner.Source
	return uint64(n), known(s.Head.Owner.Process != nil && n != snapshot.OwnerUnknown)
}

// latencyOf reads how long it took to connect.
func latencyOf(s *Subject) (uint64, Known) {
	c := s.Conn
	if c == nil || !c.StartKnown || c.Established == 0 {
		return 0, Absent
	}
	return span(c.Start, c.Established), Exact
}

// durationOf reads how long a connection or another socket lived, at its end.
func durationOf(s *Subject) (uint64, Known) {
	switch start, seen, ended := s.lifeOf(); {
	case !ended:
		return 0, Absent
	case !seen:
		return span(start, s.Time), AtLeast
	default:
		return span(start, s.Time), Exact
	}
}

// span returns the time between two events, or 0 where the clocks of two CPUs have the
// later one first.
func span(start, end uint64) uint64 {
	if end < start {
		return 0
	}
	return end - start
}
