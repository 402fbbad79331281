package tracer

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Network namespaces.

func (t *Tracer) findNetns() error {
	if t.opts.AllNetns {
		return nil
	}
	path := t.opts.NetnsPath
	if path == "" {
		path = "/proc/thread-self/ns/net"
	}
	inode, err := netnsInode(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	t.netns = inode
	return nil
}

func netnsInode(path string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return uint32(st.Ino), nil
}

// inNetns runs f on a thread that is in the traced network namespace.
func (t *Tracer) inNetns(f func() error) error {
	if t.opts.NetnsPath == "" {
		return f()
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := enterNetns(t.opts.NetnsPath)
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

func enterNetns(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}

// netnsPaths gives one file for each network namespace that a process lives in
// or that is mounted under /run/netns.
func netnsPaths() ([]string, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var candidates []string
	for _, d := range dirs {
		if name := d.Name(); name[0] >= '0' && name[0] <= '9' {
			candidates = append(candidates, "/proc/"+name+"/ns/net")
		}
	}
	if named, err := os.ReadDir("/run/netns"); err == nil {
		for _, d := range named {
			candidates = append(candidates, "/run/netns/"+d.Name())
		}
	}
	seen := make(map[uint32]bool)
	var paths []string
	for _, path := range candidates {
		inode, err := netnsInode(path)
		if err != nil || seen[inode] {
			continue // gone, or of a process that hides it
		}
		seen[inode] = true
		paths = append(paths, path)
	}
	return paths, nil
}
