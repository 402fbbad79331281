package netns

import "testing"

func TestOnlyLoopback(t *testing.T) {
	const heads = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes\n"
	for text, want := range map[string]bool{
		heads:                                true,
		heads + "    lo: 0 0 0 0\n":          true,
		heads + "    lo:0\n  eth0: 12 1 0\n": false,
		heads + "lo0: 1\n":                   false,
		"":                                   true,
	} {
		if got := onlyLoopback(text); got != want {
			t.Errorf("%q has lo alone: %v", text, got)
		}
	}
	if _, err := OnlyLoopback("/nonexistent"); err == nil {
		t.Error("a file that is not there was read")
	}
}
