package main

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
)

// TestLockdown traces a kernel that lets nobody read its memory: make test-kernels
// ARGS="-kernels 6.1 -append lockdown=confidentiality -run ^TestLockdown$ ./cmd/nettrace".
func TestLockdown(t *testing.T) {
	const security = "/sys/kernel/security"
	if inMachine {
		_ = unix.Mount("securityfs", security, "securityfs", 0, "") // it may be there already
	}
	if mode, err := os.ReadFile(security + "/lockdown"); err != nil || !strings.Contains(string(mode), "[confidentiality]") {
		t.Skipf("needs a kernel with lockdown=confidentiality: %s, %v", mode, err)
	}
	netns := newNetns(t)
	stdout, stderr, status := nettraceIn(t, netns, 0, "--doctor")
	if status != 0 || !strings.Contains(stdout, "lockdown      confidentiality") || !strings.Contains(stdout, "yes transitions") {
		t.Errorf("the doctor: status %d, %s%s", status, stdout, stderr)
	}
	server := startLoad(t, load.Server(), netns)
	defer func() { _ = server.Stop() }()
	tr := trace(t, netns, "")
	const count = 20
	runLoad(t, load.Client(0, count, load.FIN), netns)
	tr.resync()
	tr.quiet()
	established, closes := 0, 0
	for _, r := range tr.stop() {
		switch {
		case r.Event == "tcp_close":
			closes++
		case r.Event == "tcp_state" && r.NewState == "ESTABLISHED" && !r.Inferred:
			established++
		}
	}
	// No hook of timers loads here, so that timewait sockets are found by scans alone.
	if established != 2*count || closes < 2*count {
		t.Errorf("%d transitions to ESTABLISHED and %d closes, want %d; %s", established, closes, 2*count, tr.stderr.String())
	}
}
