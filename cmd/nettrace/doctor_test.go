package main

import (
	"os"
	"strings"
	"testing"
)

func TestDoctor(t *testing.T) {
	netns := newNetns(t)
	stdout, stderr, status := nettraceIn(t, netns, 0, "--doctor")
	for _, want := range []string{
		"kernel  ", "BTF  ", "lockdown  ", "CAP_BPF", "pid namespace ", "yes transitions", "tp_btf/inet_sock_set_state",
		"no interface but lo", "needed here   ", "without root  setcap cap_",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("status %d, no %q in:\n%s%s", status, want, stdout, stderr)
		}
	}
	if inMachine && os.Getenv("NETTRACE_KERNEL") != "5.10" && !strings.Contains(stdout, "Everything is exact here.") {
		t.Errorf("something is inexact on a stock kernel:\n%s", stdout)
	}
	stdout, _, status = nettraceIn(t, netns, 65534, "--doctor")
	if status != 1 || !strings.Contains(stdout, "no  CAP_BPF") || !strings.Contains(stdout, "kept by a run CAP_SYS_PTRACE\n") || !strings.Contains(stdout, "polls") {
		t.Errorf("without privilege: status %d:\n%s", status, stdout)
	}
}
