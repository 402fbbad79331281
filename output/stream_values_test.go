package output

import "testing"

// A process may choose any name for itself. Its change must still be one line.
func TestStreamTextHostileNames(t *testing.T) {
	for name, want := range map[string]string{
		"a\nb":       `a\nb`,
		"\x1b[2J":    `\x1b[2J`,
		"\xff\xfe":   `\xff\xfe`,
		`back\slash`: `back\\slash`,
		"naïve 名":    "naïve 名",
		"\u202egnp":  `\u202egnp`,
		"\uFFFD":     "\uFFFD",
		"":           "",
	} {
		if got := string(appendPlain(nil, name)); got != want {
			t.Errorf("%q became %q, want %q", name, got, want)
		}
	}
}

func FuzzAppendPlain(f *testing.F) {
	f.Add("nginx: master")
	f.Add("a\nb\x1b\xff")
	f.Fuzz(func(t *testing.T, name string) {
		for _, r := range string(appendPlain(nil, name)) {
			if r < 0x20 || r >= 0x7f && r < 0xa0 {
				t.Errorf("%q leaves %q", name, r)
			}
		}
	})
}

func TestAppendBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 KB", 18_700: "18.7 KB", 999_949: "999.9 KB", 999_950: "1.0 MB",
		1_500_000_000: "1.5 GB", 1<<64 - 1: "18.4 EB",
	} {
		if got := string(appendBytes(nil, n, " ")); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
