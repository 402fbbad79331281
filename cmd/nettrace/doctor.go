package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/tracer"
)

// needed are the capabilities that tracing uses, by their bit in
// /proc/self/status (include/uapi/linux/capability.h), and what each is for.
var needed = []struct {
	bit  uint
	name string
	use  string
}{
	{39, "CAP_BPF", "loading BPF programs"},
	{38, "CAP_PERFMON", "attaching them to the kernel's functions and tracepoints"},
	{12, "CAP_NET_ADMIN", "the hooks of the cgroup, where fentry does not load"},
	{34, "CAP_SYSLOG", "the addresses of the kernel's timer functions"},
	{19, "CAP_SYS_PTRACE", "the open files of other users' processes"},
}

const capSysAdmin = 21 // stands for CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN in BPF

// effective reads the effective capabilities of this process.
func effective() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(text), 16, 64)
		}
	}
	return 0, errors.New("/proc/self/status has no CapEff line")
}

// missingCapabilities names those without which there is no stream.
func missingCapabilities() []string {
	caps, err := effective()
	if err != nil || caps>>capSysAdmin&1 == 1 {
		return nil
	}
	var missing []string
	for _, c := range needed[:2] {
		if caps>>c.bit&1 == 0 {
			missing = append(missing, c.name)
		}
	}
	return missing
}

// doctor says what of tracing works on this machine.
func doctor(e *env, opts tracer.Options) error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	p := func(format string, args ...any) { fmt.Fprintf(e.stdout, format, args...) }
	p("kernel        %s %s\n", unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Machine[:]))
	p("BTF           %s\n", presence("/sys/kernel/btf/vmlinux", "the kernel is built without CONFIG_DEBUG_INFO_BTF: no stream"))
	p("lockdown      %s\n", lockdown("/sys/kernel/security/lockdown"))
	p("capabilities\n")
	caps, err := effective()
	if err != nil {
		return err
	}
	for _, c := range needed {
		has := caps>>c.bit&1 == 1 || caps>>capSysAdmin&1 == 1 && c.bit != 34 && c.bit != 19
		p("  %-3s %-15s %s\n", yesNo(has), c.name, c.use)
	}
	opts.Logs = true
	t, err := tracer.Open(opts)
	if err != nil {
		p("hooks         none\n  %v\n", explain(err))
		p("\nnettrace -c polls /proc every %v here; short-lived connections are missed.\n", tracer.PollInterval)
		return &viewError{status: statusFailed}
	}
	defer t.Close()
	p("hooks\n")
	for _, h := range t.Hooks() {
		switch {
		case h.Chosen:
			p("  yes %-18s %s\n", h.Capability, h.Name)
		case h.Err != nil:
			p("  no  %-18s %s: %s\n", h.Capability, h.Name, oneLine(h.Reason()))
		default:
			p("      %-18s %s: not needed\n", h.Capability, h.Name)
		}
	}
	missing := inexact(t.Hooks())
	if len(missing) == 0 {
		p("\nEverything is exact here.\n")
		return nil
	}
	p("\nInexact here:\n")
	for _, what := range missing {
		p("  %s\n", what)
	}
	p("A kernel with kprobes and BPF trampolines (fentry) and all of the capabilities above has every hook.\n")
	return nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func presence(path, without string) string {
	if _, err := os.Stat(path); err != nil {
		return "no: " + without
	}
	return "yes: " + path
}

// lockdown tells the kernel's lockdown mode, which its file marks with brackets.
func lockdown(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "not there"
	}
	_, mode, _ := strings.Cut(string(b), "[")
	mode, _, _ = strings.Cut(mode, "]")
	return mode
}

// oneLine keeps the verifier's log on the line of its hook.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
