package output

import (
	"strings"
	"testing"
)

// TestStringWithoutRoom has strings come when a line is nearly full: they are whole, or cut
// after some of their text, or left out with their keys, and the line is never too long.
func TestStringWithoutRoom(t *testing.T) {
	const most = 40
	for _, schema := range []*ecs{nil, new(ecs)} {
		for used := range most + 1 {
			w := line{max: most, ecs: schema, buf: []byte(strings.Repeat("x", used))}
			w.str(`,"comm":`, "abcdefgh", 100)
			got := string(w.buf[used:])
			if strings.Contains(got, `""`) || len(w.buf) > most {
				t.Errorf("after %d bytes: %s", used, w.buf)
			}
			if whole := strings.HasSuffix(got, `"abcdefgh"`); whole == w.cut {
				t.Errorf("after %d bytes: %q, cut: %t", used, got, w.cut)
			}
		}
	}
	for used := range most + 1 {
		for _, add := range []func(*NDJSON){
			func(w *NDJSON) { w.cmdline("abc\x00def\x00") },
			func(w *NDJSON) { socketLines{w}.unixName(`,"path":`, "\x00name") },
		} {
			var w NDJSON
			w.line = line{max: most, buf: []byte(strings.Repeat("x", used))}
			add(&w)
			if len(w.buf) > most || strings.Contains(string(w.buf), `""`) || strings.HasSuffix(string(w.buf), `"@"`) {
				t.Errorf("after %d bytes: %s", used, w.buf)
			}
		}
	}
}
