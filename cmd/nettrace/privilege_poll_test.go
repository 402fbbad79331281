package main

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
	"github.com/nettrace/nettrace/internal/testnet"
)

// TestPollPrivilege polls, where bpf(2) is refused: the owner of another user's socket is
// read from /proc after the drop, with the documented capabilities and without each.
func TestPollPrivilege(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	netns := testnet.New(t)
	theirs := holdListener(t, netns)
	both := capability.Of(unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH)
	for _, c := range []struct {
		name string
		set  capability.Set
		args []string
		keep capability.Set
		pid  int
	}{
		{"both", both, nil, both, theirs},
		{"more", both | capability.Of(unix.CAP_KILL, unix.CAP_NET_ADMIN), nil, both, theirs},
		{"no SYS_PTRACE", capability.Of(unix.CAP_DAC_READ_SEARCH), nil, capability.Of(unix.CAP_DAC_READ_SEARCH), 0},
		{"no DAC_READ_SEARCH", ptrace, nil, ptrace, 0},
		{"no owners", both, []string{"--no-owner"}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := nobodyCommand(t, c.set, append([]string{"--json", "-lcpt"}, c.args...)...)
			tr := traceBy(t, cmd, func(start func()) { testnet.In(t, netns, start) })
			checkThreads(t, tr, c.keep, nobody)
			shown := false
			for _, r := range tr.stop() {
				if r.Event == "socket" {
					shown = true
					if r.PID != c.pid {
						t.Errorf("the listener is of pid %d, want %d", r.PID, c.pid)
					}
				}
			}
			if !shown || !strings.Contains(tr.stderr.String(), "polling") {
				t.Errorf("the listener was shown: %v; %s", shown, tr.stderr.String())
			}
		})
	}
}

// holdListener has a process of another user, neither root nor nobody, hold a listener. It
// returns its number.
func holdListener(t *testing.T, netns string) int {
	t.Helper()
	var listener net.Listener
	testnet.In(t, netns, func() {
		var err error
		if listener, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	})
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	_ = listener.Close() // the process holds another descriptor
	cmd := exec.Command(copyForAll(t, nettraceCommand(t).Path))
	cmd.Dir, cmd.ExtraFiles = "/", []*os.File{file}
	cmd.Env = append(os.Environ(), roleVar+"="+roleHold)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
