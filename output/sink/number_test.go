package sink

import "testing"

// A line may have no place for its number, or several.
func TestNumberedLines(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"text\n", "text\n"},
		{"{\"seq\":\x00}\n", "{\"seq\":1234}\n"},
		{"{\"event.sequence\":\x00,\"event.id\":\"0f-\x00\"}\n", "{\"event.sequence\":1234,\"event.id\":\"0f-1234\"}\n"},
		{"\x00\x00", "12341234"},
	} {
		if got := string(appendNumbered(nil, []byte(tt.line), 1234)); got != tt.want {
			t.Errorf("%q became %q, want %q", tt.line, got, tt.want)
		}
		if n := numberedLength([]byte(tt.line), 1234); n != len(tt.want) {
			t.Errorf("%q has %d bytes, want %d", tt.line, n, len(tt.want))
		}
	}
}
