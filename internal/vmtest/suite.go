package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// suite is a package whose tests run in the machines.
type suite struct {
	pkg      string   // directory, relative to the source tree's root
	run      string   // which tests, as -test.run takes it; empty: all
	kernels  []string // on which kernels; empty: those that boot as they are
	brief    []string // on which of them with -brief; nil: all of them
	programs []string // of the host, added with their shared libraries
	files    []string // of the source tree, beside the package's testdata
	modules  []string // of the kernel, loaded before the tests
}

// guestModules are the modules for a link, those of sock_diag, and others that need
// further modules.
var guestModules = []string{
	"veth", "sctp", "tcp_diag", "udp_diag", "raw_diag", "unix_diag",
	"iptable_nat", "sch_netem", "tun", "nft_reject_ipv4",
}

// cmdPrograms are what the tests of cmd/nettrace start.
var cmdPrograms = []string{"ip", "netstat", "ss", "bash", "unshare"}

// cmdFiles are what they read.
var cmdFiles = []string{"README.md", "docs", "deploy"}

// suites is what make test-kernels runs.
var suites = []suite{
	{
		pkg: "internal/vmtest", run: "^TestGuest",
		programs: []string{"ip", "netstat"}, modules: guestModules,
	},
	{
		pkg: "tracer", run: "^TestHooks",
		programs: []string{"ip"}, modules: guestModules,
	},
	{
		// 5.10 has no cookies in tracing programs.
		pkg: "tracer", run: "^Test(Exact(Condition|End|Learning|Loss|Processes|Scan|Start|Table|TimeWait)$|Start|EndWithoutEvents|EndsOnce|FastOpen|Order|Direction|Users|ForeignCloses)", kernels: []string{"6.1", "6.12", "7.2"},
		brief:    []string{"7.2"},
		programs: []string{"ip"}, modules: guestModules,
	},
	{
		pkg: "tracer", run: "^(TestHooks|TestExactProcesses|TestExactTable)$", kernels: []string{"6.12" + preemptible},
		programs: []string{"ip"}, modules: guestModules,
	},
	{
		// 5.10 has nothing to compare: its closes are picked from all changes.
		pkg: "tracer", run: "^Test(ClosesKept|FailedClosesKept|ClosesKeptFull)$", kernels: []string{"6.1", "6.12", "7.2"},
		brief:    []string{"6.1"},
		programs: []string{"ip"}, modules: guestModules,
	},
	{
		pkg: "tracer", run: "^Test(ExactSockets|ExactUnix|UnixConnects|Queries)$", kernels: []string{"5.10", "6.1", "6.12", "7.2"},
		brief:    []string{"5.10", "7.2"},
		programs: []string{"ip"}, modules: guestModules,
	},
	{
		pkg: "cmd/nettrace", run: "^Test(Stream|Doctor)",
		brief:    []string{"5.10", "6.1"},
		programs: cmdPrograms, files: cmdFiles, modules: guestModules,
	},
	{
		pkg: "cmd/nettrace", run: "^TestOwner", kernels: []string{"6.12"},
		programs: cmdPrograms, files: cmdFiles, modules: guestModules,
	},
	{
		// Some hundred command lines, two sources and two users, which the host runs as well.
		pkg: "cmd/nettrace", run: "^TestSources$", kernels: []string{"6.12"},
		brief:    []string{},
		programs: cmdPrograms, files: cmdFiles, modules: guestModules,
	},
	{
		// Numbers of processes are read by probes before 6.5 (number_of, bpf/stream.h).
		pkg: "cmd/nettrace", run: "^TestPidNamespaces$", kernels: []string{"6.1", "7.2"},
		programs: cmdPrograms, files: cmdFiles, modules: guestModules,
	},
	{
		// What the kernel asks for after the start differs before 5.19.
		pkg: "cmd/nettrace", run: "^Test(Privilege|Service|Killed|NoTracefs)", kernels: []string{"5.10", "6.1"},
		brief:    []string{"5.10"},
		programs: cmdPrograms, files: cmdFiles, modules: guestModules,
	},
	{
		pkg: "cmd/nettrace", run: "^TestLockdown$", kernels: []string{"6.1" + lockedDown},
		programs: cmdPrograms, files: cmdFiles, modules: guestModules,
	},
	{
		pkg: "internal/service", run: "^TestUnit$", kernels: []string{"6.12"},
		programs: append([]string{"/lib/systemd/systemd", "systemctl", "nsenter", "kill"}, cmdPrograms...), modules: guestModules,
		files: []string{"deploy/systemd/nettrace.service"},
	},
	{
		// Quotas are a module, which the host's kernel may lack.
		pkg: "output/sink", run: "^Test(Quota|DiskBreaks)$", kernels: []string{"6.12"},
		programs: []string{"mkfs.ext4", "mount"}, modules: []string{"loop", "quota_v2"},
	},
	{
		pkg: "cmd/nettrace", run: "^TestFilterSS", kernels: []string{"6.1"},
		programs: []string{"ip", "ss"}, files: cmdFiles, modules: guestModules,
	},
	{
		// Only the scenes that show the kernel's own /proc. The scenes of made-up
		// files are the same on every kernel and would take as long again. One
		// kernel beside that of the host: each takes seven minutes.
		pkg: "cmd/nettrace", run: "^TestNetstat$/^(sockets|another_user|hidden_processes|processes_without_access|empty)$",
		kernels:  []string{"6.12"},
		programs: cmdPrograms, files: cmdFiles, modules: guestModules,
	},
}

// runsOn reports whether the suite is for a kernel. One that is not booted as it is
// runs the suites that name it, and what -run chooses.
func (s suite) runsOn(k kernel, filtered, brief bool) bool {
	if brief && s.brief != nil {
		return slices.Contains(s.brief, k.name)
	}
	if s.kernels == nil {
		return k.params == "" || filtered
	}
	return slices.Contains(s.kernels, k.name)
}

// hostFiles are the files that the copied programs' C library looks names up in.
var hostFiles = []string{"/etc/hosts", "/etc/networks", "/etc/passwd", "/etc/group", "/etc/protocols", "/etc/services"}

// nsswitch keeps name lookups to the files above. The C library has the "files"
// service built in since glibc 2.34.
const nsswitch = "passwd: files\ngroup: files\nhosts: files\nnetworks: files\nprotocols: files\nservices: files\n"

//go:embed init.sh
var initScript []byte

// build knows where the compiled parts of an initramfs are.
type build struct {
	root string // of the source tree
	dir  string // for binaries and archives
}

// compile runs a go command that makes a static program for the machines.
func (b build) compile(ctx context.Context, out string, args ...string) error {
	args = slices.Concat([]string{args[0], "-ldflags=-s -w", "-o", out}, args[1:])
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if _, err := cmd.Output(); err != nil {
		return commandError("go "+args[0]+" "+args[len(args)-1], err)
	}
	if _, err := os.Stat(out); err != nil {
		return fmt.Errorf("go %s %s made nothing: has the package no tests?", args[0], args[len(args)-1])
	}
	return nil
}

func (b build) binary(s suite) string { return filepath.Join(b.dir, path.Base(s.pkg)+".test") }

// initramfs writes the archive that runs the given suites one after another.
func (b build) initramfs(file, tree string, chosen []suite, limit time.Duration) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	a := newArchive(f)
	a.script("/init", initScript)
	if err := addBusybox(a); err != nil {
		return errors.Join(err, f.Close())
	}
	for _, name := range hostFiles {
		if _, err := os.Stat(name); err == nil {
			a.copy(name, name)
		}
	}
	a.data("/etc/nsswitch.conf", []byte(nsswitch))
	a.data("/etc/resolv.conf", nil) // so that tests can mount their own over it
	a.symlink("/var/run", "/run")
	a.copy("/usr/bin/nettrace", filepath.Join(b.dir, "nettrace"))
	var list []byte
	var modules []string
	for _, s := range chosen {
		b.addSuite(a, s)
		list = fmt.Appendf(list, "%s %s %s\n", s.pkg, limit, s.run)
		modules = append(modules, s.modules...)
	}
	a.data("/suites", list)
	if err := addModules(a, tree, modules); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(a.close(), f.Close())
}

// addSuite adds a suite at its place in the source tree, with the files it reads.
func (b build) addSuite(a *archive, s suite) {
	a.copy(path.Join("/src", s.pkg, "suite.test"), b.binary(s))
	files := s.files
	testdata := path.Join(s.pkg, "testdata")
	if _, err := os.Stat(filepath.Join(b.root, testdata)); !errors.Is(err, fs.ErrNotExist) {
		files = append(slices.Clone(files), testdata)
	}
	for _, name := range files {
		a.copy(path.Join("/src", name), filepath.Join(b.root, name))
	}
	for _, name := range s.programs {
		a.program(name)
	}
}

// addBusybox adds the shell. It must be static: it is the first program to run, and
// may not depend on a C library.
func addBusybox(a *archive) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w; install busybox-static", err)
	}
	if static, err := isStatic(busybox); err != nil || !static {
		return fmt.Errorf("%s is not a static program; install busybox-static (%v)", busybox, err)
	}
	a.copy("/bin/busybox", busybox)
	a.symlink("/bin/sh", "busybox")
	return nil
}

// compileAll compiles the program and the test binary of each suite.
func (b build) compileAll(ctx context.Context, chosen []suite) error {
	if err := b.compile(ctx, filepath.Join(b.dir, "nettrace"), "build", "./cmd/nettrace"); err != nil {
		return err
	}
	for _, s := range chosen {
		if err := b.compile(ctx, b.binary(s), "test", "-c", "./"+s.pkg); err != nil {
			return err
		}
	}
	return nil
}

// run boots a kernel with the suites in its initramfs and reads their results.
func (b build) run(ctx context.Context, tree string, k kernel, chosen []suite, limit time.Duration, p *printer) (report, error) {
	dir := filepath.Join(b.dir, k.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return report{}, err
	}
	image, err := image(tree)
	if err != nil {
		return report{}, err
	}
	m := machine{series: k.series(), params: k.params, kernel: image, initrd: filepath.Join(dir, "initrd"), dir: dir}
	// The test binary's own limit is shorter: the goroutines that it prints then say
	// more than the console does.
	if err := b.initramfs(m.initrd, tree, chosen, limit*9/10); err != nil {
		return report{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := m.boot(ctx, w)
		_ = w.Close() // ends the reader's input; never fails
		done <- err
	}()
	rep := readReport(r, func(line string) { p.echo(k, line) })
	return rep, <-done
}
