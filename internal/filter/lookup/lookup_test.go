package lookup_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/nettrace/nettrace/internal/field"
	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/filter/lookup"
	"github.com/nettrace/nettrace/internal/netns"
	"github.com/nettrace/nettrace/internal/testnet"
)

var _ filter.Names = (*lookup.System)(nil)

// TestDevices looks interfaces up in another network namespace.
func TestDevices(t *testing.T) {
	path := testnet.New(t)
	for _, args := range [][]string{{"link", "add", "only-here", "type", "veth", "peer", "name", "other-end"}, {"addr", "add", "192.0.2.9/24", "dev", "only-here"}} {
		if out, err := exec.Command("ip", append([]string{"-n", filepath.Base(path)}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	s := &lookup.System{NetnsPath: path}
	index, addrs, ok := s.Device("only-here")
	if !ok || index == 0 || len(addrs) != 1 || addrs[0].String() != "192.0.2.9" {
		t.Errorf("only-here: %d, %v, %v", index, addrs, ok)
	}
	if labelled, _, ok := s.Device("only-here:1"); !ok || labelled != index {
		t.Errorf("only-here:1: %d, %v", labelled, ok)
	}
	if name := s.DeviceName(index); name != "only-here" {
		t.Errorf("%d is %q", index, name)
	}
	if _, _, ok := new(lookup.System).Device("only-here"); ok {
		t.Error("only-here is in this network namespace, too")
	}
	if known := s.Known(field.Device); !slices.Contains(known, "only-here") || !slices.Contains(known, "lo") {
		t.Errorf("interfaces are %q", known)
	}
	for _, name := range []string{filepath.Base(path), path} {
		want, err := netns.Inode(path)
		if inode, ok := s.Netns(name); !ok || err != nil || inode != want {
			t.Errorf("namespace %s: %d, %v, want %d", name, inode, ok, want)
		}
	}
	if !slices.Contains(s.Known(field.Netns), filepath.Base(path)) {
		t.Error("its name is not among the network namespaces")
	}
}

func TestNetns(t *testing.T) {
	own, err := netns.Inode(filepath.Join("/proc", strconv.Itoa(os.Getpid()), "ns/net")) // of the first thread
	if err != nil {
		t.Fatal(err)
	}
	var s lookup.System
	for _, name := range []string{"pid:" + strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getpid())} {
		if inode, ok := s.Netns(name); !ok || inode != own {
			t.Errorf("%s: %d, %v, want %d", name, inode, ok, own)
		}
	}
	for _, name := range []string{"no-such-namespace", "/no/such/file", "pid:0"} {
		if inode, ok := s.Netns(name); ok {
			t.Errorf("%s: %d", name, inode)
		}
	}
}

// TestCgroups finds a cgroup by path and the path by id, in two ways.
func TestCgroups(t *testing.T) {
	var s lookup.System
	known := s.Known(field.Cgroup)
	if len(known) == 0 {
		t.Skip("needs cgroup2 to be mounted")
	}
	for _, path := range known[:min(len(known), 5)] {
		id, ok := s.Cgroup(path)
		if !ok || id == 0 {
			t.Errorf("%s: %d, %v", path, id, ok)
			continue
		}
		if back, ok := s.CgroupPath(id); !ok || back != path {
			t.Errorf("%d of %s is %q, %v", id, path, back, ok)
		}
	}
	if id, ok := s.Cgroup("/no/such/cgroup"); ok {
		t.Errorf("/no/such/cgroup is %d", id)
	}
	if path, ok := s.CgroupPath(1 << 50); ok {
		t.Errorf("no cgroup is %s", path)
	}
	if id, ok := s.Cgroup("/cgroup.procs"); ok {
		t.Errorf("a file is the cgroup %d", id)
	}
}
