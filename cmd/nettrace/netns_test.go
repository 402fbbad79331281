package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/testnet"
)

// TestNetns shows the routes of another network namespace. /proc/net is that of the
// main thread, so nettrace must enter the namespace on that thread.
func TestNetns(t *testing.T) {
	path := testnet.New(t)
	name := filepath.Base(path)
	if out, err := exec.Command("ip", "-n", name, "route", "add", "198.51.100.0/24", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("ip route add: %v: %s", err, out)
	}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range [][]string{{"--netns", name}, {"--netns=" + path}, {"--netn", name}} {
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
