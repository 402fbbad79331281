// Package testnet gives tests network namespaces of their own.
package testnet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// New makes a network namespace with its loopback up, which goes with the test,
// and gives its file. Without root or ip(8) it skips the test.
func New(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip(8), package iproute2")
	}
	name := fmt.Sprintf("nt-%d-%d", os.Getpid(), time.Now().UnixNano()%1e9)
	ip := func(args ...string) {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "del", name) })
	ip("-n", name, "link", "set", "lo", "up")
	return filepath.Join("/run/netns", name)
}

// Set writes a sysctl of the namespace, such as net/ipv4/tcp_fin_timeout.
func Set(t testing.TB, netns, name, value string) {
	t.Helper()
	In(t, netns, func() {
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
			t.Error(err)
		}
	})
}

// In runs f on a thread in the namespace. f must not call t.FailNow.
func In(t testing.TB, netns string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Errorf("%s: %v", netns, err)
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			t.Errorf("enter %s: %v", netns, err)
			return
		}
		f()
	}()
	<-done
}
