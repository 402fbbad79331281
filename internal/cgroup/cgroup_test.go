package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMountOf(t *testing.T) {
	const own = "29 1 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
	for _, tt := range []struct{ name, mounts, want string }{
		{"none", "22 1 0:20 / /proc rw - proc proc rw\n", ""},
		{"the usual one", own, "/sys/fs/cgroup"},
		{"hybrid", "30 1 0:9 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n31 1 0:27 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified"},
		{"that of the host in a container", own + "40 1 0:26 /../../.. /host/cgroup ro - cgroup2 cgroup2 rw\n", "/host/cgroup"},
		{"a part, and the whole", "40 1 0:26 /docker/x /part ro - cgroup2 cgroup2 rw\n" + own, "/sys/fs/cgroup"},
		{"a part alone", "40 1 0:26 /docker/x /part ro - cgroup2 cgroup2 rw\n", "/part"},
		{"no columns", "40 - cgroup2 x\n", ""},
	} {
		if got := mountOf(tt.mounts); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestTree finds cgroups of its own by id, by the kernel's handles and by a walk. A
// directory of any file system has an inode, which is enough for the walk.
func TestTree(t *testing.T) {
	for _, root := range []string{t.TempDir(), kernelDir(t)} {
		if root == "" {
			continue
		}
		for _, name := range []string{"a.slice", "a.slice/b.scope"} {
			if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Remove(filepath.Join(root, name)) })
		}
		for _, walks := range []bool{false, true} {
			tree := &Tree{Root: root, NoHandles: walks}
			id, ok := tree.ID("/a.slice/b.scope")
			if !ok || id == 0 {
				t.Fatalf("%s: id %d, %v", root, id, ok)
			}
			if path, ok := tree.Path(id); !ok || path != "/a.slice/b.scope" {
				t.Errorf("%s, walks %v: %d is %q, %v", root, walks, id, path, ok)
			}
			if path, ok := tree.Path(1 << 60); ok {
				t.Errorf("%s: %q has an id that nobody has", root, path)
			}
			if id, ok := tree.ID("/none"); ok {
				t.Errorf("%s: /none is %d", root, id)
			}
		}
	}
}

// kernelDir returns a new cgroup, or "" where none can be made.
func kernelDir(t *testing.T) string {
	root := new(Tree).Mount()
	if root == "" {
		t.Log("no cgroup2 is mounted: only the walk is tried")
		return ""
	}
	dir, err := os.MkdirTemp(root, "nettrace-test-")
	if err != nil {
		t.Logf("only the walk is tried: %v", err)
		return ""
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	return dir
}

func TestNowhere(t *testing.T) {
	tree := &Tree{looked: true}
	if id, ok := tree.ID("/"); ok {
		t.Errorf("/ is %d", id)
	}
	if path, ok := tree.Path(1); ok {
		t.Errorf("1 is %q", path)
	}
	for id, path := range tree.All() {
		t.Errorf("%d is %q", id, path)
	}
}
