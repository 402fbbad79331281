package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// machine is a virtual machine that runs an initramfs and switches itself off.
type machine struct {
	series string // of the kernel, told to the tests in NETTRACE_KERNEL
	kernel string // path of the image
	initrd string // path of the archive
	dir    string // for the console's file
}

// emulator is the machine that every kernel boots on. cx16 is off because
// QEMU 7.2's cmpxchg16b now and then corrupts the flags, and 6.12, whose slab
// allocator uses it, then panics.
var emulator = []string{
	"-accel", "tcg,thread=multi", "-cpu", "max,-cx16", "-smp", "2", "-M", "q35", "-m", "1536",
	"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
}

// cmdline makes a kernel that cannot go on, or one of whose processors does not,
// reboot at once, which ends the emulator (-no-reboot). What it does not know and
// has a "=" it hands to process 1 as an environment variable.
const cmdline = "console=ttyS0 quiet nokaslr no5lvl oops=panic panic=-1 softlockup_panic=1 watchdog_thresh=30 " +
	"sysctl.kernel.panic_on_rcu_stall=1 rcupdate.rcu_cpu_stall_timeout=60"

// silence is how long a machine may say on its third serial line nothing before it
// is taken to be dead, where init says something every few seconds.
const silence = 2 * time.Minute

// consoleTail is how many of the kernel's last lines an error shows.
const consoleTail = 30

// boot runs the machine and copies its second serial line to out until it stops.
// A machine that is still there when ctx ends, or has been silent for too long, is
// stopped. The error of an end that init did not bring about holds the console's
// last lines.
func (m machine) boot(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go m.watch(ctx, silence, cancel)
	args := append([]string{
		"-kernel", m.kernel, "-initrd", m.initrd, "-append", cmdline + " NETTRACE_KERNEL=" + m.series,
		"-serial", "file:" + m.console(), "-serial", "stdio", "-serial", "file:" + m.pulse(),
	}, emulator...)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.Stdout = out
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // never outlive the harness
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	text := m.lastWords()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("stopped by the harness: %w\n%s", context.Cause(ctx), text)
	case err != nil:
		return fmt.Errorf("qemu-system-x86_64: %w: %s\n%s", err, stderr.Bytes(), text)
	case strings.Contains(text, "Kernel panic"): // which QEMU takes for an ordinary end
		return panicError(m.said(), text)
	}
	return nil
}

// watch cancels with errEmulator when the machine has been silent for the limit.
func (m machine) watch(ctx context.Context, limit time.Duration, cancel context.CancelCauseFunc) {
	var said int64
	last := time.Now()
	for tick := time.Tick(limit / 20); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if info, err := os.Stat(m.pulse()); err == nil && info.Size() != said {
			said, last = info.Size(), time.Now()
		}
		if time.Since(last) > limit {
			cancel(fmt.Errorf("silent for %s: %w", limit, errEmulator))
			return
		}
	}
}

// errEmulator is the end of a kernel that is the emulator's doing. The kernel
// patches the place of a tracepoint by way of a breakpoint (text_poke_bp,
// arch/x86/kernel/alternative.c), and a processor of QEMU may run what it
// translated while that stood there, when the kernel has forgotten it: then it
// panics, or, where kprobes take the breakpoint for one just removed, runs into it
// for ever (kprobe_int3_handler, arch/x86/kernel/kprobes/core.c).
var errEmulator = errors.New("the emulator ran into a breakpoint that was gone")

// panicError gives the error of a kernel that panicked, by all that it said and
// the end of that.
func panicError(said, end string) error {
	for _, sign := range []string{"int3: 0000 [#1]", "softlockup: hung tasks", "RCU Stall"} {
		if strings.Contains(said, sign) {
			return fmt.Errorf("the kernel panicked: %w\n%s", errEmulator, end)
		}
	}
	return fmt.Errorf("the kernel panicked\n%s", end)
}

// said gives what the kernel wrote to its console.
func (m machine) said() string {
	data, err := os.ReadFile(m.console())
	if err != nil {
		return ""
	}
	return strings.TrimRight(strings.ReplaceAll(string(data), "\r", ""), "\n")
}

// console is the file that the kernel's serial line ends in.
func (m machine) console() string { return filepath.Join(m.dir, "console") }

// pulse is the file that the machine's third serial line ends in.
func (m machine) pulse() string { return filepath.Join(m.dir, "pulse") }

// lastWords gives the end of what the kernel wrote to its console.
func (m machine) lastWords() string {
	text := m.said()
	if text == "" {
		return "the kernel said nothing"
	}
	lines := strings.Split(text, "\n")
	return "the console's end:\n    " + strings.Join(lines[max(0, len(lines)-consoleTail):], "\n    ")
}
