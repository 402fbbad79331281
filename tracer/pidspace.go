package tracer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
)

// pidspace is the pid namespace whose numbers are reported: that which the proc file
// system shows, so that a number is the one of ps(1) and netstat -p there.
type pidspace struct {
	level    uint32 // below the first one
	inode    uint32
	readable bool // NUMBER in the proc file system is the process of that number
	whole    bool // iter/task_file shows all that the proc file system would
}

// firstPidspace is the inode of the first pid namespace (PROC_PID_INIT_INO,
// include/linux/proc_ns.h).
const firstPidspace = 0xEFFFFFFC

// findPidspace finds it. Where proc shows a namespace that this process is not in, it
// is the one of the process, and nothing is read from proc by number. The first
// namespace is recognised by two files; else a program has to ask the kernel.
func findPidspace(h *hooks, proc string) (pidspace, error) {
	depth := procDepth(proc + "/self/status")
	if depth == 1 && inodeOf(proc+"/self/ns/pid") == firstPidspace {
		return pidspace{readable: true, whole: true}, nil
	}
	me, err := h.whoami()
	if err != nil {
		return pidspace{}, err
	}
	p := pidspace{level: me.Level, inode: me.Inode, readable: depth > 0, whole: depth <= 1}
	if up := depth - 1; up > 0 && uint32(up) <= p.level {
		p.level -= uint32(up)
		p.inode = inodeOf(proc + "/1/ns/pid")
	}
	return p, nil
}

// reader returns what reads the rest of a process that is known by an open file.
func (p *pidspace) reader(proc string) func(*snapshot.Process, uint64) {
	if !p.readable {
		return func(*snapshot.Process, uint64) {}
	}
	return startReader(proc)
}

// String describes the namespace.
func (p *pidspace) String() string {
	switch {
	case !p.readable:
		return "not the one that /proc shows: processes have names, but of sockets opened earlier no command line"
	case p.level == 0:
		return "the first: every process has a number"
	}
	return fmt.Sprintf("nested, level %d: processes outside of it have a name and no number", p.level)
}

// procDepth returns how many numbers this process has, from the pid namespace that the
// proc file system shows down to its own: 1 when they are the same; 0 when the
// process is not shown.
func procDepth(status string) int {
	b, err := os.ReadFile(status)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return len(strings.Fields(numbers))
		}
	}
	return 1
}

func inodeOf(path string) uint32 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return uint32(st.Ino)
}

// whoami asks the kernel what this process is in the first pid namespace.
func (h *hooks) whoami() (streamWhoamiRow, error) {
	var row streamWhoamiRow
	p, err := h.objectOf(streamProgWhoami).load(streamProgWhoami, &h.set, h.types)
	if err != nil {
		return row, err
	}
	defer p.Close()
	l, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return row, fmt.Errorf("attach iter/task: %w", err)
	}
	defer l.Close()
	r, err := l.Open()
	if err != nil {
		return row, fmt.Errorf("open iter/task: %w", err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return row, fmt.Errorf("read iter/task: %w", err)
	}
	err = binary.Read(bytes.NewReader(b), binary.NativeEndian, &row)
	return row, err
}
