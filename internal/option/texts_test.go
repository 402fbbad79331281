package option

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/internal/getopt"
)

// sample returns a small table, in which each kind of option is.
func sample() (*Table, *Program) {
	var flag, help bool
	var text string
	var list []string
	table := NewTable([]Option{
		{Name: "json", Letter: "j", Heading: "Show", Usage: "records", Into: &flag},
		{Name: "inet", Place: 1, Into: Family("inet")},
		{Name: "events", Heading: "Which", Usage: "tell `KIND`: all, or close, which is what ends a connection and has all that it did", Standard: "all", Values: "all close", Into: &text},
		{Name: "fields", Heading: "Which", Usage: "`LIST` of names", Values: Fields, Into: &text},
		{Name: "summary", Heading: "Which", Usage: "by `[=LIST]`", Values: Groups, Into: Optional(func(string) error { return nil })},
		{Name: "a-file", Letter: "f", Heading: "Which", Usage: "`FILE`: it's one", Env: "FILE", Values: Files, Into: &list},
		{Name: "version", Heading: "Other", Usage: "version", Library: true, Into: &help},
		{Name: "help", Heading: "Other", Usage: "this text", Library: true, Into: &help},
		{Name: "hidden", Usage: "\\ and .dots", Into: &flag},
	})
	return table, &Program{
		Name: "prog", Usage: "a program", UsageText: "prog [OPTION...]", Examples: "  prog -j   records\n", Manual: ".TH PROG 8\n" + optionsMark + ".SH END\n",
		About: func() string { return "prog 1\n" }, Fields: func() []string { return []string{"local", "remote"} },
		Measures: func() []string { return []string{"count"} },
	}
}

func TestHelp(t *testing.T) {
	table, p := sample()
	want := `usage: prog [OPTION...]

a program

Examples:
  prog -j   records

Show:
  -j, --json              records

Which:
      --events KIND       tell KIND: all, or close, which is what ends a
                          connection and has all that it did (default: all)
      --fields LIST       LIST of names
      --summary[=LIST]    by LIST
  -f, --a-file FILE       FILE: it's one (environment: FILE)

Other:
      --version           version
      --help              this text
`
	if diff := cmp.Diff(want, table.help(p)); diff != "" {
		t.Errorf("help (-want +got):\n%s", diff)
	}
}

func TestManual(t *testing.T) {
	table, p := sample()
	var b bytes.Buffer
	if err := table.printManual(&b, p); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		".TH PROG 8\n.SS Show\n.TP\n\\fB\\-j\\fR, \\fB\\-\\-json\\fR\nrecords\n",
		".TP\n\\fB\\-\\-summary\\fR\\fI[=LIST]\\fR\nby LIST\n",
		".SS For tests and to find faults\n.TP\n\\fB\\-\\-hidden\\fR\n\\e and \\&.dots\n.SH END\n",
	} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("the page has no\n%s\nbut is\n%s", part, b.String())
		}
	}
	if err := table.printManual(&b, &Program{Manual: ".TH PROG 8\n"}); err == nil {
		t.Error("a page without a place for the options is printed")
	}
}

func TestCompletionScripts(t *testing.T) {
	table, p := sample()
	for shell, parts := range map[string][]string{
		"bash": {
			"\t--events | --events=) words='all close' ;;\n", "\t--fields | --fields=) words='local remote' list=1 ;;\n",
			"\t--summary=) words='count' list=1 ;;\n", "\t--a-file | --a-file= | -f) files=1 ;;\n", "words='--json -j --inet --events ",
		},
		"fish": {
			"complete -c prog -l events -x -a 'all close' -d 'tell KIND", "complete -c prog -l json -s j -d 'records'\n",
			"-l fields -x -a '(__prog_list local remote)'", "-d 'the same as -A inet'\n", "-d 'FILE: its one (environment: FILE)'\n",
		},
		"zsh": {
			"'*--events=[tell KIND\\: all", ":KIND:(all close)'", "'*-f[FILE\\: its one (environment\\: FILE)]:FILE:_files'",
			"'*--summary=-[by LIST]::\\[=LIST\\]:{_prog_list count}'",
		},
	} {
		var b bytes.Buffer
		if err := table.printCompletion(&b, p, shell); err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if !strings.Contains(b.String(), part) {
				t.Errorf("%s: no %q in\n%s", shell, part, b.String())
			}
		}
		if strings.Contains(b.String(), "hidden") || strings.Contains(b.String(), "%!") {
			t.Errorf("%s: a hidden option, or a wrong verb, in\n%s", shell, b.String())
		}
	}
	if err := table.printCompletion(new(bytes.Buffer), p, "csh"); err == nil {
		t.Error("there is a script for csh")
	}
}

func TestExplain(t *testing.T) {
	table, _ := sample()
	for word, want := range map[string]string{
		"--evnets=close": "unrecognized option '--evnets=close'\nDid you mean --events?",
		"--fieldz":       "unrecognized option '--fieldz'\nDid you mean --fields?",
		"--foo":          "unrecognized option '--foo'",
		"--nothing-near": "unrecognized option '--nothing-near'",
		"-y":             "invalid option -- 'y'",
		"--json=1":       "option '--json' doesn't allow an argument",
	} {
		_, _, err := table.NewReader([]string{word}, false).Next()
		var wrong *getopt.Error
		if !errors.As(err, &wrong) {
			t.Fatalf("%s: %v", word, err)
		}
		if got := table.Explain(err); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}
