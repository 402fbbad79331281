package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// outcome is the result of one suite on one machine.
type outcome struct {
	pkg                     string
	passed, skipped, failed int      // tests, without their subtests
	skips                   []string // each skipped test or subtest with its reason
	status                  string   // exit status of the test binary; empty: it never ended
	log                     []string
	began                   int               // index in log where the current test began
	failures                []string          // the last lines of each test that failed
	broken                  []string          // names of the tests that failed
	unsteady                []string          // those that passed when they ran once more
	current                 string            // the test whose output is being read
	said                    map[string]string // each test's last line of output, which is the reason if it skips
	took                    time.Duration
}

// ok reports whether the suite ran to its end and passed.
func (o outcome) ok() bool { return o.status == "0" && o.failed == 0 }

func (o outcome) ran() int { return o.passed + o.skipped + o.failed }

func (o outcome) String() string {
	s := fmt.Sprintf("%s: %d passed, %d failed, %d skipped in %.1f s",
		o.pkg, o.passed, o.failed, o.skipped, o.took.Seconds())
	switch o.status {
	case "0":
	case "":
		s += ", never ended"
	default:
		s += ", exit status " + o.status
	}
	if o.unsteady != nil {
		s += "; UNSTEADY, passed when run once more: " + strings.Join(o.unsteady, " ")
	}
	return s
}

// secondChance returns a suite with the tests that failed, if nothing else is wrong: an
// emulated processor that stands still for seconds fails a test that is right. Many
// failures are no such accident.
func (o outcome) secondChance(s suite) (again suite, ok bool) {
	const accidents = 2
	if o.status != "1" || len(o.broken) == 0 || len(o.broken) > accidents {
		return suite{}, false
	}
	if !strings.Contains(s.run, "/") { // which would choose subtests
		s.run = "^(" + strings.Join(o.broken, "|") + ")$"
	}
	return s, true
}

// settle takes the result of the second run of the tests that failed.
func (o *outcome) settle(second outcome) {
	if !second.ok() || second.passed == 0 {
		return
	}
	o.unsteady, o.status = o.broken, "0"
	o.passed, o.failed = o.passed+o.failed, 0
}

// lastLines is how much of a failed test's output is repeated at the end of the
// run, so that it is still there when the log is cut.
const lastLines = 15

// lastWords returns the last lines of each test that failed. If none failed and
// the suite did not pass, they are the last lines of the suite.
func (o outcome) lastWords() []string {
	if o.ok() || o.failures != nil {
		return o.failures
	}
	return tail(o.log)
}

func tail(lines []string) []string { return lines[max(0, len(lines)-lastLines):] }

// report is the result of one machine: the time it took to boot, and its suites.
type report struct {
	boot   time.Duration
	suites []outcome
	stray  []string // lines outside of any suite: errors of init itself
}

// dropUnended removes the suite during which the machine stopped, and all after it.
func (rep *report) dropUnended() {
	i := slices.IndexFunc(rep.suites, func(o outcome) bool { return o.status == "" })
	if i >= 0 {
		rep.suites = rep.suites[:i]
	}
}

// check returns an error for each chosen suite that did not pass. A suite without
// a passed test is a failure, unless a pattern selects tests (filtered): then it is
// one only if no suite has a test that matches.
func (rep report) check(chosen []suite, filtered bool) error {
	var errs []error
	for _, line := range rep.stray {
		errs = append(errs, fmt.Errorf("init: %s", line))
	}
	total := 0
	for i, s := range chosen {
		if i >= len(rep.suites) {
			errs = append(errs, fmt.Errorf("%s: never began", s.pkg))
			continue
		}
		o := rep.suites[i]
		total += o.ran()
		if !o.ok() || o.passed == 0 && !filtered {
			errs = append(errs, errors.New(o.String()))
		}
	}
	if total == 0 && errs == nil {
		errs = append(errs, errors.New("no test matches"))
	}
	return errors.Join(errs...)
}

// readReport reads a machine's serial line until it closes. It passes each line to
// echo as well.
func readReport(r io.Reader, echo func(line string)) report {
	var rep report
	start := time.Now()
	var begin time.Time
	var open *outcome // the suite that runs
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if err != nil && line == "" {
			return rep
		}
		echo(line)
		if pkg, ok := strings.CutPrefix(line, "vmtest: begin "); ok {
			begin = time.Now()
			if rep.suites == nil {
				rep.boot = begin.Sub(start)
			}
			rep.suites = append(rep.suites, outcome{pkg: pkg, said: map[string]string{}})
			open = &rep.suites[len(rep.suites)-1]
		} else if status, ok := strings.CutPrefix(line, "vmtest: exit "); ok && open != nil {
			open.status = status
			open.took = time.Since(begin)
			open = nil
		} else if open != nil {
			open.add(line)
		} else if line != "" {
			rep.stray = append(rep.stray, line)
		}
	}
}

// add takes a line of a test binary's verbose output.
func (o *outcome) add(line string) {
	o.log = append(o.log, line)
	text := strings.TrimLeft(line, " ")
	words := strings.Fields(text)
	switch {
	case len(words) == 3 && words[0] == "===": // RUN, PAUSE, CONT or NAME, and the test that speaks next
		o.current = words[2]
		if words[1] == "RUN" && !strings.Contains(o.current, "/") {
			o.began = len(o.log) - 1
		}
	case strings.HasPrefix(line, "--- PASS: "):
		o.passed++
	case strings.HasPrefix(line, "--- FAIL: "):
		o.failed++
		o.broken = append(o.broken, words[2])
		o.failures = append(o.failures, tail(o.log[o.began:])...)
	case strings.HasPrefix(text, "--- SKIP: ") && len(words) > 2:
		if text == line {
			o.skipped++
		}
		name := words[2]
		o.skips = append(o.skips, name+": "+o.said[name])
	default:
		o.said[o.current] = strings.TrimSpace(line)
	}
}
