package tracer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nettrace/nettrace/snapshot"
)

// TestPidspaceLoads loads the programs for a tracer in a nested pid namespace, with and
// without probe reads, by either loader.
func TestPidspaceLoads(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
	old := os.Getenv("NETTRACE_KERNEL") == "5.10"
	for _, level := range []uint32{0, 1, 3} {
		for _, probe := range []bool{true, false} {
			if old && !probe {
				continue // 5.10 reads tasks by probes alone
			}
			for _, logs := range []bool{false, true} {
				t.Run(fmt.Sprintf("level=%d,probe=%t,logs=%t", level, probe, logs), func(t *testing.T) {
					h, err := newHooks(settings{
						wakeupAt: 1 << 20, helpers: helpers{cookie: !old, taskBTF: !old, probe: probe}, ringBytes: 4 << 20,
						pids: pidspace{level: level, inode: 7}, verifyLogs: logs,
					})
					if err != nil {
						t.Fatal(err)
					}
					defer h.close()
					checkPidspace(t, h, old)
				})
			}
		}
	}
}

func checkPidspace(t *testing.T, h *hooks, old bool) {
	t.Helper()
	h.choose(Transitions, Acceptor, Files)
	for _, hook := range h.tried {
		if hook.Err != nil {
			text := fmt.Sprintf("%+v", hook.Err)
			t.Logf("%s: %s", hook.Name, text[max(0, len(text)-1500):])
		}
	}
	if h.chosen[Transitions] == "" || h.chosen[Files] == "" && !old {
		t.Errorf("chosen: %v", h.chosen)
	}
	row, err := h.whoami()
	if err != nil || row.Task == 0 || row.Inode != inodeOf("/proc/self/ns/pid") {
		t.Errorf("whoami: %+v, %v", row, err)
	}
	p, err := findPidspace(h, "/proc")
	if err != nil || !p.readable {
		t.Errorf("%+v, %v; whoami: %+v", p, err, row)
	}
}

// TestProcDepth reads which pid namespace a proc file system shows.
func TestProcDepth(t *testing.T) {
	for _, c := range []struct {
		name, status string
		want         int
	}{
		{"own namespace", "Name:\tx\nNSpid:\t7\nNSpgid:\t7\n", 1},
		{"one above", "Name:\tx\nNSpid:\t4711\t1\n", 2},
		{"before 4.1", "Name:\tx\n", 1},
	} {
		path := filepath.Join(t.TempDir(), "status")
		if err := os.WriteFile(path, []byte(c.status), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := procDepth(path); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if got := procDepth(filepath.Join(t.TempDir(), "status")); got != 0 {
		t.Errorf("not there: %d, want 0", got)
	}
}

// TestStartReader reads a process that has the number and began then, and no other. The
// judge is the process that this test starts.
func TestStartReader(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skip("needs sleep: ", err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}()
	path, err := filepath.EvalSymlinks(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	awaitProgram(t, cmd.Process.Pid, path)
	start := startOf(t, cmd.Process.Pid)
	read := startReader("/proc")
	p := snapshot.Process{PID: cmd.Process.Pid}
	if read(&p, start+5e6); p.Exe != path || p.Cmdline != "sleep\x0060" {
		t.Errorf("%+v, want %s", p, path)
	}
	other := snapshot.Process{PID: cmd.Process.Pid}
	if read(&other, start+1e9); other.Exe != "" || other.Cmdline != "" {
		t.Errorf("one that began later: %+v", other)
	}
	if p := readHolder("/proc", cmd.Process.Pid, 1); p != nil {
		t.Errorf("%+v holds no socket", p)
	}
}

// awaitProgram waits until a process runs a program. exec.Cmd.Start may return while the child
// still has the names of its parent (seen on 6.12 under the emulator), and execve shows the
// new exe for a moment before the new command line, which is empty then.
func awaitProgram(t *testing.T, pid int, program string) {
	t.Helper()
	var exe string
	var cmdline []byte
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		var err error
		if exe, err = os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || exe != program {
			continue
		}
		if cmdline, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(cmdline) > 0 {
			return
		}
	}
	t.Fatalf("process %d runs %q with %q, not %q", pid, exe, cmdline, program)
}

// startOf returns when a process began, by its stat file.
func startOf(t *testing.T, pid int) uint64 {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	const field = 22 // proc(5)
	ticks, err := strconv.ParseUint(strings.Fields(string(stat))[field-1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return ticks * 1e7
}

// TestPidspaceString says of each kind of pid namespace what is reported there.
func TestPidspaceString(t *testing.T) {
	for want, p := range map[string]pidspace{
		"the first":      {readable: true, whole: true},
		"nested":         {level: 2, readable: true, whole: true},
		"not the one":    {level: 1},
		"the first: eve": {readable: true}, // that of the host, from inside of a container
	} {
		if got := p.String(); !strings.HasPrefix(got, want) {
			t.Errorf("%+v: %q, want %q…", p, got, want)
		}
	}
}
