package output

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestAppendEscaped(t *testing.T) {
	const all = 1 << 20
	for _, tt := range []struct {
		name, in string
		room     int
		want     string
		cut      bool
	}{
		{"empty", "", all, "", false},
		{"empty, no room", "", 0, "", false},
		{"plain", "nginx: worker", all, "nginx: worker", false},
		{"quote and backslash", `a"b\c`, all, `a\"b\\c`, false},
		{"forged line", "x\"}\n{\"v\":1", all, `x\"}\n{\"v\":1`, false},
		{"short escapes", "\n\r\t", all, `\n\r\t`, false},
		{"controls", "\x00\x1b[2J\x1f\x7f", all, `\u0000\u001b[2J\u001f\u007f`, false},
		{"C1 controls", "\u0080\u0085\u009b\u009f\u00a0", all, `\u0080\u0085\u009b\u009f` + "\u00a0", false},
		{"line separators", "a\u2028b\u2029c", all, `a\u2028b\u2029c`, false},
		{"UTF-8", "zażółć 漢字 🦀", all, "zażółć 漢字 🦀", false},
		{"invalid UTF-8", "a\xff\xfeb\xc3", all, "a\ufffd\ufffdb\ufffd", false},
		{"a surrogate in UTF-8", "\xed\xa0\x80", all, "\ufffd\ufffd\ufffd", false},
		{"plain, cut", "abcdef", 4, "abcd", true},
		{"plain, fits", "abcd", 4, "abcd", false},
		{"cut before a character", "ab漢", 4, "ab", true},
		{"a character fits", "ab漢", 5, "ab漢", false},
		{"cut before an escape", "abc\x01", 8, "abc", true},
		{"an escape fits", "abc\x01", 9, `abc\u0001`, false},
		{"cut before a short escape", `abc"`, 4, "abc", true},
		{"cut after an escape", "\x01abc", 7, `\u0001a`, true},
		{"no room", "a", 0, "", true},
		{"less than no room", "a", -5, "", true},
		{"less than no room for an escape", "\n", -5, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, cut := appendEscaped([]byte("before "), tt.in, tt.room)
			if string(got) != "before "+tt.want || cut != tt.cut {
				t.Errorf("got %q, cut %v; want %q, cut %v", got[len("before "):], cut, tt.want, tt.cut)
			}
		})
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "curl", "a\"b\\c\n\x00\x7f\x9b", "\xff\xc3\x28", "\u2028\u0085", "🦀\xf0\x9f\xa6"} {
		f.Add(s, 4096)
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, room int) {
		room = min(max(room, 0), 1<<16)
		inside, cut := appendEscaped(nil, s, room)
		if len(inside) > room {
			t.Fatalf("%d bytes, room for %d", len(inside), room)
		}
		if !utf8.Valid(inside) {
			t.Fatalf("not UTF-8: %q", inside)
		}
		for _, r := range string(inside) {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
				t.Fatalf("%U stands in %q", r, inside)
			}
		}
		var got string
		if err := json.Unmarshal([]byte(`"`+string(inside)+`"`), &got); err != nil {
			t.Fatalf("%v: %q", err, inside)
		}
		// A conversion to runes makes U+FFFD of each byte that is not UTF-8.
		want := string([]rune(s))
		if cut && (!strings.HasPrefix(want, got) || got == want) || !cut && got != want {
			t.Fatalf("got %q, cut %v; want %q", got, cut, want)
		}
	})
}

func TestTimeText(t *testing.T) {
	var text timeText
	for _, ns := range []int64{
		0, 1, 999, 1000, 999_999_999, 1_000_000_000, -1, -1_000_000_000, -1_000_000_001,
		1_760_000_000_123_456_789, 1_760_000_000_999_999_999, 1_760_000_001_000_000_000,
		951_782_399_999_999_999, 951_782_400_000_000_000, // 29 February 2000
		math.MaxInt64, math.MinInt64,
	} {
		got := string(text.append(nil, ns))
		want := time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000Z")
		if got != want {
			t.Errorf("%d ns: got %s, want %s", ns, got, want)
		}
	}
}
