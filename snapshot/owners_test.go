package snapshot

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSocketLink(t *testing.T) {
	tests := map[string]uint64{
		"socket:[17]": 17, "socket:[0x10]": 16, "socket:[010]": 8, "socket:[+11]": 11, "socket:[ 12]": 12,
		"socket:[4294967296]": 1 << 32, "[0000]:14": 14, "[0000]:1": 1,
	}
	for link, want := range tests {
		if got, ok := parseSocketLink([]byte(link)); !ok || got != want {
			t.Errorf("%s: %d, %t; want %d", link, got, ok, want)
		}
	}
	for _, link := range []string{"socket:[9]", "socket:[17", "socket:[17x]", "socket:[17]x", "socket:", "pipe:[17]", "[0000]:", "[0000]:1x", "", "/dev/null"} {
		if inode, ok := parseSocketLink([]byte(link)); ok {
			t.Errorf("%s names the socket %d", link, inode)
		}
	}
}

func FuzzParseSocketLink(f *testing.F) {
	f.Add([]byte("socket:[17]"))
	f.Add([]byte("[0000]:0x1"))
	f.Fuzz(func(t *testing.T, link []byte) {
		if _, ok := parseSocketLink(link); ok && len(link) < len("[0000]:1") {
			t.Errorf("%q names a socket", link)
		}
	})
}

// TestReadOwners reads a tree like /proc: one socket held by two processes,
// one by two descriptors of the same process, one by nobody.
func TestReadOwners(t *testing.T) {
	proc := t.TempDir()
	link := func(pid, fd, target string) {
		dir := filepath.Join(proc, pid, "fd")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, fd)); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, content string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(proc, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, path), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link("100", "0", "socket:[10]")
	link("100", "1", "socket:[11]")
	link("100", "2", "socket:[11]")
	write("100/cmdline", "one\x00-x\x00")
	write("100/attr/current", "system_u:r:one\x00")
	link("200", "0", "socket:[10]")
	write("200/cmdline", "two")
	link("300", "0", "socket:[12]") // has ended: no command line
	link("x1", "0", "socket:[13]")
	write("400/status", "no files")

	o, err := ReadOwners(proc, true)
	if err != nil {
		t.Fatal(err)
	}
	pids := func(inode uint64) (list []int) {
		for p := range o.All(inode) {
			list = append(list, p.PID)
		}
		return list
	}
	names, err := listDir(proc)
	if err != nil {
		t.Fatal(err)
	}
	both := []int{100, 200}
	for _, name := range names { // the process that the directory lists first comes first
		if name == "200" {
			both = []int{200, 100}
		}
		if name == "100" || name == "200" {
			break
		}
	}
	if diff := cmp.Diff(both, pids(10)); diff != "" {
		t.Errorf("owners of 10 (-want +got):\n%s", diff)
	}
	if p := o.First(10); p.PID != both[0] {
		t.Errorf("first owner of 10 is %d, want %d", p.PID, both[0])
	}
	if diff := cmp.Diff([]int{100}, pids(11)); diff != "" {
		t.Errorf("owners of 11 (-want +got):\n%s", diff)
	}
	if p := o.First(11); p.Cmdline != "one\x00-x\x00" || p.Context != "system_u:r:one" {
		t.Errorf("owner of 11 is %+v", p)
	}
	if o.First(12) != nil || o.First(13) != nil || pids(12) != nil || o.Empty() || o.Denied {
		t.Errorf("owners of 12 %v, of 13 %v; empty %t, denied %t", pids(12), pids(13), o.Empty(), o.Denied)
	}
	if _, err := ReadOwners(filepath.Join(proc, "none"), false); err == nil {
		t.Error("no error for a root that is not there")
	}
}
