package output

import (
	"net/netip"
	"testing"
)

func TestAppendAddr(t *testing.T) {
	tests := map[string]string{
		"127.0.0.1": "127.0.0.1", "::": "::", "::1": "::1", "::5": "::5", "::1.2.3.4": "::1.2.3.4", "::0.2.0.3": "::0.2.0.3",
		"::ffff:127.0.0.1": "127.0.0.1", "::fffe:102:304": "::fffe:102:304", "64:ff9b::102:304": "64:ff9b::102:304",
		"::ffff:0:102:304": "::ffff:0:102:304", "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1", "1:0:0:2:0:0:0:3": "1:0:0:2::3",
		"1:0:0:2:3:0:0:4": "1::2:3:0:0:4", "fe80::1%eth0": "fe80::1",
	}
	for text, want := range tests {
		if got := string(AppendAddr(nil, netip.MustParseAddr(text))); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
