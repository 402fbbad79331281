package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	two := []suite{{pkg: "a"}, {pkg: "b"}}
	const pass = "=== RUN   TestX\n--- PASS: TestX (0.00s)\nPASS\n\nvmtest: exit 0\n"
	for _, tt := range []struct {
		name, text string
		filtered   bool
		problem    string // part of the error; empty: none
	}{
		{name: "passes", text: "vmtest: begin a\n" + pass + "vmtest: begin b\n" + pass},
		{name: "carriage returns", text: strings.ReplaceAll("vmtest: begin a\n"+pass+"vmtest: begin b\n"+pass, "\n", "\r\n")},
		{
			name:    "init has trouble",
			text:    "insmod: no veth\nvmtest: begin a\n" + pass + "vmtest: begin b\n" + pass,
			problem: "init: insmod: no veth",
		},
		{name: "nothing", problem: "a: never began"},
		{name: "second never began", text: "vmtest: begin a\n" + pass, problem: "b: never began"},
		{
			name:    "stops in the middle",
			text:    "vmtest: begin a\n" + pass + "vmtest: begin b\n=== RUN   TestX\n--- PASS: TestX (0.00s)\n=== RUN   Te",
			problem: "b: 1 passed, 0 failed, 0 skipped in 0.0 s, never ended",
		},
		{
			name:    "a test fails",
			text:    "vmtest: begin a\n--- FAIL: TestX (0.00s)\nFAIL\n\nvmtest: exit 1\nvmtest: begin b\n" + pass,
			problem: "a: 0 passed, 1 failed, 0 skipped in 0.0 s, exit status 1",
		},
		{
			name:    "a panic after the tests",
			text:    "vmtest: begin a\n" + strings.Replace(pass, "exit 0", "exit 2", 1) + "vmtest: begin b\n" + pass,
			problem: "exit status 2",
		},
		{
			name:    "only skips",
			text:    "vmtest: begin a\n" + pass + "vmtest: begin b\n--- SKIP: TestY (0.00s)\nPASS\n\nvmtest: exit 0\n",
			problem: "b: 0 passed, 0 failed, 1 skipped",
		},
		{
			name:     "a pattern that one suite has no test for",
			text:     "vmtest: begin a\n" + pass + "vmtest: begin b\ntesting: warning: no tests to run\nPASS\n\nvmtest: exit 0\n",
			filtered: true,
		},
		{
			name:     "a pattern that no test matches",
			text:     "vmtest: begin a\nPASS\n\nvmtest: exit 0\nvmtest: begin b\nPASS\n\nvmtest: exit 0\n",
			filtered: true,
			problem:  "no test matches",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := readReport(strings.NewReader(tt.text), func(string) {}).check(two, tt.filtered)
			if (err == nil) != (tt.problem == "") || err != nil && !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("got %v, want %q", err, tt.problem)
			}
		})
	}
}

func TestReportSkips(t *testing.T) {
	const text = `vmtest: begin a
=== RUN   TestX
=== RUN   TestX/sub
    x_test.go:12: no veth
--- PASS: TestX (0.01s)
    --- SKIP: TestX/sub (0.00s)
=== RUN   TestY
    y_test.go:3: no fentry
--- SKIP: TestY (0.00s)
PASS

vmtest: exit 0
`
	rep := readReport(strings.NewReader(text), func(string) {})
	o := rep.suites[0]
	if o.passed != 1 || o.skipped != 1 || o.failed != 0 {
		t.Errorf("%v: want 1 passed, 1 skipped", o)
	}
	want := []string{"TestX/sub: x_test.go:12: no veth", "TestY: y_test.go:3: no fentry"}
	if !slices.Equal(o.skips, want) {
		t.Errorf("skips %q, want %q", o.skips, want)
	}
}

func TestReportLastWords(t *testing.T) {
	long := strings.Repeat("    x_test.go:1: much\n", 100)
	text := "vmtest: begin a\n=== RUN   TestX\n" + long + "--- PASS: TestX (0.01s)\n" +
		"=== RUN   TestY\n=== RUN   TestY/sub\n    y_test.go:3: 2, want 3\n--- FAIL: TestY (0.00s)\n" +
		"    --- FAIL: TestY/sub (0.00s)\n=== RUN   TestZ\n" + long + "--- PASS: TestZ (0.01s)\nFAIL\n\nvmtest: exit 1\n" +
		"vmtest: begin b\n" + long + "panic: test timed out\n\nvmtest: exit 2\n" +
		"vmtest: begin c\n" + long + "PASS\n\nvmtest: exit 0\n"
	rep := readReport(strings.NewReader(text), func(string) {})
	want := []string{"=== RUN   TestY", "=== RUN   TestY/sub", "    y_test.go:3: 2, want 3", "--- FAIL: TestY (0.00s)"}
	if got := rep.suites[0].lastWords(); !slices.Equal(got, want) {
		t.Errorf("of a test that failed: %q, want %q", got, want)
	}
	if got := rep.suites[1].lastWords(); len(got) != lastLines || !slices.Contains(got, "panic: test timed out") {
		t.Errorf("of a suite that panicked: %q", got)
	}
	if got := rep.suites[2].lastWords(); got != nil {
		t.Errorf("of a suite that passed: %q", got)
	}
}

// TestSecondChance runs what failed once more: a failure or two, nothing worse, and what
// fails again has failed.
func TestSecondChance(t *testing.T) {
	const (
		begin = "vmtest: begin a\n=== RUN   TestOK\n--- PASS: TestOK (0.00s)\n"
		one   = "=== RUN   TestX\n--- FAIL: TestX (0.00s)\n"
		two   = "=== RUN   TestY\n--- FAIL: TestY (0.00s)\n"
		three = "=== RUN   TestZ\n--- FAIL: TestZ (0.00s)\n"
		good  = "vmtest: begin a\n--- PASS: TestX (0.00s)\n--- PASS: TestY (0.00s)\nPASS\n\nvmtest: exit 0\n"
		end   = "FAIL\n\nvmtest: exit 1\n"
	)
	for _, tt := range []struct {
		name, text, run string
		again           string // the tests of the second run; empty: there is none
	}{
		{"passes", begin + "PASS\n\nvmtest: exit 0\n", "^Test", ""},
		{"one", begin + one + end, "^Test", "^(TestX)$"},
		{"two", begin + one + two + end, "^Test", "^(TestX|TestY)$"},
		{"subtests were chosen", begin + one + end, "^TestX$/^a$", "^TestX$/^a$"},
		{"three", begin + one + two + three + end, "^Test", ""},
		{"a panic", begin + one + "panic: x\n\nvmtest: exit 2\n", "^Test", ""},
		{"never ended", begin + one, "^Test", ""},
	} {
		rep := readReport(strings.NewReader(tt.text), func(string) {})
		o := &rep.suites[0]
		s, ok := o.secondChance(suite{pkg: "a", run: tt.run})
		if ok != (tt.again != "") || ok && s.run != tt.again {
			t.Errorf("%s: %v, %q", tt.name, ok, s.run)
		}
		if !ok {
			continue
		}
		o.settle(readReport(strings.NewReader(tt.text), func(string) {}).suites[0])
		if o.ok() {
			t.Errorf("%s: failed twice and counts as passed", tt.name)
		}
		o.settle(readReport(strings.NewReader("vmtest: begin a\nPASS\n\nvmtest: exit 0\n"), func(string) {}).suites[0])
		if o.ok() {
			t.Errorf("%s: did not run again and counts as passed", tt.name)
		}
		o.settle(readReport(strings.NewReader(good), func(string) {}).suites[0])
		if !o.ok() || !strings.Contains(o.String(), "UNSTEADY, passed when run once more: TestX") {
			t.Errorf("%s: %v", tt.name, o)
		}
	}
}

// TestBrokenOff drops the suite during which a machine stopped, its second one.
func TestBrokenOff(t *testing.T) {
	const end = "vmtest: exit 0\n"
	rep := readReport(strings.NewReader("vmtest: begin a\n"+end+"vmtest: begin b\n=== RUN   TestX\n"), func(string) {})
	rep.dropUnended()
	if len(rep.suites) != 1 || rep.suites[0].pkg != "a" {
		t.Errorf("left are %v, want a", rep.suites)
	}
	rep.dropUnended()
	if len(rep.suites) != 1 {
		t.Error("a suite that ended is left out")
	}
}

func TestPanicError(t *testing.T) {
	for said, want := range map[string]bool{
		"[  1.0] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\n[  1.1] RIP: 0010:enqueue_timer+0x45":                                 true,
		"[ 60.0] watchdog: BUG: soft lockup - CPU#1 stuck for 61s!\n[ 60.1] Kernel panic - not syncing: softlockup: hung tasks": true,
		"[ 90.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n[ 90.1] Kernel panic - not syncing: RCU Stall":          true,
		"[  1.0] BUG: kernel NULL pointer dereference\n[  1.1] int3_selftest":                                                   false,
	} {
		if got := errors.Is(panicError(said, "end"), errEmulator); got != want {
			t.Errorf("%q is the emulator's: %v, want %v", said, got, want)
		}
	}
}
