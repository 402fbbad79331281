package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// modules finds modules of an unpacked kernel and orders them, each after those that
// it needs.
type modules struct {
	files   map[string]string // path by name
	builtin string            // contents of modules.builtin
	order   []string
	data    map[string][]byte
}

// addModules adds the named modules and those that they need under /modules, with
// a file that lists them in loading order. The packages have no such index: depmod
// makes it at installation.
func addModules(a *archive, tree string, names []string) error {
	m, err := findModules(tree)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.need(name); err != nil {
			return err
		}
	}
	a.dir("/modules")
	for _, name := range m.order {
		a.data("/modules/"+name+".ko", m.data[name])
	}
	a.data("/modules/order", []byte(strings.Join(append(m.order, ""), "\n")))
	return nil
}

func findModules(tree string) (*modules, error) {
	m := &modules{files: map[string]string{}, data: map[string][]byte{}}
	err := filepath.WalkDir(tree, func(file string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := filepath.Base(file)
		if name, ok := strings.CutSuffix(strings.TrimSuffix(base, ".xz"), ".ko"); ok {
			m.files[strings.ReplaceAll(name, "-", "_")] = file
		}
		if base == "modules.builtin" {
			text, err := os.ReadFile(file)
			m.builtin = strings.ReplaceAll(string(text), "-", "_")
			return err
		}
		return nil
	})
	return m, err
}

// need appends a module to the order, after those that it needs. It skips modules
// that are built into the kernel.
func (m *modules) need(name string) error {
	name = strings.ReplaceAll(name, "-", "_")
	if m.data[name] != nil || strings.Contains(m.builtin, "/"+name+".ko\n") {
		return nil
	}
	file, ok := m.files[name]
	if !ok {
		return fmt.Errorf("the kernel has no module %s", name)
	}
	data, err := readModule(file)
	if err != nil {
		return err
	}
	m.data[name] = data
	depends, err := moduleDepends(data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, other := range depends {
		if err := m.need(other); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	m.order = append(m.order, name)
	return nil
}

// readModule reads a module, decompressed if need be.
func readModule(file string) ([]byte, error) {
	if !strings.HasSuffix(file, ".xz") {
		return os.ReadFile(file)
	}
	data, err := exec.Command("xz", "-dc", file).Output()
	if err != nil {
		return nil, commandError("xz -dc "+file, err)
	}
	return data, nil
}

// moduleDepends returns the modules that a module needs, from its .modinfo section:
// a list of "key=value", each ended by a zero byte.
func moduleDepends(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok {
			return slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == "" }), nil
		}
	}
	return nil, nil
}
