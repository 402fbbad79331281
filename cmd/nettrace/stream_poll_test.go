package main

import (
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/load"
)

// TestStreamPolls checks that without privilege the stream polls, and that it says so
// and names the missing capabilities.
func TestStreamPolls(t *testing.T) {
	netns := newNetns(t)
	server := startLoad(t, load.Server(), netns)
	defer func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	}()
	const nobody = 65534
	stdout, stderr, status := nettraceIn(t, netns, nobody, "--json", "-ac", "--duration", "1500ms")
	if status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
	for _, want := range []string{"CAP_PERFMON, CAP_BPF missing", "short-lived connections will be missed"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr does not say %q: %s", want, stderr)
		}
	}
	for _, want := range []string{`"mode":"poll"`, `"event":"socket"`, `"source":"poll"`, `"local_port":7000`, `"reason":"duration"`} {
		if !strings.Contains(stdout, want) {
			t.Errorf("stdout has no %s:\n%s", want, stdout)
		}
	}
	_, stderr, status = nettraceIn(t, netns, nobody, "-c", "--require-bpf", "--duration", "1s")
	if status != 1 || !strings.Contains(stderr, "CAP_BPF") {
		t.Errorf("--require-bpf: status %d: %s", status, stderr)
	}
}
