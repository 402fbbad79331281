package service

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

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
	"github.com/nettrace/nettrace/internal/load"
)

// unitLog is the file of the unit, in a directory of a user who is made for it.
const unitLog = "/var/log/private/nettrace/nettrace.ndjson"

// The test starts its own binary again to make the load.
func init() { load.Main() }

// TestUnit runs the unit by systemd, in a machine that has nothing else: it becomes ready,
// traces with what it has of privileges, reloads, is ended by the watchdog where it hangs,
// and stops.
func TestUnit(t *testing.T) {
	if os.Getenv("NETTRACE_VM") == "" || !rootInMemory(t) {
		t.Skip("needs a machine for itself, as systemd empties /tmp: make test-kernels")
	}
	bootSystemd(t)
	systemctl(t, "start", "nettrace.service") // which returns when it is ready
	pid := unitPID(t)
	checkUnit(t, pid)

	server, err := load.Start(load.Server(), "")
	if err != nil {
		t.Fatal(err)
	}
	runLoad(t, load.Client(0, 10, load.FIN))
	waitForCloses(t, unitLog, 20)
	if err := os.Rename(unitLog, unitLog+".1"); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "reload", "nettrace.service")
	waitFor(t, "a new file", func() bool {
		text, err := os.ReadFile(unitLog)
		return err == nil && bytes.Contains(text, []byte(`"reason":"reopen"`))
	})
	runLoad(t, load.Client(10, 10, load.FIN))
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

// rootInMemory reports whether the root file system is that of an initramfs.
func rootInMemory(t *testing.T) bool {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs("/", &st); err != nil {
		t.Fatal(err)
	}
	return st.Type == unix.RAMFS_MAGIC || st.Type == unix.TMPFS_MAGIC
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
	checkThreads(t, pid)
	if text, err := os.ReadFile("/tmp/errors"); err != nil || bytes.Contains(text, []byte(" denied")) || bytes.Contains(text, []byte("not permitted")) {
		t.Errorf("it says: %v, %s", err, text)
	}
	text, err := os.ReadFile(unitLog)
	if err != nil || !bytes.Contains(text, []byte("acceptor=fexit")) || !bytes.Contains(text, []byte("files=iter/task_file")) || !bytes.Contains(text, []byte(`"boot_id":"`)) {
		t.Errorf("the start record: %v, %.2000s", err, text)
	}
}

// checkThreads checks that every thread has the one capability that is kept.
func checkThreads(t *testing.T, pid int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d threads, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for which, want := range map[string]capability.Set{
			"CapPrm": capability.Of(unix.CAP_SYS_PTRACE), "CapEff": capability.Of(unix.CAP_SYS_PTRACE), "CapInh": 0, "CapAmb": 0,
		} {
			if got, err := capability.Parse(string(text), which); err != nil || got != want {
				t.Errorf("%s: %s is %v, want %v; %v", file, which, got, want, err)
			}
		}
	}
}

// runLoad makes connections.
func runLoad(t *testing.T, role string) {
	t.Helper()
	p, err := load.Start(role, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Go(), p.Done(), p.Stop()); err != nil {
		t.Fatal(err)
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
		os.Symlink("/usr/bin/kill", "/bin/kill"), // as where /bin is /usr/bin
	}
	for _, name := range []string{"sysinit", "basic", "shutdown", "network", "multi-user", "local-fs", "default"} {
		errs = append(errs, os.WriteFile(units+name+".target", []byte("[Unit]\nDefaultDependencies=no\n"), 0o644))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	const script = `mkdir /sys/fs/cgroup/machine && echo $$ >/sys/fs/cgroup/machine/cgroup.procs &&
exec unshare --pid --fork --mount --cgroup --mount-proc bash -c 'umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec /usr/lib/systemd/systemd --log-target=console --log-level=info'`
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(os.Environ(), "container=machine", "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "systemd", func() bool { return inside("systemctl", "is-active", "default.target").Run() == nil })
}

// inside returns a command in the namespaces of systemd, which listens to nobody else.
func inside(name string, args ...string) *exec.Cmd {
	pid := "none"
	if out, err := exec.Command("pidof", "systemd").Output(); err == nil {
		pids := strings.Fields(string(out)) // the first of them may be a child that is no program yet
		pid = pids[len(pids)-1]
	}
	return exec.Command("nsenter", append([]string{"--target", pid, "--pid", "--mount", "--cgroup", name}, args...)...)
}

func systemctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := inside("systemctl", args...).CombinedOutput()
	if err != nil {
		status, _ := inside("systemctl", "status", "nettrace.service").CombinedOutput()
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
