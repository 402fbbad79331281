package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// completions are what is typed before the tabulator, and what a shell makes of it. What
// is typed is unambiguous, so that every shell completes it the same way.
var completions = []struct{ typed, completed string }{
	{"--e", "--e"}, // --extend, --events, --every and more
	{"--even", "--events"},
	{"--no-s", "--no-snapshot"},
	{"--bluet", "--bluetooth"},
	{"--events cl", "--events close"},
	{"--events=fa", "--events=failed"},
	{"-c --color ne", "-c --color never"},
	{"-A unix,ax", "-A unix,ax25"},
	{"--fields timestamp,outc", "--fields timestamp,outcome"},
	{"--fields=+histor", "--fields=+history"},
	{"--state listening,syn-s", "--state listening,syn-sent"},
	{"--summary=remote_addr,coun", "--summary=remote_addr,count"},
	{"--sort coun", "--sort count"},
	{"--filter-file uniq", "--filter-file unique-name"},
	{"--filter-file=uniq", "--filter-file=unique-name"},
	{"--user roo", "--user root"},
	{"--count 5 --sou", "--count 5 --source"},
	{"--completion fi", "--completion fish"},
	{"--on-stall bl", "--on-stall block"},
	{"--schema=e", "--schema=ecs"},
	{"--rotate-compress gz", "--rotate-compress gzip"},
	{"--output uniq", "--output unique-name"},
	{"--output unixg", "--output unixgram:"},
	{"--output=tc", "--output=tcp:"},
	{"--output unix:uniq", "--output unix:unique-name"},
	{"--output unique-name,events=cl", "--output unique-name,events=close"},
	{"--output=unique-name,schema=native,compre", "--output=unique-name,schema=native,compress=gzip"},
	{"--metrics loc", "--metrics localhost:"},
	{"--run-as roo", "--run-as root"},
}

// completionScript writes the completion script for a shell into a new directory, in
// which there is one file with an unmistakable name, and returns its path.
func completionScript(t *testing.T, shell string) (program, script string) {
	t.Helper()
	program, err := exec.LookPath(shell)
	if err != nil {
		t.Skip("needs the shell: ", err)
	}
	e, stdout, stderr := testEnv("nettrace")
	if got := run(e, []string{"nettrace", "--completion=" + shell}); got != statusOK {
		t.Fatalf("status %d: %s", got, stderr)
	}
	dir := t.TempDir()
	script = filepath.Join(dir, "_nettrace")
	for name, text := range map[string]string{script: stdout.String(), filepath.Join(dir, "unique-name"): ""} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return program, script
}

// interactive runs a shell on a terminal, has it execute lines, and types each of the
// completions, a tabulator and the end of the line. The shell's own nettrace prints what
// it is called with.
func interactive(t *testing.T, shell string, args []string, setup string) {
	program, script := completionScript(t, shell)
	s := newScreen(t, 400)
	defer s.slave.Close()
	master := s.master
	cmd := exec.Command(program, args...)
	cmd.Dir = filepath.Dir(script)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "TERM=dumb", "LC_ALL=C"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.slave, s.slave, s.slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	typing := func(text string) {
		t.Helper()
		if _, err := master.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	typing(setup + "nettrace() { printf '<%s' \"$*\"; printf '>\\n'; }\necho rea''dy\n")
	s.wait("ready")
	for _, c := range completions {
		s.forget()
		typing("nettrace " + c.typed + "\t\n")
		s.wait("<")
		s.wait(">\n")
		_, line, _ := strings.Cut(s.text(), "<")
		line, _, _ = strings.Cut(line, ">\n")
		if line = strings.TrimSpace(line); line != c.completed {
			t.Errorf("%q becomes %q, want %q", c.typed, line, c.completed)
		}
	}
}

func TestCompletionBash(t *testing.T) {
	interactive(t, "bash", []string{"--norc", "--noprofile", "-i"}, "PS1=; bind 'set bell-style none'; source ./_nettrace\n")
}

func TestCompletionZsh(t *testing.T) {
	interactive(t, "zsh", []string{"-f", "-i"}, "unsetopt prompt_cr prompt_sp beep auto_menu; PS1=; fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D\n")
}

// TestCompletionFish asks fish for what it offers: the words, each with what is said of
// it. What it offers first is what the tabulator would take where there is one.
func TestCompletionFish(t *testing.T) {
	program, script := completionScript(t, "fish")
	for _, c := range completions {
		cmd := exec.Command(program, "--no-config", "-c", "source "+script+"; complete -C $argv[1]", "nettrace "+c.typed)
		cmd.Dir = filepath.Dir(script)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		words := strings.Fields(c.completed)
		want := words[len(words)-1]
		var offered []string
		for line := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			offered = append(offered, word)
		}
		if c.typed == c.completed {
			if len(offered) < 2 {
				t.Errorf("%q offers %q, want several", c.typed, offered)
			}
			continue
		}
		if len(offered) != 1 || offered[0] != want {
			t.Errorf("%q offers %q, want %q", c.typed, offered, want)
		}
	}
}
