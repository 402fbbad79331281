package stream_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/netns"
	"github.com/nettrace/nettrace/internal/stream"
	"github.com/nettrace/nettrace/internal/testnet"
)

// TestDevices checks that names are those of the namespace, that one which is not
// known is looked for again, and that a new name replaces the old one. The judge is
// ip(8), which gave them.
func TestDevices(t *testing.T) {
	path := testnet.New(t)
	inode, err := netns.Inode(path)
	if err != nil {
		t.Fatal(err)
	}
	ip := func(line string) {
		t.Helper()
		words := append([]string{"-n", filepath.Base(path)}, strings.Fields(line)...)
		if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v: %s", words, err, out)
		}
	}
	reads := 0
	devices := stream.NewDevices(func(read func(proc string, inode uint32) error) error {
		reads++
		return netns.Do(path, func() error { return read("/proc/thread-self", inode) })
	})
	const index = 4242
	if got := devices.Device(inode, 1); got != "lo" {
		t.Errorf("interface 1 is %q, want lo", got)
	}
	for range 1000 {
		devices.Device(inode, index)
	}
	if reads > 100 {
		t.Errorf("%d reads for an interface that there is not", reads)
	}
	for _, step := range []struct{ line, want string }{
		{"link add dummy0 index 4242 type veth peer name peer0", "dummy0"},
		{"link set dummy0 name renamed", "renamed"},
		{"link del renamed", ""},
	} {
		ip(step.line)
		got := devices.Device(inode, index)
		for start := time.Now(); got != step.want && time.Since(start) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
			got = devices.Device(inode, index)
		}
		if got != step.want {
			t.Errorf("after ip %s: %q, want %q", step.line, got, step.want)
		}
		if other := devices.Device(inode+1, 1); other != "" {
			t.Errorf("an interface %q in a namespace that is not traced", other)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { devices.Device(inode, 1) }); allocs != 0 {
		t.Errorf("%v allocations for a name that is known", allocs)
	}
}
