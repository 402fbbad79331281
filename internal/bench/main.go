// Command bench measures nettrace beside netstat, ss and libbpf-tools' tcpstates,
// in turn, on the same load, in network namespaces of its own. It prints medians
// and their ratios as Markdown, with the budget of each figure. It needs root,
// ends by itself, and its load goes to the loopback of its namespaces only.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// bench is one run.
type bench struct {
	rounds      int
	connections int // of the stream's load
	sockets     []int
	dir         string // for what the programs write
	program     string // nettrace
	netns       int    // namespaces made so far
}

func main() {
	load.Main()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	rounds := flag.Int("rounds", 5, "rounds of each measurement")
	quick := flag.Bool("quick", false, "small loads, to see that it works")
	sections := flag.String("sections", "stream,start,memory,views,small", "what to measure; million is left out unless named")
	program := flag.String("nettrace", "bin/nettrace", "the program to measure")
	flag.Parse()
	if os.Geteuid() != 0 {
		return errors.New("needs root: makes network namespaces and loads BPF programs")
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 20000, Max: 20000}); err != nil {
		return fmt.Errorf("raise the number of open files: %w", err)
	}
	b := &bench{rounds: *rounds, connections: 60000, sockets: []int{10, 1000, 10000, 20000, 100000}}
	if *quick {
		b.rounds, b.connections, b.sockets = 2, 3000, []int{10, 1000}
	}
	if b.program, err = filepath.Abs(*program); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "nettrace-bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	fmt.Printf("`make bench`, %s, Linux %s, %d CPUs, %d rounds, medians\n",
		time.Now().Format(time.DateOnly), unix.ByteSliceToString(uts.Release[:]), runtime.NumCPU(), b.rounds)
	all := map[string]func() error{
		"stream": b.stream, "start": b.start, "memory": b.memory, "views": b.views, "small": b.small, "million": b.million,
	}
	for _, name := range strings.Split(*sections, ",") {
		section := all[name]
		if section == nil {
			return fmt.Errorf("no section %q", name)
		}
		if err := section(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// inNetns runs f with the file of a namespace made for it.
func (b *bench) inNetns(f func(netns string) error) (err error) {
	b.netns++
	name := fmt.Sprintf("nt-bench-%d-%d", os.Getpid(), b.netns)
	ip := func(args ...string) error {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
		return nil
	}
	if err := ip("netns", "add", name); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ip("netns", "del", name)) }()
	if err := ip("-n", name, "link", "set", "lo", "up"); err != nil {
		return err
	}
	for _, set := range []string{"net.ipv4.tcp_max_tw_buckets=262144", "net.core.somaxconn=65535", "net.ipv4.ip_local_port_range=1024 65535"} {
		if err := ip("netns", "exec", name, "sysctl", "-qw", set); err != nil {
			return err
		}
	}
	return f(filepath.Join("/run/netns", name))
}

// table prints a Markdown table.
func table(title string, header []string, rows [][]string) {
	fmt.Printf("\n**%s**\n\n| %s |\n|%s\n", title, strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	for _, r := range rows {
		fmt.Printf("| %s |\n", strings.Join(r, " | "))
	}
}

func median[N int | int64 | float64](values []N) N {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// verdict says whether a figure keeps within its budget.
func verdict(figure, budget float64, unit string) string {
	word := "met"
	if figure > budget {
		word = "**missed**"
	}
	return fmt.Sprintf("≤ %g %s: %s", budget, unit, word)
}
