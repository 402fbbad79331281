// Bench measures nettrace beside netstat, ss and libbpf-tools' tcpstates, on the
// same load in the same run, and prints Markdown tables of medians with each
// budget beside its figure.
//
// It needs root. The load runs in network namespaces of its own, which are deleted
// at the end. Every part is bounded and ends by itself.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// options are what the command line asks for.
type options struct {
	nettrace    string // its path
	dir         string // for what the tracers write
	rounds      int
	connections int   // of one round of the stream
	sizes       []int // numbers of sockets of the views
	held        int   // sockets of the memory section
	million     int   // connections of the long run
	pause       time.Duration
	sections    []string
}

// section is a part of the run.
type section struct {
	name string
	run  func(*bench, context.Context) error
}

var sections = []section{
	{"stream", (*bench).stream},
	{"closes", (*bench).closes},
	{"start", (*bench).start},
	{"views", (*bench).views},
	{"filter", (*bench).filter},
	{"levers", (*bench).levers},
	{"queries", (*bench).queries},
	{"stall", (*bench).stall},
	{"memory", (*bench).memory},
	{"million", (*bench).longRun},
}

// bench is one run.
type bench struct {
	options
	report report
	log    io.Writer // progress
}

func main() {
	load.Main()
	o, err := parseArgs(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o, os.Stdout, os.Stderr)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseArgs(args []string, stderr io.Writer) (options, error) {
	o := options{
		connections: 60_000,
		sizes:       []int{10, 1_000, 10_000, 20_000, 100_000},
		held:        100_000,
		million:     1_000_000,
		pause:       65 * time.Second, // TCP_TIMEWAIT_LEN is 60 s
	}
	fl := flag.NewFlagSet("bench", flag.ContinueOnError)
	fl.SetOutput(stderr)
	fl.StringVar(&o.nettrace, "nettrace", "bin/nettrace", "`path` of the nettrace to measure")
	fl.StringVar(&o.dir, "dir", "", "`directory` for what the tracers write (default /dev/shm, in memory)")
	fl.IntVar(&o.rounds, "rounds", 0, "`number` of rounds (default 5, or 2 with -quick)")
	quick := fl.Bool("quick", false, "small numbers, to see whether the benchmark works")
	million := fl.Bool("million", false, "also the long run of a million connections, 6 minutes")
	list := fl.String("sections", "stream,closes,start,views,filter,queries,memory", "`parts` to run, of stream, closes, start, views, filter, levers, queries, stall, memory, million")
	if err := fl.Parse(args); err != nil {
		return o, err
	}
	if fl.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", fl.Arg(0))
	}
	o.sections = strings.Split(*list, ",")
	if *million {
		o.sections = append(o.sections, "million")
	}
	if *quick {
		o.connections, o.held, o.million = 6_000, 2_000, 20_000
		o.sizes = []int{10, 1_000}
	}
	if o.rounds == 0 {
		o.rounds = 5
		if *quick {
			o.rounds = 2
		}
	}
	err := o.check()
	return o, err
}

// check reports an option whose value makes no sense.
func (o *options) check() error {
	for _, name := range o.sections {
		if !slices.ContainsFunc(sections, func(s section) bool { return s.name == name }) {
			return fmt.Errorf("no section %q (-h lists them)", name)
		}
	}
	if o.rounds < 1 {
		return fmt.Errorf("-rounds %d: need at least one", o.rounds)
	}
	return nil
}

func run(ctx context.Context, o options, out, log io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root: makes network namespaces and loads BPF programs")
	}
	if _, err := os.Stat(o.nettrace); err != nil {
		return fmt.Errorf("%w (make builds it)", err)
	}
	// Where Debian has tcpstates.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	if o.dir == "" && isDir("/dev/shm") {
		o.dir = "/dev/shm"
	}
	dir, err := os.MkdirTemp(o.dir, "nt-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it names what it could not remove, and that harms nobody
	o.dir = dir

	installed, err := os.MkdirTemp("/var/tmp", "nt-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(installed) }() // as above
	if o.nettrace, err = copyForAll(o.nettrace, installed); err != nil {
		return err
	}

	b := &bench{options: o, report: report{w: out}, log: log}
	b.report.heading(title(time.Now(), os.Args[1:]))
	for _, s := range sections {
		if !slices.Contains(o.sections, s.name) {
			continue
		}
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	b.report.summary()
	return b.report.err
}

// copyForAll copies a program to where every user may run it: on a disk, where packages
// install netstat and ss too. The kernel maps more of such a file at a time than of one in
// memory, and of one that the linker has written in pieces.
func copyForAll(program, dir string) (string, error) {
	b, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, filepath.Base(program))
	return path, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, b, 0o755))
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// title names the machine and the command.
func title(now time.Time, args []string) string {
	command := "make bench"
	if len(args) > 0 {
		command += fmt.Sprintf(" ARGS='%s'", strings.Join(args, " "))
	}
	var uts unix.Utsname
	kernel := "an unknown kernel"
	if unix.Uname(&uts) == nil {
		kernel = fmt.Sprintf("Linux %s %s", unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Machine[:]))
	}
	busy, _, _ := strings.Cut(string(readFile("/proc/loadavg")), " ")
	return fmt.Sprintf("%s, %d cores of %s, load average %s before, %s: %#q",
		kernel, runtime.NumCPU(), processor(), busy, now.Format(time.DateOnly), command)
}

// processor returns the model's name; not every architecture has it.
func processor() string {
	for line := range bytes.Lines(readFile("/proc/cpuinfo")) {
		if key, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// readFile returns a file's content, or nothing.
func readFile(path string) []byte {
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil
	}
	return b
}

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.log, "bench: "+format+"\n", args...)
}
