package main

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// archive writes an initramfs: a cpio archive in the "newc" layout that the
// kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst).
// It is not compressed, because decompressing it under emulation would take longer
// than the emulator takes to load it. close returns the first error.
type archive struct {
	w    *bufio.Writer
	seen map[string]bool
	err  error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriter(w), seen: map[string]bool{"/": true}}
}

// File types as in st_mode, the upper half of the archive's mode field.
const (
	modeDir     = 0o040000
	modeRegular = 0o100000
	modeSymlink = 0o120000
)

// entry writes one file, and first the directories above it that are missing. It
// does nothing if the path was written before.
func (a *archive) entry(name string, mode uint32, data []byte) {
	name = path.Clean("/" + name)
	if a.seen[name] || a.err != nil {
		return
	}
	a.entry(path.Dir(name), modeDir|0o755, nil)
	a.seen[name] = true
	a.record(strings.TrimPrefix(name, "/"), mode, data)
}

// record writes a header, the name with its zero byte, and the data. The header is
// the magic and 13 hexadecimal numbers. Name and data are padded to four bytes.
func (a *archive) record(name string, mode uint32, data []byte) {
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		len(a.seen), mode, 0, 0, // inode, mode, owner, group
		1, 0, len(data), 0, 0, // links, modification time, size, device
		0, 0, len(name)+1, 0) // device of a node, length of the name, no checksum
	a.padded([]byte(header + name + "\x00"))
	a.padded(data)
}

func (a *archive) padded(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(append(bytes.Clone(b), make([]byte, -len(b)&3)...))
	}
}

func (a *archive) dir(name string)                { a.entry(name, modeDir|0o755, nil) }
func (a *archive) data(name string, data []byte)  { a.entry(name, modeRegular|0o644, data) }
func (a *archive) symlink(name, target string)    { a.entry(name, modeSymlink|0o777, []byte(target)) }
func (a *archive) script(name string, src []byte) { a.entry(name, modeRegular|0o755, src) }

// copy adds a file of the host under name, or a directory with all its files. It
// follows symbolic links.
func (a *archive) copy(name, host string) {
	if a.err != nil {
		return
	}
	host, a.err = filepath.EvalSymlinks(host)
	if a.err != nil {
		return
	}
	a.err = filepath.WalkDir(host, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(host, file)
		if err != nil {
			return err
		}
		return a.copyOne(path.Join(name, filepath.ToSlash(rel)), file, d)
	})
}

func (a *archive) copyOne(name, host string, d fs.DirEntry) error {
	if d.IsDir() {
		a.dir(name)
		return a.err
	}
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(host)
	if err != nil {
		return err
	}
	a.entry(name, modeRegular|uint32(info.Mode().Perm()), data)
	return a.err
}

// program adds a program of the host under its own path, with its shared libraries
// and their loader.
func (a *archive) program(name string) {
	if a.err != nil {
		return
	}
	file, err := exec.LookPath(name)
	if err != nil {
		a.err = err
		return
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(file)) // /bin is /usr/bin on Debian
	if err != nil {
		a.err = err
		return
	}
	a.copy(filepath.Join(dir, filepath.Base(file)), file)
	libs, err := sharedLibraries(file)
	if err != nil {
		a.err = err
		return
	}
	for _, lib := range libs {
		a.copy(lib, lib)
	}
}

// sharedLibraries returns the files that the loader maps for a program, and the
// loader itself. A static program has none.
func sharedLibraries(file string) ([]string, error) {
	if static, err := isStatic(file); static || err != nil {
		return nil, err
	}
	out, err := exec.Command("ldd", file).Output()
	if err != nil {
		return nil, commandError("ldd "+file, err)
	}
	var libs []string
	for line := range strings.Lines(string(out)) {
		for _, field := range strings.Fields(line) { // "NAME => PATH (ADDRESS)" or "PATH (ADDRESS)"
			if filepath.IsAbs(field) {
				libs = append(libs, field)
			}
		}
	}
	return libs, nil
}

// isStatic reports whether an ELF program needs no loader.
func isStatic(file string) (bool, error) {
	f, err := elf.Open(file)
	if err != nil {
		return false, fmt.Errorf("%s: %w", file, err)
	}
	defer func() { _ = f.Close() }() // opened for reading
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false, nil
		}
	}
	return true, nil
}

// close ends the archive.
func (a *archive) close() error {
	a.record("TRAILER!!!", 0, nil)
	if a.err == nil {
		a.err = a.w.Flush()
	}
	return a.err
}
