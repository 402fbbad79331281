package snapshot

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// cmdlineMax bounds what is kept of a command line, in bytes.
const cmdlineMax = 4096

// Owners knows which processes hold which sockets.
type Owners struct {
	// Denied says that the open files of some process could not be listed for
	// lack of privilege. Processes hidden by the mount option hidepid do not
	// count: they look as if they were not there.
	Denied bool

	processes []*Process
	// By inode: the first process and the others, as indexes of processes.
	// Most sockets have one.
	first  map[uint64]*firstOwners
	others map[uint64][]int32
}

// firstOwners holds the first owner of 64 consecutive inodes, as index+1 into
// processes; 0: none. The kernel hands out inodes one after another (get_next_ino,
// fs/inode.c), so few of these hold all sockets: their map stays in the processor's
// caches, which a map of 100,000 sockets does not.
type firstOwners [firstOwnersCount]int32

const firstOwnersCount = 64

func newOwners() *Owners {
	return &Owners{first: map[uint64]*firstOwners{}, others: map[uint64][]int32{}}
}

// firstOf returns the index of the first process, or -1.
func (o *Owners) firstOf(inode uint64) int32 {
	if near := o.first[inode/firstOwnersCount]; near != nil {
		return near[inode%firstOwnersCount] - 1
	}
	return -1
}

// Empty reports whether no process holds a socket.
func (o *Owners) Empty() bool { return len(o.first) == 0 }

// First returns the process that netstat shows as owner: the first one in the
// order of the proc directory. It is nil when there is none.
func (o *Owners) First(inode uint64) *Process {
	if i := o.firstOf(inode); i >= 0 {
		return o.processes[i]
	}
	return nil
}

// All yields all processes that hold the socket, in the order of the proc
// directory.
func (o *Owners) All(inode uint64) iter.Seq[*Process] {
	return func(yield func(*Process) bool) {
		i := o.firstOf(inode)
		if i < 0 || !yield(o.processes[i]) {
			return
		}
		for _, i := range o.others[inode] {
			if !yield(o.processes[i]) {
				return
			}
		}
	}
}

// ReadOwners goes once through the open files of all processes below a proc
// root, so its cost grows with their number and not with that of sockets. It
// sees the processes of its pid namespace. With context the SELinux context of
// each process is read too. The error is of listing the root; a process that
// ends meanwhile or denies access is left out.
func ReadOwners(proc string, context bool) (*Owners, error) {
	names, err := listDir(proc)
	if err != nil {
		return nil, err
	}
	o := newOwners()
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || name != strconv.Itoa(pid) || pid < 0 {
			continue
		}
		if err := o.readProcess(filepath.Join(proc, name), pid, context); errors.Is(err, fs.ErrPermission) {
			// EPERM is what hidepid gives.
			o.Denied = o.Denied || errors.Is(err, unix.EACCES)
		}
	}
	return o, nil
}

// listDir returns the names in a directory in the directory's own order: which
// process is the first owner of a socket depends on it.
func listDir(path string) ([]string, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// readProcess adds the sockets of one process. The error is of opening its
// list of files.
func (o *Owners) readProcess(dir string, pid int, context bool) error {
	d, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		return err
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // a process may end meanwhile
	dirFD := int(d.Fd())
	var p *Process
	var link [socketLinkMax]byte
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		n, err := unix.Readlinkat(dirFD, name, link[:])
		if err != nil {
			continue
		}
		inode, ok := parseSocketLink(link[:n])
		if !ok {
			continue
		}
		if p == nil {
			if p = newProcess(dir, pid, context); p == nil {
				continue
			}
			o.processes = append(o.processes, p)
		}
		o.add(inode)
	}
	return nil
}

// add notes that the last process holds a socket.
func (o *Owners) add(inode uint64) {
	last := int32(len(o.processes) - 1)
	near := o.first[inode/firstOwnersCount]
	if near == nil {
		near = new(firstOwners)
		o.first[inode/firstOwnersCount] = near
	}
	first := near[inode%firstOwnersCount] - 1
	if first < 0 {
		near[inode%firstOwnersCount] = last + 1
		return
	}
	more := o.others[inode]
	if first == last || len(more) > 0 && more[len(more)-1] == last {
		return // several descriptors of one process
	}
	o.others[inode] = append(more, last)
}

// newProcess reads what a process says of itself. It is nil if the process has
// no command line file, that is, if it is gone.
func newProcess(dir string, pid int, context bool) *Process {
	f, err := os.Open(filepath.Join(dir, "cmdline"))
	if err != nil {
		return nil
	}
	defer f.Close()
	buf := make([]byte, cmdlineMax)
	n, err := f.Read(buf)
	if err != nil && n == 0 && !errors.Is(err, io.EOF) {
		return nil
	}
	p := &Process{PID: pid, Cmdline: string(buf[:n])}
	if context {
		text, _ := os.ReadFile(filepath.Join(dir, "attr/current")) // absent: no context
		p.Context = string(bytes.TrimRight(text, "\x00\n"))
	}
	return p
}

// socketLinkMax is as much of a link as net-tools reads; a longer one is cut
// and then names no socket.
const socketLinkMax = 29

// parseSocketLink returns the inode that the link of an open file names. The
// kernel writes socket:[N], before Linux 2.2 it wrote [0000]:N. Net-tools asks
// for two digits at least and takes any base C knows.
func parseSocketLink(link []byte) (inode uint64, ok bool) {
	const least = 2
	text, ok := bytes.CutPrefix(link, []byte("socket:["))
	if ok {
		if text, ok = bytes.CutSuffix(text, []byte("]")); !ok || len(text) < least {
			return 0, false
		}
	} else if text, ok = bytes.CutPrefix(link, []byte("[0000]:")); !ok || len(text) == 0 {
		return 0, false
	}
	inode, rest := strtoul(text)
	return inode, len(rest) == 0
}
