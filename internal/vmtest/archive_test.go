package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// cpio(1) must be able to read the archive.
func TestArchiveUnpacks(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("no cpio on this machine (Debian package cpio)")
	}
	host := t.TempDir()
	if err := os.MkdirAll(filepath.Join(host, "data", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host, "data", "deep", "odd"), []byte("12345"), 0o755); err != nil {
		t.Fatal(err)
	}

	var buf bytes.Buffer
	a := newArchive(&buf)
	a.script("/init", []byte("#!/bin/sh\n"))
	a.data("etc/a/b", []byte("text"))
	a.data("etc/a/b", []byte("a second time"))
	a.data("etc/empty", nil)
	a.symlink("var/run", "/run")
	a.copy("src", filepath.Join(host, "data"))
	if err := a.close(); err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	cmd := exec.Command("cpio", "-id", "--quiet")
	cmd.Dir = dir
	cmd.Stdin = &buf
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for _, want := range []struct {
		name, data string
		mode       os.FileMode
	}{
		{"init", "#!/bin/sh\n", 0o755},
		{"etc/a/b", "text", 0o644},
		{"etc/empty", "", 0o644},
		{"src/deep/odd", "12345", 0o755},
	} {
		name := filepath.Join(dir, want.name)
		data, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if string(data) != want.data || info.Mode() != want.mode {
			t.Errorf("%s: %q with mode %v, want %q with %v", want.name, data, info.Mode(), want.data, want.mode)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "var/run")); target != "/run" {
		t.Errorf("var/run points to %q (%v), want /run", target, err)
	}
}

func TestArchiveKeepsItsError(t *testing.T) {
	var buf bytes.Buffer
	a := newArchive(&buf)
	a.copy("x", filepath.Join(t.TempDir(), "absent"))
	a.data("y", nil)
	if err := a.close(); !os.IsNotExist(err) {
		t.Errorf("close: %v, want that a file is absent", err)
	}
}

func TestSharedLibrariesOfStaticProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if static, err := isStatic(self); err != nil || !static {
		t.Skipf("this test binary is not static (%v): run with CGO_ENABLED=0", err)
	}
	if libs, err := sharedLibraries(self); len(libs) > 0 || err != nil {
		t.Errorf("got %q, %v; want none", libs, err)
	}
}
