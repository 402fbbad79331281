// Package netns enters and finds network namespaces.
//
// A namespace is named by a file: /proc/PID/ns/net of a process that lives in it, or
// one that it is mounted on, such as /run/netns/NAME of ip(8). Its identity is the
// inode of that file.
package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Current is the file of the calling thread's network namespace.
const Current = "/proc/thread-self/ns/net"

// Dir is where ip(8) mounts the namespaces that have names.
const Dir = "/run/netns"

// Check enters a network namespace by its file, to see whether that can be done. An
// empty path is the current one.
func Check(path string) error {
	if path == "" {
		return nil
	}
	return Do(path, func() error { return nil })
}

// Path returns the file of a network namespace that a person named: by a name
// of ip-netns(8), a path or a process id. An empty name stays empty: the
// current namespace.
func Path(name string) (string, error) {
	switch {
	case name == "" || strings.Contains(name, "/"):
		return name, nil
	case isPID(name):
		return filepath.Join("/proc", name, "ns/net"), nil
	}
	path := filepath.Join(Dir, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no network namespace %q: %w (ip netns list names them)", name, err)
	}
	return path, nil
}

func isPID(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// Namespace is a network namespace that is held open: it stays the same one, and
// stays there, whatever becomes of the file that named it.
type Namespace struct {
	path  string
	file  *os.File
	inode uint32
}

// Open opens the namespace of a file.
func Open(path string) (*Namespace, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	n := &Namespace{path: path, file: os.NewFile(uintptr(fd), path)}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(fmt.Errorf("open network namespace %s: %w", path, err), n.Close())
	}
	n.inode = uint32(st.Ino)
	return n, nil
}

// Close lets go of the namespace.
func (n *Namespace) Close() error { return n.file.Close() }

// Path returns the file that it was opened by.
func (n *Namespace) Path() string { return n.path }

// Inode returns the identity of the namespace.
func (n *Namespace) Inode() uint32 { return n.inode }

// Named reports whether the file that it was opened by still leads to it.
func (n *Namespace) Named() bool {
	inode, err := Inode(n.path)
	return err == nil && inode == n.inode
}

// Enter moves the calling thread into the namespace. The caller must have locked its
// goroutine to the thread (runtime.LockOSThread), and must not unlock it unless the
// whole program is to be there. It needs CAP_SYS_ADMIN.
func (n *Namespace) Enter() error {
	err := EnterFD(int(n.file.Fd()))
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("enter network namespace %s: %w (it needs CAP_SYS_ADMIN)", n.path, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s is no network namespace: %w", n.path, err)
	case err != nil:
		return fmt.Errorf("enter network namespace %s: %w", n.path, err)
	}
	return nil
}

// Do calls f on a thread of its own in the namespace, and waits for it. Processes
// that f starts are there as well.
func (n *Namespace) Do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		defer close(result)    // where f ends the goroutine
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := n.Enter()
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// Enter is Namespace.Enter for the namespace of a file.
func Enter(path string) error {
	n, err := Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = n.Close() }() // it was only read
	return n.Enter()
}

// EnterFD is Enter for an open file of the namespace.
func EnterFD(fd int) error { return unix.Setns(fd, unix.CLONE_NEWNET) }

// Do is Namespace.Do for the namespace of a file.
func Do(path string, f func() error) error {
	n, err := Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = n.Close() }() // it was only read
	return n.Do(f)
}

// Inode returns the identity of the namespace of a file.
func Inode(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return uint32(st.Ino), nil
}

// Files returns one file of each namespace that a process lives in or that is mounted
// in a directory. proc is the root of the proc file system, dir most often Dir. It
// leaves out processes that are gone or that hide their namespace.
func Files(proc, dir string) ([]string, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var candidates []string
	for _, e := range entries {
		if name := e.Name(); name[0] >= '0' && name[0] <= '9' {
			candidates = append(candidates, filepath.Join(proc, name, "ns/net"))
		}
	}
	if named, err := os.ReadDir(dir); err == nil {
		for _, e := range named {
			candidates = append(candidates, filepath.Join(dir, e.Name()))
		}
	}
	return distinct(candidates), nil
}

// distinct keeps the first file of each namespace.
func distinct(candidates []string) (files []string) {
	seen := make(map[uint32]bool)
	for _, file := range candidates {
		inode, err := Inode(file)
		if err != nil || seen[inode] {
			continue
		}
		seen[inode] = true
		files = append(files, file)
	}
	return files
}
