package fieldlist

import (
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	names := Names()
	for _, name := range []string{"local", "timestamp", "outcome", "gateway", "iface", "rtt_us"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not among %q", name, names)
		}
	}
	if slices.Contains(names, "") {
		t.Error("a name is empty")
	}
}
