package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kernel is the cloud kernel of a Debian release. The version changes with each
// point release, so a pattern finds the package, and the newest match is taken.
type kernel struct {
	name    string // the series, as -kernels takes it
	suite   string // the Debian suite that carries it
	pattern string // of the package's name
	params  string // added to its command line
}

// preemptible is what is added to the series of a kernel that is booted with
// preempt=full. Kernels before 7.0 preempt themselves only if asked to.
const preemptible = "-preempt"

// lockedDown is what is added where the kernel keeps its memory from root.
const lockedDown = "-lockdown"

var kernels = []kernel{
	{"5.10", "bullseye", `^linux-image-5\.10\.0-[0-9]+-cloud-amd64-unsigned$`, ""},
	{"6.1", "bookworm", pattern61, ""},
	{"6.1" + lockedDown, "bookworm", pattern61, "lockdown=confidentiality"},
	{"6.12", "trixie", pattern612, ""},
	{"6.12" + preemptible, "trixie", pattern612, "preempt=full"},
	{"7.2", "forky", `^linux-binary-7\.2[0-9.]*\+deb14-cloud-amd64$`, ""},
}

const pattern61 = `^linux-image-6\.1\.0-[0-9]+-cloud-amd64-unsigned$`

const pattern612 = `^linux-image-6\.12\.[0-9]+\+deb13-cloud-amd64-unsigned$`

// series returns the kernel's series, which is the start of its release.
func (k kernel) series() string {
	series, _, _ := strings.Cut(k.name, "-")
	return series
}

// packages returns the packages of a kernel. Since 7.0 Debian has the modules in a
// package of their own.
func packages(name string) []string {
	if rest, ok := strings.CutPrefix(name, "linux-binary-"); ok {
		return []string{name, "linux-modules-" + rest}
	}
	return []string{name}
}

// image returns the path of the kernel image among unpacked packages.
func image(tree string) (string, error) {
	for _, pattern := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"} {
		if files, err := filepath.Glob(filepath.Join(tree, pattern)); err == nil && len(files) == 1 {
			return files[0], nil
		}
	}
	return "", fmt.Errorf("no kernel image in %s; remove it to have it fetched again", tree)
}

// selectKernels returns the kernels of a comma-separated list of series.
func selectKernels(list string) ([]kernel, error) {
	var chosen []kernel
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(kernels, func(k kernel) bool { return k.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no kernel %q; the known ones are %s", name, kernelNames())
		}
		chosen = append(chosen, kernels[i])
	}
	return chosen, nil
}

func kernelNames() string {
	var names []string
	for _, k := range kernels {
		names = append(names, k.name)
	}
	return strings.Join(names, ",")
}

// cacheDir is where kernels are kept: NETTRACE_CACHE, or nettrace under the
// user's cache directory.
func cacheDir() (string, error) {
	if dir := os.Getenv("NETTRACE_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory: %w; set NETTRACE_CACHE", err)
	}
	return filepath.Join(dir, "nettrace"), nil
}

// cached returns the directory of the kernel's newest version in the cache. The
// directory has the name of the package.
func (k kernel) cached(dir string) (string, bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", false
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	name, ok := k.newest(names)
	return filepath.Join(dir, name), ok
}

// newest returns the latest of the kernel's packages among names.
func (k kernel) newest(names []string) (string, bool) {
	pattern := regexp.MustCompile(k.pattern)
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !pattern.MatchString(n) })
	if len(names) == 0 {
		return "", false
	}
	return slices.MaxFunc(names, func(a, b string) int { return slices.Compare(numbers(a), numbers(b)) }), true
}

var digits = regexp.MustCompile(`[0-9]+`)

// numbers returns the numbers in s. Compared one by one they order the versions of
// a package.
func numbers(s string) []int {
	var ns []int
	for _, d := range digits.FindAllString(s, -1) {
		n, _ := strconv.Atoi(d) // versions have no number that overflows; it would be 0 and sort first
		ns = append(ns, n)
	}
	return ns
}

// fetch downloads the newest version of the kernel, unpacks it below dir and
// returns its directory. It leaves the machine's APT configuration alone and uses
// one of its own.
func (k kernel) fetch(ctx context.Context, mirror, dir string) (string, error) {
	apt, err := newApt(ctx, mirror, k.suite)
	if err != nil {
		return "", err
	}
	defer apt.remove()

	out, err := apt.run(ctx, "apt-cache", "search", "--names-only", k.pattern)
	if err != nil {
		return "", err
	}
	var names []string
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	name, ok := k.newest(names)
	if !ok {
		return "", fmt.Errorf("the suite %s has no package %s", k.suite, k.pattern)
	}
	return apt.unpack(ctx, packages(name), filepath.Join(dir, name))
}

// apt is a private APT configuration for one suite, in a directory of its own.
type apt struct {
	dir  string
	args []string
}

// keyring is what Debian's package debian-archive-keyring installs.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// newApt makes the configuration and reads the suite's package lists. If mirror is
// empty, the mirror of the machine's own sources is used.
func newApt(ctx context.Context, mirror, suite string) (_ *apt, err error) {
	if mirror == "" {
		if mirror, err = debianMirror(ctx); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "nettrace-apt-")
	if err != nil {
		return nil, err
	}
	a := &apt{dir: dir, args: []string{
		"-o", "Dir::Etc::sourcelist=" + filepath.Join(dir, "sources.list"),
		"-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::State::lists=" + filepath.Join(dir, "lists"),
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"),
		"-o", "APT::Architecture=amd64",
		"-o", "APT::Update::Error-Mode=any", // fail, not only warn, if lists cannot be read
		"-o", "Acquire::Retries=3",
		"-o", "APT::Sandbox::User=root", // _apt could not write to this directory
	}}
	defer func() {
		if err != nil {
			a.remove()
		}
	}()
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	source := fmt.Sprintf("deb [signed-by=%s] %s %s main\n", keyring, mirror, suite)
	if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(source), 0o644); err != nil {
		return nil, err
	}
	_, err = a.run(ctx, "apt-get", "update", "-qq")
	return a, err
}

func (a *apt) remove() { _ = os.RemoveAll(a.dir) } // a leftover in the temporary directory harms nobody

// run runs an APT command in the directory and returns its standard output.
func (a *apt) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, slices.Concat(a.args, args)...)
	cmd.Dir = a.dir
	out, err := cmd.Output()
	if err != nil {
		return "", commandError(name+" "+args[0], err)
	}
	return string(out), nil
}

// debianMirror returns the Debian archive that the machine's own sources use.
func debianMirror(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian").Output()
	if err != nil {
		return "", commandError("apt-get indextargets", err)
	}
	mirror, _, _ := strings.Cut(string(out), "\n")
	if mirror == "" {
		return "", errors.New("no Debian archive in this machine's APT lists: run apt-get update, or name one with -mirror")
	}
	return mirror, nil
}

// unpack downloads packages and unpacks them into tree. The directory tree appears
// only after all of it is unpacked.
func (a *apt) unpack(ctx context.Context, names []string, tree string) (string, error) {
	if _, err := a.run(ctx, "apt-get", slices.Concat([]string{"download", "-qq"}, names)...); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(a.dir, "*.deb"))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(tree), 0o755); err != nil {
		return "", err
	}
	part, err := os.MkdirTemp(filepath.Dir(tree), ".part-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(part) }() // gone already when all went well
	for _, deb := range debs {
		if _, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, part).Output(); err != nil {
			return "", commandError("dpkg-deb -x "+filepath.Base(deb), err)
		}
	}
	if err := os.RemoveAll(tree); err != nil { // from an earlier run, or another one at the same time
		return "", err
	}
	return tree, os.Rename(part, tree)
}

// commandError adds to err which command failed and what it wrote to stderr.
func commandError(what string, err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return fmt.Errorf("%s: %w: %s", what, err, strings.TrimSpace(string(exit.Stderr)))
	}
	return fmt.Errorf("%s: %w", what, err)
}
