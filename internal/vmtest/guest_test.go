package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The tests here run inside a machine. They check that it has what the other
// suites rely on.

func inGuest(t *testing.T) {
	t.Helper()
	if os.Getenv("NETTRACE_VM") == "" {
		t.Skip("runs inside a test machine: make test-kernels")
	}
}

func TestGuestKernel(t *testing.T) {
	inGuest(t)
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	series := os.Getenv("NETTRACE_KERNEL")
	if !strings.HasPrefix(string(release), series+".") {
		t.Errorf("the kernel is %s, want %s", bytes.TrimSpace(release), series)
	}
	btf, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	if magic := []byte{0x9f, 0xeb}; !bytes.HasPrefix(btf, magic) {
		t.Errorf("BTF begins with % x, want % x", btf[:min(2, len(btf))], magic)
	}
}

func TestGuestMounts(t *testing.T) {
	inGuest(t)
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"/proc proc", "/sys sysfs", "/dev devtmpfs", "/dev/pts devpts", "/sys/kernel/tracing tracefs",
		"/sys/fs/bpf bpf", "/sys/fs/cgroup cgroup2", "/tmp tmpfs", "/run tmpfs",
	} {
		if !strings.Contains(string(mounts), " "+want+" ") {
			t.Errorf("not mounted: %s\n%s", want, mounts)
		}
	}
}

func TestGuestLoopback(t *testing.T) {
	inGuest(t)
	for _, address := range []string{"127.0.0.1:0", "127.64.1.2:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestGuestNamespace(t *testing.T) {
	inGuest(t)
	name := fmt.Sprintf("nt-%d", os.Getpid())
	command(t, "ip", "netns", "add", name)
	t.Cleanup(func() { command(t, "ip", "netns", "delete", name) })
	command(t, "ip", "link", "add", name, "type", "veth", "peer", "name", "peer", "netns", name)
	if links := command(t, "ip", "-n", name, "-o", "link"); !strings.Contains(links, "peer@") {
		t.Errorf("a veth did not reach the new namespace: %s", links)
	}
}

func TestGuestNetstat(t *testing.T) {
	inGuest(t)
	l, err := net.Listen("tcp", "127.0.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if table := command(t, "netstat", "-tl"); !strings.Contains(table, "localhost:https") {
		t.Errorf("netstat resolves no names:\n%s", table)
	}
	if version := command(t, "netstat", "--version"); !strings.HasPrefix(version, "net-tools 2.10") {
		t.Errorf("netstat is not that of net-tools 2.10: %s", version)
	}
}

func TestGuestModules(t *testing.T) {
	inGuest(t)
	for _, name := range guestModules {
		if _, err := os.Stat("/sys/module/" + name); err != nil {
			t.Errorf("module not loaded: %v", err)
		}
	}
}

func TestGuestProgram(t *testing.T) {
	inGuest(t)
	if _, err := exec.LookPath("nettrace"); err != nil {
		t.Error(err)
	}
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
