package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/manual"
)

// textOf returns what the program prints for an option that asks for a text.
func textOf(t *testing.T, option string) string {
	t.Helper()
	e, stdout, stderr := testEnv("nettrace")
	if got := run(e, []string{"nettrace", option}); got != statusOK {
		t.Fatalf("%s: status %d: %s", option, got, stderr)
	}
	return stdout.String()
}

// longOption finds a long option in a text of the manual page, where a hyphen is \-.
var longOption = regexp.MustCompile(`(?:^|[^-\w])--([a-z0-9][a-z0-9-]*)`)

// TestManualOptions checks that the manual page has every option, and none that is not.
func TestManualOptions(t *testing.T) {
	page := textOf(t, "--man")
	plain := strings.NewReplacer(`\-`, "-", `\fB`, "", `\fR`, "", `\fI`, "").Replace(page)
	named := make(map[string]bool)
	for _, m := range longOption.FindAllStringSubmatch(plain, -1) {
		named[m[1]] = true
	}
	table := optionTable(new(options))
	names := make(map[string]bool)
	for i := range table {
		names[table[i].Name] = true
		if name := table[i].Name; name != "" && !named[name] {
			t.Errorf("the page does not have --%s", name)
		}
	}
	for name := range named {
		if !names[name] {
			t.Errorf("the page has --%s, which is no option", name)
		}
	}
	for _, section := range []string{
		"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "RECORDS", "FILES", "SIGNALS", `"EXIT STATUS"`, "ENVIRONMENT", "BUGS", `"SEE ALSO"`,
	} {
		if !strings.Contains(page, "\n.SH "+strings.Trim(section, `"`)+"\n") {
			t.Errorf("the page has no section %s", section)
		}
	}
}

// TestManualRecords checks that the manual page names each kind of record.
func TestManualRecords(t *testing.T) {
	schema, err := os.ReadFile("../../docs/nettrace.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`"event": *\{[^}]*"const": *"(\w+)"`).FindAllStringSubmatch(string(schema), -1)
	if len(kinds) < 10 {
		t.Fatalf("the schema has only %d kinds of records", len(kinds))
	}
	_, records, _ := strings.Cut(textOf(t, "--man"), "\n.SH RECORDS\n")
	records, _, _ = strings.Cut(records, "\n.SH ")
	for _, kind := range kinds {
		if !regexp.MustCompile(`\b` + kind[1] + `\b`).MatchString(records) {
			t.Errorf("the page does not have the record %s", kind[1])
		}
	}
}

// TestManualRenders checks that the programs that show manual pages have nothing to say
// about it.
func TestManualRenders(t *testing.T) {
	page := filepath.Join(t.TempDir(), "nettrace.8")
	if err := os.WriteFile(page, []byte(textOf(t, "--man")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, judge := range [][]string{
		{"mandoc", "-Tlint"},
		{"groff", "-ww", "-man", "-Tascii", "-z"},
		{"man", "--warnings", "-Z", "-l"},
	} {
		t.Run(judge[0], func(t *testing.T) {
			path, err := exec.LookPath(judge[0])
			if err != nil {
				t.Skip("needs ", err)
			}
			cmd := exec.Command(path, append(judge[1:], page)...)
			var said strings.Builder
			cmd.Stderr = &said
			if judge[0] == "mandoc" {
				cmd.Stdout = &said
			}
			if err := cmd.Run(); err != nil || said.Len() > 0 {
				t.Errorf("%v: %s", err, said.String())
			}
		})
	}
}

// TestExamples checks that the examples of the help and of the manual page are command
// lines that the program understands.
func TestExamples(t *testing.T) {
	var lines []string
	for line := range strings.Lines(manual.Examples) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), "   ")
		lines = append(lines, strings.TrimPrefix(command, "sudo "))
	}
	for line := range strings.Lines(strings.ReplaceAll(manual.Page, "\\e\n", "")) {
		if strings.HasPrefix(line, "nettrace \\-") && !strings.HasPrefix(line, "nettrace \\- ") {
			lines = append(lines, strings.NewReplacer(`\-`, "-", `\(aq`, "'").Replace(strings.TrimSpace(line)))
		}
	}
	if len(lines) < 12 {
		t.Fatalf("only %d examples: %q", len(lines), lines)
	}
	for _, line := range lines {
		e, _, _ := testEnv("nettrace")
		o, err := parse(e, shellWords(line))
		if err == nil {
			_, err = o.prepareFilter(e, o.streams())
		}
		if err == nil {
			err = o.checkSelection(o.streams())
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestHelpFits checks that the help fits a terminal of 80 columns, and has every option
// that is no secret.
func TestHelpFits(t *testing.T) {
	help := textOf(t, "--help")
	for line := range strings.Lines(help) {
		if line = strings.TrimSuffix(line, "\n"); len(line) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	for _, o := range optionTable(new(options)) {
		if o.Heading != "" && !strings.Contains(help, "--"+o.Name) {
			t.Errorf("the help does not have --%s", o.Name)
		}
	}
}

// TestValues checks that the words which the completions offer are values that the
// options take.
func TestValues(t *testing.T) {
	for i, o := range optionTable(new(options)) {
		words := strings.Fields(strings.TrimPrefix(string(o.Values), ","))
		if len(words) == 0 || strings.HasPrefix(words[0], "<") {
			continue
		}
		for _, word := range words {
			if strings.HasSuffix(word, ":") { // the rest is to be typed
				continue
			}
			e, _, _ := testEnv("nettrace")
			args := []string{"nettrace", "--" + o.Name + "=" + word}
			parsed, err := parse(e, args)
			if o.Name == "state" {
				_, err = filter.All(parsed.filter.Flags.Expressions(), filter.Options{})
			}
			if err != nil {
				t.Errorf("row %d: %q: %v", i, args, err)
			}
		}
	}
}
