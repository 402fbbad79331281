package bytesize

import (
	"math"
	"strconv"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "4096": 4096, "64K": 64 << 10, "16M": 16 << 20, "2G": 2 << 30, "3T": 3 << 40,
		"9223372036854775807": math.MaxInt64, "8388607T": 8388607 << 40,
	} {
		if got, ok := Parse(text); !ok || got != want {
			t.Errorf("Parse(%q) = %d, %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "K", "-1", "+1", "1k", "1KB", "1 K", " 1", "1.5M", "0x10", "1_000", "8388608T", "9223372036854775808",
		"18446744073709551615", "99999999999999999999", "MM", "é",
	} {
		if got, ok := Parse(text); ok {
			t.Errorf("Parse(%q) = %d, want a refusal", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "1", "16M", "8388608T", "-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, ok := Parse(text)
		if size < 0 || !ok && size != 0 {
			t.Fatalf("Parse(%q) = %d, %v", text, size, ok)
		}
		if ok {
			if again, ok := Parse(strconv.FormatInt(size, 10)); !ok || again != size {
				t.Errorf("%q is %d bytes, which reads as %d, %v", text, size, again, ok)
			}
		}
	})
}
