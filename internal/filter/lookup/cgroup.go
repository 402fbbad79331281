package lookup

import (
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroups finds cgroups of version 2 by path and by id. The id is the inode of the
// directory (cgroup_id, include/linux/cgroup.h, 5.5).
type cgroups struct {
	root  string            // where cgroup2 is mounted; empty: not looked for, or nowhere
	paths map[uint64]string // of the last walk, by id
}

// mount returns where cgroup2 is mounted, or "".
func (c *cgroups) mount() string {
	if c.root != "" {
		return c.root
	}
	mounts, _ := os.ReadFile("/proc/self/mounts") // without it there are none
	for line := range strings.Lines(string(mounts)) {
		if columns := strings.Fields(line); len(columns) > 2 && columns[2] == "cgroup2" {
			c.root = columns[1]
			break
		}
	}
	return c.root
}

func (c *cgroups) id(path string) (uint64, bool) {
	root := c.mount()
	if root == "" {
		return 0, false
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, path), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, false
	}
	return st.Ino, true
}

// path asks the kernel for the directory of an id, or goes through all of them where
// it does not answer.
func (c *cgroups) path(id uint64) (string, bool) {
	if path, ok := c.byHandle(id); ok {
		return path, true
	}
	if path, ok := c.paths[id]; ok {
		return path, true
	}
	c.walk()
	path, ok := c.paths[id]
	return path, ok
}

// fileidKernfs is FILEID_KERNFS, of the kernel's file handles: a handle is the id.
const fileidKernfs = 0xfe

// byHandle opens the directory by its id. It needs CAP_DAC_READ_SEARCH.
func (c *cgroups) byHandle(id uint64) (string, bool) {
	root, err := unix.Open(c.mount(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
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
	return c.below(name)
}

// below returns a path as it stands below the mount.
func (c *cgroups) below(name string) (string, bool) {
	path, ok := strings.CutPrefix(name, strings.TrimSuffix(c.root, "/"))
	if path == "" {
		path = "/"
	}
	return path, ok && path[0] == '/'
}

// walk reads the ids of all cgroups.
func (c *cgroups) walk() {
	c.paths = map[uint64]string{}
	root := c.mount()
	if root == "" {
		return
	}
	_ = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // the other directories are read
		}
		var st unix.Stat_t
		if path, ok := c.below(name); ok && unix.Stat(name, &st) == nil {
			c.paths[st.Ino] = path
		}
		return nil
	})
}

// known returns the paths of all cgroups.
func (c *cgroups) known() []string {
	c.walk()
	list := make([]string, 0, len(c.paths))
	for _, path := range c.paths {
		list = append(list, path)
	}
	slices.Sort(list)
	return list
}
