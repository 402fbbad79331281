package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// options are what the command line asks for.
type options struct {
	kernels     []kernel
	suites      []suite
	filtered    bool // -run was given, so a suite may have no test that matches
	brief       bool
	update      bool
	skipMissing bool
	verbose     bool
	mirror      string
	params      string // added to every kernel's command line
	parallel    int
	timeout     time.Duration // of one machine
}

func main() {
	o, err := parseArgs(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o, os.Stdout)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		os.Exit(1)
	}
}

// parseArgs reads the command line; arguments after the flags choose packages.
func parseArgs(args []string, stderr io.Writer) (options, error) {
	o := options{suites: slices.Clone(suites)}
	fl := flag.NewFlagSet("vmtest", flag.ContinueOnError)
	fl.SetOutput(stderr)
	list := fl.String("kernels", kernelNames(), "kernel `series` to run on, separated by commas")
	pattern := fl.String("run", "", "run only tests that match this `regexp`")
	fl.BoolVar(&o.brief, "brief", false, "leave out of the long suites what other kernels show as well")
	fl.BoolVar(&o.update, "update", false, "fetch the newest point release even if an older one is cached")
	fl.BoolVar(&o.skipMissing, "skip-missing", false, "skip a kernel that cannot be fetched instead of failing")
	fl.BoolVar(&o.verbose, "v", false, "print what the tests print, as they do")
	fl.StringVar(&o.params, "append", "", "`parameters` to add to every kernel's command line, such as preempt=full")
	fl.StringVar(&o.mirror, "mirror", "", "`URL` of the Debian archive (default: that of this machine's APT sources)")
	fl.IntVar(&o.parallel, "parallel", 2, "`number` of machines at a time")
	fl.DurationVar(&o.timeout, "timeout", 40*time.Minute, "`time` that one machine may take")
	err := fl.Parse(args)
	if err != nil {
		return o, err
	}
	if o.kernels, err = selectKernels(*list); err != nil {
		return o, err
	}
	if o.parallel < 1 {
		return o, fmt.Errorf("-parallel %d: need at least one machine", o.parallel)
	}
	if fl.NArg() > 0 {
		if o.suites, err = selectSuites(fl.Args()); err != nil {
			return o, err
		}
	}
	if *pattern != "" {
		o.filtered = true
		for i := range o.suites {
			o.suites[i].run = *pattern
		}
	}
	return o, nil
}

// selectSuites returns the suites of the named packages ("./tracer" or "tracer").
func selectSuites(pkgs []string) ([]suite, error) {
	var chosen []suite
	for _, pkg := range pkgs {
		clean := filepath.ToSlash(filepath.Clean(pkg))
		i := slices.IndexFunc(suites, func(s suite) bool { return s.pkg == clean })
		if i < 0 {
			return nil, fmt.Errorf("no suite %q in internal/vmtest/suite.go", pkg)
		}
		chosen = append(chosen, withAll(suites[i]))
	}
	return chosen, nil
}

// withAll adds to a suite what the other ones of its package need: -run may choose tests
// of them.
func withAll(s suite) suite {
	for _, other := range suites {
		if other.pkg == s.pkg {
			s.files = append(slices.Clip(s.files), other.files...)
			s.programs = append(slices.Clip(s.programs), other.programs...)
			s.modules = append(slices.Clip(s.modules), other.modules...)
		}
	}
	return s
}

// run fetches, compiles and boots. It fails if the tests failed on any kernel.
func run(ctx context.Context, o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "nettrace-vmtest-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary directory harms nobody
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	b := build{root: root, dir: dir}
	if err := b.compileAll(ctx, o.suites); err != nil {
		return err
	}

	o.longestFirst()
	reports, results := make([]report, len(o.kernels)), make([]error, len(o.kernels))
	p := &printer{w: out, verbose: o.verbose}
	slots := make(chan struct{}, o.parallel)
	var wg sync.WaitGroup
	for i, k := range o.kernels {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			reports[i], results[i] = runKernel(ctx, o, b, k, p)
		})
	}
	wg.Wait()
	var failed []string
	for i, err := range results {
		if err == nil {
			continue
		}
		failed = append(failed, o.kernels[i].name)
		for _, s := range reports[i].suites {
			for _, line := range s.lastWords() {
				p.line(o.kernels[i], "%s: %s", s.pkg, line)
			}
		}
	}
	if failed != nil {
		return fmt.Errorf("failed on %d of %d kernels: %s", len(failed), len(results), strings.Join(failed, ", "))
	}
	return nil
}

// suitesOn returns the suites that a kernel runs.
func (o options) suitesOn(k kernel) []suite {
	return slices.DeleteFunc(slices.Clone(o.suites), func(s suite) bool { return !s.runsOn(k, o.filtered, o.brief) })
}

// longestFirst puts the kernels with the most suites first: the last machines, which have
// the processors for themselves, are then short ones.
func (o options) longestFirst() {
	slices.SortStableFunc(o.kernels, func(a, b kernel) int {
		return cmp.Compare(len(o.suitesOn(b)), len(o.suitesOn(a)))
	})
}

// retries is how often a machine is started again after errEmulator, with the
// suites that had not ended. If it breaks every time, it was not the emulator.
const retries = 3

// runKernel runs the chosen suites on one kernel and prints the results.
func runKernel(ctx context.Context, o options, b build, k kernel, p *printer) (report, error) {
	tree, err := o.tree(ctx, k)
	if err != nil && o.skipMissing {
		p.line(k, "SKIPPED, not fetched: %v", err)
		return report{}, nil
	}
	if err != nil {
		p.line(k, "FAIL, not fetched (-skip-missing leaves it out): %v", err)
		return report{}, err
	}
	chosen := o.suitesOn(k)
	k.params += " " + o.params
	rep, err := b.run(ctx, tree, k, chosen, o.timeout, p)
	for range retries {
		if !errors.Is(err, errEmulator) {
			break
		}
		rep.dropUnended()
		rest := chosen[len(rep.suites):]
		if len(rest) == 0 {
			break
		}
		p.line(k, "%s broke off, %v: once more", rest[0].pkg, errEmulator)
		var more report
		more, err = b.run(ctx, tree, k, rest, o.timeout, p)
		rep.suites, rep.stray = append(rep.suites, more.suites...), append(rep.stray, more.stray...)
	}
	if err == nil {
		err = b.again(ctx, tree, k, chosen, &rep, o, p)
	}
	if err == nil {
		err = rep.check(chosen, o.filtered)
	}
	p.report(k, filepath.Base(tree), rep, err)
	return rep, err
}

// again runs the tests that failed once more, in a new machine. Those that pass then
// count as passed, and are named.
func (b build) again(ctx context.Context, tree string, k kernel, chosen []suite, rep *report, o options, p *printer) error {
	var rest []suite
	var of []int // their places in the report
	for i, out := range rep.suites {
		if s, ok := out.secondChance(chosen[i]); ok && !o.filtered {
			rest, of = append(rest, s), append(of, i)
			p.line(k, "%s, once more: %s\n%s", s.pkg, s.run, strings.Join(out.lastWords(), "\n"))
		}
	}
	if rest == nil {
		return nil
	}
	second, err := b.run(ctx, tree, k, rest, o.timeout, p)
	if err != nil {
		return err
	}
	for i, out := range second.suites {
		rep.suites[of[i]].settle(out)
	}
	return nil
}

// tree returns the directory of an unpacked kernel. It fetches the kernel if it is
// not cached.
func (o options) tree(ctx context.Context, k kernel) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "kernels")
	if tree, ok := k.cached(dir); ok && !o.update {
		return tree, nil
	}
	return k.fetch(ctx, o.mirror, dir)
}
