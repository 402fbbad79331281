package tracer

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// cmdlineMax bounds the command line kept of a process (CMDLINE_MAX in headers/event.h).
const cmdlineMax = 256

// readProcess reads a process from /proc. It gives nil when the process is gone.
func readProcess(pid uint32) *Process {
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10)
	comm, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return nil
	}
	p := &Process{PID: pid, Comm: strings.TrimSuffix(string(comm), "\n")}
	if cmdline, err := os.ReadFile(dir + "/cmdline"); err == nil {
		p.Cmdline = trimNUL(string(cmdline[:min(len(cmdline), cmdlineMax)]))
	}
	p.Exe = readExe(pid)
	return p
}

// readExe gives the path of the executable; empty when the process is gone.
func readExe(pid uint32) string {
	exe, err := os.Readlink("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/exe")
	if err != nil {
		return ""
	}
	return exe
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func trimNUL(s string) string { return strings.TrimRight(s, "\x00") }

// processes remembers the processes by thread-group id. The kernel sends a
// process once, before the first event that it causes, so an entry may be
// dropped only after the kernel has been told to forget it too.
type processes struct {
	byPID  map[uint32]*processEntry
	forget func(pid uint32) // makes the kernel send the process again
	limit  int
}

type processEntry struct {
	process   *Process
	forgotten bool // by the kernel: to be dropped at the next trim unless sent again
}

func newProcesses(limit int, forget func(uint32)) *processes {
	return &processes{byPID: make(map[uint32]*processEntry), forget: forget, limit: limit}
}

func (p *processes) set(pr *Process) {
	if e := p.byPID[pr.PID]; e != nil {
		*e = processEntry{process: pr}
		return
	}
	p.byPID[pr.PID] = &processEntry{process: pr}
}

// get gives the process, from /proc when the kernel's record of it was lost.
func (p *processes) get(pid uint32) *Process {
	if pid == 0 {
		return nil
	}
	if e := p.byPID[pid]; e != nil {
		return e.process
	}
	pr := readProcess(pid)
	if pr != nil {
		p.set(pr)
	}
	return pr
}

// trim drops what was forgotten at the trim before and, above the limit, makes
// the kernel forget the rest. To be called when the ring buffer is dry.
func (p *processes) trim() {
	if len(p.byPID) <= p.limit {
		return
	}
	for pid, e := range p.byPID {
		if e.forgotten {
			delete(p.byPID, pid)
			continue
		}
		e.forgotten = true
		p.forget(pid)
	}
}
