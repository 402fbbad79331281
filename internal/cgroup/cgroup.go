// Package cgroup finds cgroups of version 2 by path and by id. The id is the inode of
// the directory (cgroup_id, include/linux/cgroup.h, 5.5), and goes to no other one
// while the kernel runs (kernfs_new_node, fs/kernfs/dir.c).
package cgroup

import (
	"encoding/binary"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is the hierarchy as it is mounted. The zero value looks for the mount by itself.
// It must not be used by several goroutines at once.
type Tree struct {
	// Root is where the hierarchy is mounted. If it is empty, Mount finds it.
	Root string
	// NoHandles keeps from asking the kernel for a directory by its id.
	NoHandles bool

	looked bool              // for the mount
	paths  map[uint64]string // of the last walk, by id
}

// Mount returns where the hierarchy is mounted, or "". Of several mounts it is the one
// that shows the most, as that of the host in a container.
func (t *Tree) Mount() string {
	if t.Root == "" && !t.looked {
		t.looked = true
		text, _ := os.ReadFile("/proc/self/mountinfo") // without it there are none
		t.Root = mountOf(string(text))
	}
	return t.Root
}

// mountOf returns the mount point of the hierarchy. In a cgroup namespace of its own a
// process sees what is above that as /.. (cgroup_show_path, kernel/cgroup/cgroup.c):
// such a mount has more.
func mountOf(mountinfo string) string {
	best, most := "", -1
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		columns := strings.Fields(before)
		if len(columns) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if shown := extent(columns[3]); shown > most {
			best, most = columns[4], shown
		}
	}
	return best
}

// extent orders mounts by what they show: a part of the hierarchy, the whole of the
// cgroup namespace, or what lies so many directories above it.
func extent(root string) int {
	rest := strings.ReplaceAll(root, "/..", "")
	if rest != "" && rest != "/" {
		return 0
	}
	return 1 + strings.Count(root, "/..")
}

// ID returns the id of the cgroup with a path below the mount.
func (t *Tree) ID(path string) (uint64, bool) {
	root := t.Mount()
	if root == "" {
		return 0, false
	}
	return idOf(filepath.Join(root, path))
}

func idOf(dir string) (uint64, bool) {
	var st unix.Stat_t
	err := unix.Stat(dir, &st)
	return st.Ino, err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// Path returns the path below the mount of the cgroup with an id. It asks the kernel, or
// goes through all cgroups where the kernel does not answer.
func (t *Tree) Path(id uint64) (string, bool) {
	if path, ok := t.byHandle(id); ok {
		return path, true
	}
	if path, ok := t.paths[id]; ok {
		return path, true
	}
	t.walk()
	path, ok := t.paths[id]
	return path, ok
}

// fileidKernfs is FILEID_KERNFS, of the kernel's file handles: a handle is the id.
const fileidKernfs = 0xfe

// byHandle opens the directory by its id. It needs CAP_DAC_READ_SEARCH.
func (t *Tree) byHandle(id uint64) (string, bool) {
	if t.NoHandles || t.Mount() == "" {
		return "", false
	}
	root, err := unix.Open(t.Root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false
	}
	defer unix.Close(root)
	handle := unix.NewFileHandle(fileidKernfs, binary.NativeEndian.AppendUint64(nil, id))
	dir, err := unix.OpenByHandleAt(root, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", false
	}
	defer unix.Close(dir)
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(dir))
	if err != nil {
		return "", false
	}
	return t.below(name)
}

// below returns a path as it stands below the mount.
func (t *Tree) below(name string) (string, bool) {
	path, ok := strings.CutPrefix(name, strings.TrimSuffix(t.Root, "/"))
	if path == "" {
		path = "/"
	}
	return path, ok && path[0] == '/'
}

// walk reads the ids of all cgroups.
func (t *Tree) walk() {
	t.paths = map[uint64]string{}
	for id, path := range t.All() {
		t.paths[id] = path
	}
}

// All yields the id and the path of each cgroup.
func (t *Tree) All() iter.Seq2[uint64, string] {
	return func(yield func(uint64, string) bool) {
		root := t.Mount()
		if root == "" {
			return
		}
		_ = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil //nolint:nilerr // the other directories are read
			}
			path, ok := t.below(name)
			id, isDir := idOf(name)
			if ok && isDir && !yield(id, path) {
				return fs.SkipAll
			}
			return nil
		})
	}
}
