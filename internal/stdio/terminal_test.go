package stdio

import "testing"

// onTerminal returns a terminal of 100 columns, with these variables.
func onTerminal(variables map[string]string) Terminal {
	return Terminal{
		Columns: func() int { return 100 },
		LookupEnv: func(name string) (string, bool) {
			value, ok := variables[name]
			return value, ok
		},
	}
}

func TestWidth(t *testing.T) {
	for _, c := range []struct {
		columns   string
		terminal  int // what it says of itself
		want      int
		otherwise string
	}{
		{"", 100, 100, "the terminal's"},
		{"120", 100, 120, "the user's"},
		{"0", 100, 100, "not a width"},
		{"-7", 100, 100, "not a width"},
		{"wide", 100, 100, "not a width"},
		{"", 0, 80, "a serial line does not know its own"},
		{"132", 0, 132, "and the user does"},
	} {
		e := onTerminal(map[string]string{"COLUMNS": c.columns})
		e.Columns = func() int { return c.terminal }
		if got := e.Width()(); got != c.want {
			t.Errorf("COLUMNS=%s on %d columns: %d, want %d: %s", c.columns, c.terminal, got, c.want, c.otherwise)
		}
		e.Columns = nil
		if e.Width() != nil {
			t.Errorf("COLUMNS=%s: a width, but no terminal", c.columns)
		}
	}
}

func TestColored(t *testing.T) {
	for _, c := range []struct {
		when          string
		variables     map[string]string
		terminal, off bool // whether it is colored on a terminal, and else
	}{
		{"", nil, true, false},
		{"auto", nil, true, false},
		{"auto", map[string]string{"NO_COLOR": ""}, true, false},
		{"auto", map[string]string{"NO_COLOR": "1"}, false, false},
		{"auto", map[string]string{"TERM": "dumb"}, false, false},
		{"auto", map[string]string{"TERM": "xterm"}, true, false},
		{"always", map[string]string{"NO_COLOR": "1", "TERM": "dumb"}, true, true},
		{"never", nil, false, false},
	} {
		e := onTerminal(c.variables)
		terminal := e.Colored(c.when)
		e.Columns = nil
		if off := e.Colored(c.when); terminal != c.terminal || off != c.off {
			t.Errorf("%q, %v: %v on a terminal and %v else", c.when, c.variables, terminal, off)
		}
	}
}

func TestLocale(t *testing.T) {
	for _, c := range []struct {
		all, ctype, lang string
		want             bool
	}{
		{"", "", "", false},
		{"C", "C.UTF-8", "C.UTF-8", false},
		{"", "POSIX", "en_US.UTF-8", false},
		{"", "", "de_DE.utf8@euro", true},
		{"C.UTF-8", "C", "C", true},
		{"", "en_US.UTF-8", "C", true},
		{"", "", "en_US", false},
		{"", "", "ru_RU.KOI8-R", false},
	} {
		e := onTerminal(map[string]string{"LC_ALL": c.all, "LC_CTYPE": c.ctype, "LANG": c.lang})
		if got := e.UTF8(); got != c.want {
			t.Errorf("%+v: UTF-8 %v", c, got)
		}
	}
}
