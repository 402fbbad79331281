package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestNetns shows the routes of another network namespace, which /proc/net
// shows of the main thread only.
func TestNetns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	name := fmt.Sprintf("nt-views-%d", os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v: %s", args, err, out)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "del", name) })
	ip("-n", name, "link", "set", "lo", "up")
	ip("-n", name, "route", "add", "198.51.100.0/24", "dev", "lo")

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range [][]string{{"--netns", name}, {"--netns=/run/netns/" + name}, {"--netn", name}} {
		cmd := &exec.Cmd{Path: self, Args: append([]string{"nettrace", "-rn"}, option...), Env: append(testEnviron(), roleVar+"="+roleMain)}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if n := strings.Count(string(out), "\n"); n != 3 || !strings.Contains(string(out), "\n198.51.100.0    0.0.0.0         255.255.255.0   U") {
			t.Errorf("%q shows\n%s", option, out)
		}
	}
}
