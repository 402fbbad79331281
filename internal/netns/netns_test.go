package netns_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nettrace/nettrace/internal/netns"
	"github.com/nettrace/nettrace/internal/testnet"
)

// inode returns the identity of a namespace that must be there.
func inode(t *testing.T, path string) uint32 {
	t.Helper()
	n, err := netns.Inode(path)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDo(t *testing.T) {
	path := testnet.New(t)
	own := inode(t, netns.Current)
	failure := errors.New("of the function")
	err := netns.Do(path, func() error {
		if got, want := inode(t, netns.Current), inode(t, path); got != want || got == own {
			t.Errorf("in %d, want %d, own is %d", got, want, own)
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("got %v, want %v", err, failure)
	}
	if got := inode(t, netns.Current); got != own {
		t.Errorf("the caller is in %d, was in %d", got, own)
	}
}

func TestDoErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:         file + " is no network namespace: invalid argument",
		file + ".no": "open network namespace " + file + ".no: no such file or directory",
	} {
		called := false
		err := netns.Do(path, func() error { called = true; return nil })
		if err == nil || err.Error() != want || called {
			t.Errorf("got %v, want %s (function called: %t)", err, want, called)
		}
	}
}

func TestFiles(t *testing.T) {
	path := testnet.New(t)
	files, err := netns.Files("/proc", netns.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(files, path) {
		t.Errorf("%s is not in %q", path, files)
	}
	seen := map[uint32]string{}
	for _, f := range files {
		n, err := netns.Inode(f)
		if err != nil {
			continue // gone since
		}
		if seen[n] != "" {
			t.Errorf("%s and %s are the same namespace", seen[n], f)
		}
		seen[n] = f
	}
	if seen[inode(t, netns.Current)] == "" {
		t.Errorf("the own one is not in %q", files)
	}
}

func TestFilesFixture(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"proc/12/ns/net", "proc/self/ns/net", "named/b", "named/a"} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "proc/12/ns/net"), filepath.Join(dir, "named/c")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "proc/13"), 0o700); err != nil { // it is gone
		t.Fatal(err)
	}
	got, err := netns.Files(filepath.Join(dir, "proc"), filepath.Join(dir, "named"))
	want := []string{filepath.Join(dir, "proc/12/ns/net"), filepath.Join(dir, "named/a"), filepath.Join(dir, "named/b")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := netns.Files(filepath.Join(dir, "none"), dir); err == nil {
		t.Error("no error without a proc file system")
	}
}
