package tracer

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"github.com/nettrace/nettrace/snapshot"
)

// cmdlineMax bounds the command line kept of a process (CMDLINE_MAX in headers/event.h).
const cmdlineMax = 256

// What is read of a process is read through one descriptor of its directory: it stands
// for one process for good, while its number may become another's.

// openProcess opens the directory of a process below proc.
func openProcess(proc string, pid int) (*os.Root, error) {
	return os.OpenRoot(processDir(proc, pid))
}

func processDir(proc string, pid int) string { return proc + "/" + strconv.Itoa(pid) }

// startReader returns a function that reads the command line and the executable of a
// process below proc, if the process that began at start has that number.
func startReader(proc string) func(p *snapshot.Process, start uint64) {
	return func(p *snapshot.Process, start uint64) {
		dir, err := openProcess(proc, p.PID)
		if err != nil {
			return
		}
		defer dir.Close()
		if stat, err := dir.ReadFile("stat"); err == nil && startedAt(stat, start) {
			readPaths(dir, p)
		}
	}
}

// startedAt reports whether the process of a stat file began at start, ns of
// CLOCK_BOOTTIME. Field 22 has ticks of 10 ms (proc(5)). In a time namespace it
// differs, and nothing is known.
func startedAt(stat []byte, start uint64) bool {
	const tick = 1e7
	name := bytes.LastIndexByte(stat, ')') // a name may hold brackets and blanks
	fields := bytes.Fields(stat[name+1:])
	if len(fields) < 20 {
		return false
	}
	ticks, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return err == nil && ticks == start/tick
}

// readHolder returns the process of a number below proc if it has an open file of the
// socket with an inode; else nil.
func readHolder(proc string, pid int, inode uint64) *snapshot.Process {
	dir, err := openProcess(proc, pid)
	if err != nil {
		return nil
	}
	defer dir.Close()
	comm, err := dir.ReadFile("comm")
	if err != nil || !holds(dir, inode) {
		return nil
	}
	p := &snapshot.Process{PID: pid, Comm: strings.TrimSuffix(string(comm), "\n")}
	readPaths(dir, p)
	return p
}

// holds reports whether a process has an open file of the socket with an inode.
func holds(dir *os.Root, inode uint64) bool {
	files, err := dir.Open("fd")
	if err != nil {
		return false
	}
	defer files.Close()
	names, _ := files.Readdirnames(-1) // a process may end meanwhile
	want := "socket:[" + strconv.FormatUint(inode, 10) + "]"
	for _, name := range names {
		if link, err := dir.Readlink("fd/" + name); err == nil && link == want {
			return true
		}
	}
	return false
}

// readPaths reads the command line and the executable. What cannot be read stays empty.
func readPaths(dir *os.Root, p *snapshot.Process) {
	if cmdline, err := dir.ReadFile("cmdline"); err == nil {
		p.Cmdline = trimNUL(string(cmdline[:min(len(cmdline), cmdlineMax)]))
	}
	if exe, err := dir.Readlink("exe"); err == nil {
		p.Exe = exe
	}
}

func trimNUL(s string) string { return strings.TrimRight(s, "\x00") }
