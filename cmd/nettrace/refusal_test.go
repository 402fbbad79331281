package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refusalVar says what the process is refused.
const refusalVar = "NETTRACE_TEST_REFUSAL"

// refuse takes something from this process and starts it again as nettrace. It
// returns if that fails.
func refuse(what string) error {
	runtime.LockOSThread() // filters and capabilities are those of the thread
	var err error
	switch what {
	case "CAP_SYS_ADMIN": // root has what the bounding set leaves
		err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0)
	case "bpf":
		err = refuseCall(unix.SYS_BPF)
	case "socket":
		err = refuseCall(unix.SYS_SOCKET)
	case "/sys":
		err = hide("/sys")
	case "BTF":
		err = hide("/sys/kernel/btf")
	case "tracefs":
		err = hide("/sys/kernel/tracing", "/sys/kernel/debug")
	}
	if err != nil {
		return fmt.Errorf("refuse %s: %w", what, err)
	}
	env := append(os.Environ(), roleVar+"="+roleMain)
	return syscall.Exec("/proc/self/exe", os.Args, slices.DeleteFunc(env, func(v string) bool { return v == roleVar+"="+roleRefused }))
}

// refuseCall installs a seccomp filter under which a system call fails with EPERM.
func refuseCall(number uint32) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number, the first field of struct seccomp_data
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: number},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

// hide puts an empty directory over others, in a mount namespace of its own.
func hide(dirs ...string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
	}
	return nil
}

// refusedCommand returns nettrace, to be started, as a process that is refused
// something.
func refusedCommand(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := nettraceCommand(t, args...)
	if what != "" {
		cmd.Env = append(cmd.Env, roleVar+"="+roleRefused, refusalVar+"="+what)
	}
	return cmd
}

// TestRefusals refuses nettrace what it needs: each message names what is missing,
// and nothing that is not.
func TestRefusals(t *testing.T) {
	netns := newNetns(t)
	asNobody := func(cmd *exec.Cmd) {
		cmd.Path = copyForAll(t, cmd.Path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	inUserNamespace := func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		}
	}
	const never = "RemoveMemlock"
	for _, c := range []struct {
		name, what string
		args       []string
		set        func(*exec.Cmd)
		has        string   // in what it says
		hasNo      []string // besides never
		lines      int      // that it says on stderr; 0: not counted
	}{
		{"another user", "", []string{"-c", "--require-bpf"}, asNobody, "CAP_PERFMON, CAP_BPF missing", []string{"seccomp"}, 1},
		{"a user namespace", "", []string{"-c", "--require-bpf"}, inUserNamespace, "user namespace", []string{"CAP_BPF", "seccomp"}, 1},
		{"seccomp", "bpf", []string{"-c", "--require-bpf"}, nil, "seccomp", []string{"CAP_BPF"}, 1},
		{"seccomp, to the doctor", "bpf", []string{"--doctor"}, nil, "seccomp", nil, 0},
		{"no netlink", "socket", []string{"-tan", "--source=diag"}, nil, "--source=diag: open netlink: operation not permitted", nil, 1},
		{"no /sys", "/sys", []string{"-c", "--require-bpf"}, nil, "/sys is not mounted", nil, 1},
		{"no /sys, to the doctor", "/sys", []string{"--doctor"}, nil, "/sys is not mounted", []string{"CONFIG_DEBUG_INFO_BTF"}, 0},
		{"no BTF", "BTF", []string{"-c", "--require-bpf"}, nil, "CONFIG_DEBUG_INFO_BTF", []string{"CAP_BPF", "seccomp"}, 1},
		{"no BTF, to the doctor", "BTF", []string{"--doctor"}, nil, "BTF           no", []string{"CAP_BPF missing"}, 0},
		{"a user that is not there", "", []string{"-c", "--run-as", "nosuchuser"}, nil, "go on as user nosuchuser: there is no such user", nil, 1},
		{"no privilege to be another user", "", []string{"-c", "--run-as", "1"}, asNobody, "needs CAP_SETUID and CAP_SETGID", nil, 1},
		{"another namespace", "CAP_SYS_ADMIN", []string{"-c", "--netns", netns}, nil, "needs CAP_SYS_ADMIN", []string{"poll", "changes"}, 1},
		{"another namespace's views", "CAP_SYS_ADMIN", []string{"-rn", "--netns", netns}, nil, "needs CAP_SYS_ADMIN", nil, 1},
		{"another namespace, to the doctor", "CAP_SYS_ADMIN", []string{"--doctor", "--netns", netns}, nil, "needs CAP_SYS_ADMIN", nil, 1},
		{"no namespace", "", []string{"-c", "--netns", "/etc/passwd"}, nil, "no network namespace", []string{"poll", "changes", "hook"}, 1},
		{"no namespace's views", "", []string{"-rn", "--netns", "/etc/passwd"}, nil, "no network namespace", nil, 1},
		{"a name of none", "", []string{"-c", "--netns", "nosuchname"}, nil, "no network namespace", []string{"poll", "changes", "hook"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := refusedCommand(t, c.what, c.args...)
			cmd.Dir = "/"
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			if c.set != nil {
				c.set(cmd)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // the exit status is looked at
			said := out.String() + errs.String()
			if status := cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(said, c.has) {
				t.Errorf("status %d, no %q in: %s", status, c.has, said)
			}
			for _, wrong := range append(c.hasNo, never) {
				if strings.Contains(said, wrong) {
					t.Errorf("%q in: %s", wrong, said)
				}
			}
			if lines := strings.Count(errs.String(), "\n"); c.lines > 0 && lines != c.lines {
				t.Errorf("%d lines, want %d: %s", lines, c.lines, errs.String())
			}
		})
	}
}

// TestRingSize gives sizes that no ring buffer has: they are rounded up.
func TestRingSize(t *testing.T) {
	page := os.Getpagesize()
	for size, want := range map[int]int{1: page, page: page, page + 1: 2 * page, 100 << 20: 128 << 20, 1 << 30: 1 << 30} {
		if got := ringBytes(size); got != want {
			t.Errorf("%d bytes become %d, want %d", size, got, want)
		}
	}
	netns := newNetns(t)
	for _, size := range []string{"1", "100M"} {
		tr := trace(t, netns, "", "--ring-size", size)
		if size == "100M" { // the other one may lose events
			tr.stop()
		}
	}
}
