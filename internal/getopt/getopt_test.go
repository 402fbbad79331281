package getopt

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// read returns what a command line says: the options and, behind "--", the operands,
// spelled as getopt(1) spells them, and the message of its first error.
func read(table []Option, words []string, posix bool) (options []string, message string) {
	r := New(table).NewReader(words, posix)
	for {
		opt, ok, err := r.Next()
		if err != nil {
			return options, err.Error()
		}
		if !ok {
			return append(append(options, "--"), r.Operands()...), ""
		}
		o := table[opt.Index]
		name := "--" + o.Name
		if o.Name == "" || o.Letter != "" {
			name = "-" + o.Letter
		}
		options = append(options, name)
		if o.Value || o.Optional {
			options = append(options, opt.Value)
		}
	}
}

// commandTable has letters and long options that begin alike.
func commandTable() []Option {
	table := []Option{{Letter: "a"}, {Letter: "b"}, {Letter: "v", Value: true}}
	for i, name := range []string{"all", "alone", "value", "val-too", "verbose", "x", "maybe"} {
		table = append(table, Option{Name: name, Place: i + 1, Value: strings.HasPrefix(name, "val"), Optional: name == "maybe"})
	}
	return table
}

// TestAgainstGetopt compares with getopt(1), which calls the C library.
func TestAgainstGetopt(t *testing.T) {
	path, err := exec.LookPath("getopt")
	if err != nil {
		t.Skip("needs getopt(1): ", err)
	}
	word := rapid.OneOf(
		rapid.SampledFrom([]string{"--", "-", "operand", "", "-a", "-bav", "-vx", "-z", "--all", "--al", "--a", "--alo", "--value", "--val", "--value=1", "--val-too=", "--verb", "--x=1", "--ver=2", "--nothing", "--maybe", "--may=1", "--m="}),
		rapid.StringMatching(`--?[abvxz]{1,4}(=[a-z]{0,3})?`),
	)
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(word, 0, 6).Draw(t, "words")
		posix := rapid.Bool().Draw(t, "posix")
		got, message := read(commandTable(), words, posix)
		want, wantMessage := theirs(t, path, words, posix)
		if message != wantMessage {
			t.Fatalf("%q: message %q, getopt says %q", words, message, wantMessage)
		}
		if message == "" && !slices.Equal(got, want) {
			t.Fatalf("%q (-getopt +ours):\n%s", words, cmp.Diff(want, got))
		}
	})
}

// theirs returns what getopt(1) makes of words, and its first message.
func theirs(t *rapid.T, path string, words []string, posix bool) (options []string, message string) {
	letters := "abv:"
	if posix {
		letters = "+" + letters
	}
	args := append([]string{"-n", "X", "-o", letters, "-l", "all,alone,value:,val-too:,verbose,x,maybe::", "--"}, words...)
	cmd := exec.Command(path, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		line, _, _ := strings.Cut(errs.String(), "\n")
		return nil, strings.TrimPrefix(line, "X: ")
	}
	for word := range strings.FieldsSeq(string(out)) {
		options = append(options, strings.Trim(word, "'"))
	}
	if !slices.Contains(options, "--") {
		t.Fatalf("getopt printed %q", out)
	}
	return options, ""
}

// TestAlias abbreviates long options that are one: the first is meant.
func TestAlias(t *testing.T) {
	table := []Option{{Name: "inet6", Place: 2, Alias: "family"}, {Name: "inet", Place: 1, Alias: "family"}, {Name: "interface"}}
	options, message := read(table, []string{"--in", "--interf"}, false)
	if diff := cmp.Diff([]string{"--inet", "--interface", "--"}, options); diff != "" || message != "" {
		t.Errorf("message %q (-want +got):\n%s", message, diff)
	}
}

func FuzzReader(f *testing.F) {
	f.Add("-a\x00--val\x00x", false)
	f.Add("--\x00-b", true)
	f.Fuzz(func(t *testing.T, words string, posix bool) {
		list := strings.Split(words, "\x00")
		if options, _ := read(commandTable(), list, posix); len(options) > 2*len(words)+3 {
			t.Errorf("%q became %d words", list, len(options))
		}
	})
}
