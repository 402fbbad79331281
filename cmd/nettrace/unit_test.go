package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nettrace/nettrace/internal/load"
)

// The files of the unit. The directory is that of a user who is made for it.
const (
	unitFile = "../../deploy/systemd/nettrace.service"
	unitLog  = "/var/log/private/nettrace/nettrace.ndjson"
)

// TestUnit runs the unit by systemd, in a machine that has nothing else: it becomes ready,
// traces with what it has of privileges, reloads, is ended by the watchdog where it hangs,
// and stops.
func TestUnit(t *testing.T) {
	if !inMachine {
		t.Skip("needs a machine for itself: make test-kernels")
	}
	bootSystemd(t)
	systemctl(t, "start", "nettrace.service") // which returns when it is ready
	pid := unitPID(t)
	checkUnit(t, pid)

	server := startLoad(t, load.Server(), "")
	runLoad(t, load.Client(0, 10, load.FIN), "")
	waitForCloses(t, unitLog, 20)
	if err := os.Rename(unitLog, unitLog+".1"); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "reload", "nettrace.service")
	waitForLine(t, unitLog, `"reason":"reopen"`)
	runLoad(t, load.Client(10, 10, load.FIN), "")
	waitForCloses(t, unitLog, 20)
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	if state := property(t, "ActiveState"); state != "active" {
		t.Errorf("after the reload it is %s", state)
	}
	checkUnit(t, unitPID(t))

	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the watchdog", func() bool { return property(t, "NRestarts") == "1" && property(t, "ActiveState") == "active" })
	if unitPID(t) == pid {
		t.Error("a process that hangs was not ended")
	}
	systemctl(t, "stop", "nettrace.service")
	if result := property(t, "Result"); result != "success" {
		t.Errorf("it stopped with %s", result)
	}
	text, err := os.ReadFile(unitLog)
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if last := lines[len(lines)-1]; err != nil || !bytes.Contains(last, []byte(`"event":"stop"`)) {
		t.Errorf("the last line: %v, %s", err, last)
	}
}

// checkUnit checks the user and the privileges of the unit's process.
func checkUnit(t *testing.T, pid int) {
	t.Helper()
	st, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	user := int(st.Sys().(*syscall.Stat_t).Uid)
	const dynamic = 61184 // the first of the users that systemd makes
	if user < dynamic {
		t.Errorf("it runs as user %d", user)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	tr := &tracing{t: t, cmd: &exec.Cmd{Process: process, SysProcAttr: &syscall.SysProcAttr{}}}
	checkThreads(t, tr, ptrace, user)
	if text, err := os.ReadFile("/tmp/errors"); err != nil || bytes.Contains(text, []byte("denied")) || bytes.Contains(text, []byte("permitted")) {
		t.Errorf("it says: %v, %s", err, text)
	}
	text, err := os.ReadFile(unitLog)
	if err != nil || !bytes.Contains(text, []byte("source-port=fentry")) || !bytes.Contains(text, []byte("files=iter/task_file")) || !bytes.Contains(text, []byte(`"boot_id":"`)) {
		t.Errorf("the start record: %v, %.2000s", err, text)
	}
}

// bootSystemd starts systemd as the first process of a pid namespace, with the unit and
// those targets alone that every unit asks for.
func bootSystemd(t *testing.T) {
	t.Helper()
	unit, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	const units = "/etc/systemd/system/"
	for _, dir := range []string{units + "nettrace.service.d", "/var/tmp", "/var/log", "/var/lib", "/var/cache", "/root", "/home", "/opt", "/boot"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	errs := []error{
		os.WriteFile(units+"nettrace.service", unit, 0o644),
		// The watchdog is not to be waited for longer than the emulator asks for.
		os.WriteFile(units+"nettrace.service.d/test.conf", []byte("[Service]\nWatchdogSec=10s\nRestartSec=1s\nStandardError=append:/tmp/errors\n"), 0o644),
		os.WriteFile("/etc/machine-id", nil, 0o644),
	}
	for _, name := range []string{"sysinit", "basic", "shutdown", "network", "multi-user", "local-fs", "default"} {
		errs = append(errs, os.WriteFile(units+name+".target", []byte("[Unit]\nDefaultDependencies=no\n"), 0o644))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	const script = `mkdir /sys/fs/cgroup/machine && echo $$ >/sys/fs/cgroup/machine/cgroup.procs &&
exec unshare --pid --fork --mount --cgroup --mount-proc bash -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec /usr/lib/systemd/systemd --log-target=console --log-level=info'`
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(os.Environ(), "container=machine", "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "systemd", func() bool { return exec.Command("systemctl", "is-active", "default.target").Run() == nil })
}

func systemctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		status, _ := exec.Command("systemctl", "status", "nettrace.service").CombinedOutput()
		said, _ := os.ReadFile("/tmp/errors")
		t.Fatalf("systemctl %s: %v: %s\n%s\n%s", strings.Join(args, " "), err, out, status, said)
	}
	return strings.TrimSpace(string(out))
}

func property(t *testing.T, name string) string {
	t.Helper()
	return systemctl(t, "show", "--value", "--property", name, "nettrace.service")
}

// unitPID returns the number of the unit's process. That which systemd has is of a pid
// namespace below this one.
func unitPID(t *testing.T) int {
	t.Helper()
	inside := property(t, "MainPID")
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && strings.HasPrefix(string(text), "Name:\tnettrace\n") && strings.Contains(string(text), "\t"+inside+"\n") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("there is no process %s of the unit", inside)
	return 0
}

func waitForCloses(t *testing.T, file string, count int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d closes in %s", count, file), func() bool {
		text, err := os.ReadFile(file)
		return err == nil && bytes.Count(text, []byte(`"event":"tcp_close"`)) >= count
	})
}

func waitFor(t *testing.T, what string, came func() bool) {
	t.Helper()
	for range 1200 {
		if came() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	said, _ := os.ReadFile("/tmp/errors")
	t.Fatalf("%s did not come; %s", what, said)
}
