package main

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/testnet"
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
	left := leaveFinWait2(t, netns)
	tr.wait("tcp_close", 2*count+1) // that of the side that has closed
	tr.resync()
	left.Close()
	tr.wait("tcp_close", 2*count+2)
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
	// No hook of timers loads here, so that timewait sockets are found by scans alone,
	// when the close of their connection is told already.
	if want := 2*count + 2; established != want || closes != want {
		t.Errorf("%d transitions to ESTABLISHED and %d closes, want %d; %s", established, closes, want, tr.stderr.String())
	}
}

// leaveFinWait2 has one side of a connection close, and its timewait socket wait in
// FIN_WAIT2 for the other one, which is returned.
func leaveFinWait2(t *testing.T, netns string) (other net.Conn) {
	t.Helper()
	testnet.In(t, netns, func() {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if other, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	})
	return other
}
