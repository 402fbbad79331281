package stdio

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Terminal is what a person looks at, and what the environment says of it.
type Terminal struct {
	// Columns returns the width of stdout's terminal, or 0 if the terminal does
	// not say; nil: stdout is not a terminal.
	Columns func() int
	// Stderr says whether stderr is a terminal.
	Stderr bool
	// LookupEnv reads a variable of the environment.
	LookupEnv func(string) (string, bool)
}

// NewTerminal looks at the process's own streams.
func NewTerminal(stdout, stderr *os.File, lookupEnv func(string) (string, bool)) Terminal {
	t := Terminal{Stderr: isTerminal(stderr), LookupEnv: lookupEnv}
	if isTerminal(stdout) {
		t.Columns = func() int { return columnsOf(stdout) }
	}
	return t
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func columnsOf(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// standardColumns is the width of a terminal that does not say its own.
const standardColumns = 80

// Width returns a function for the columns of a line on stdout's terminal, or nil
// if stdout is none. As POSIX has it (Base Definitions, 8.3), COLUMNS is what the
// user prefers to what the terminal says.
func (t Terminal) Width() func() int {
	if t.Columns == nil {
		return nil
	}
	if text, ok := t.LookupEnv("COLUMNS"); ok {
		if n, err := strconv.ParseUint(text, 10, 16); err == nil && n > 0 {
			return func() int { return int(n) }
		}
	}
	return func() int {
		if n := t.Columns(); n > 0 {
			return n
		}
		return standardColumns
	}
}

// Colored reports whether text has colors, by a word of --color: with auto, or
// none, on a terminal that can, if NO_COLOR (no-color.org) does not say otherwise.
func (t Terminal) Colored(when string) bool {
	switch when {
	case "always":
		return true
	case "never":
		return false
	}
	no, _ := t.LookupEnv("NO_COLOR")
	term, _ := t.LookupEnv("TERM")
	return t.Columns != nil && no == "" && term != "dumb"
}

// UTF8 reports whether the locale's characters are UTF-8. The first variable that
// is set and not empty names the locale, as for setlocale(3) and LC_CTYPE. Whether
// that locale is installed is not looked up.
func (t Terminal) UTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale, _ := t.LookupEnv(name); locale != "" {
			_, charset, _ := strings.Cut(locale, ".")
			charset, _, _ = strings.Cut(charset, "@")
			return strings.EqualFold(strings.ReplaceAll(charset, "-", ""), "utf8")
		}
	}
	return false
}
