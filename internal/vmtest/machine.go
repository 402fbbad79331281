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

// machine is a virtual machine that runs an initramfs and then powers itself off.
type machine struct {
	series string // of the kernel; the tests see it as NETTRACE_KERNEL
	params string // added to the kernel's command line
	kernel string // path of the image
	initrd string // path of the archive
	dir    string // for the console's file
}

// emulator is the machine that every kernel boots on. cx16 is off: QEMU 7.2's
// cmpxchg16b now and then corrupts the flags, and Linux 6.12 panics then, because
// its slab allocator uses that instruction.
var emulator = []string{
	"-accel", "tcg,thread=multi", "-cpu", "max,-cx16", "-smp", "2", "-M", "q35", "-m", "1536",
	"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
}

// cmdline makes the kernel reboot at once when it panics or one of its processors
// hangs; with -no-reboot that ends the emulator. The kernel passes words with a "="
// that it does not know to process 1, as environment variables.
const cmdline = "console=ttyS0 quiet nokaslr no5lvl oops=panic panic=-1 softlockup_panic=1 watchdog_thresh=30 " +
	"sysctl.kernel.panic_on_rcu_stall=1 rcupdate.rcu_cpu_stall_timeout=60"

// silence is how long the third serial line may be silent before the machine is
// taken to be dead. init writes to that line every few seconds.
const silence = 2 * time.Minute

// consoleTail is how many of the kernel's last lines an error shows.
const consoleTail = 30

// boot runs the machine and copies its second serial line to out until it stops.
// It stops the machine when ctx ends or the machine has been silent for too long.
// If the machine did not power itself off, the error holds the console's last
// lines.
func (m machine) boot(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go m.watch(ctx, silence, cancel)
	args := append([]string{
		"-kernel", m.kernel, "-initrd", m.initrd, "-append", cmdline + " NETTRACE_KERNEL=" + m.series + " " + m.params,
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

// errEmulator says that the emulator broke the kernel, not the kernel or a test.
//
// To enable a tracepoint the kernel patches its own code, and while it does so a
// breakpoint stands there (text_poke_bp, arch/x86/kernel/alternative.c). QEMU
// translates code before it runs it, so one of its processors may run into that
// breakpoint after the kernel has removed and forgotten it. The kernel then panics.
// Or kprobes take the breakpoint for one that was just removed, and that processor
// runs into it for ever (kprobe_int3_handler, arch/x86/kernel/kprobes/core.c).
var errEmulator = errors.New("the emulator ran into a breakpoint that was gone")

// panicError returns the error for a kernel that panicked: errEmulator if the
// console's text has one of its signs. end is what the error shows of that text.
func panicError(said, end string) error {
	for _, sign := range []string{"int3: 0000 [#1]", "softlockup: hung tasks", "RCU Stall"} {
		if strings.Contains(said, sign) {
			return fmt.Errorf("the kernel panicked: %w\n%s", errEmulator, end)
		}
	}
	return fmt.Errorf("the kernel panicked\n%s", end)
}

// said returns all that the kernel wrote to its console.
func (m machine) said() string {
	data, err := os.ReadFile(m.console())
	if err != nil {
		return ""
	}
	return strings.TrimRight(strings.ReplaceAll(string(data), "\r", ""), "\n")
}

// console is the file that receives the first serial line, the kernel's.
func (m machine) console() string { return filepath.Join(m.dir, "console") }

// pulse is the file that receives the third serial line.
func (m machine) pulse() string { return filepath.Join(m.dir, "pulse") }

// lastWords returns the last lines that the kernel wrote to its console.
func (m machine) lastWords() string {
	text := m.said()
	if text == "" {
		return "the kernel said nothing"
	}
	lines := strings.Split(text, "\n")
	return "the console's end:\n    " + strings.Join(lines[max(0, len(lines)-consoleTail):], "\n    ")
}
