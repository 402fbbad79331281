// Package doctor says what of tracing works on this machine, and what is
// inexact.
package doctor

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
	"github.com/nettrace/nettrace/tracer"
)

// needed are the capabilities that tracing uses, and what each is for.
var needed = []struct {
	number uint
	name   string
	use    string
}{
	{unix.CAP_BPF, "CAP_BPF", "loading BPF programs"},
	{unix.CAP_PERFMON, "CAP_PERFMON", "attaching them to the kernel's functions and tracepoints"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "the hooks of the cgroup, where fentry does not load"},
	{unix.CAP_SYSLOG, "CAP_SYSLOG", "the addresses of the kernel's timer functions"},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "the open files of other users' processes"},
}

// Report writes what works to w. It tries every hook by loading it as opts say.
// traces is false where no stream can be opened; an error says that this could
// not be found out.
func Report(w io.Writer, opts tracer.Options) (traces bool, err error) {
	if err := reportMachine(w); err != nil {
		return false, err
	}
	opts.Logs = true
	t, err := tracer.Open(opts)
	if err != nil {
		fmt.Fprintf(w, "hooks         none\n  %v\n", capability.Explain(err))
		fmt.Fprintf(w, "\nnettrace -c polls /proc every %v here; short-lived connections are missed.\n", tracer.PollInterval)
		return false, nil
	}
	defer t.Close()
	fmt.Fprintf(w, "pid namespace %s\n", t.Pidspace())
	reportHooks(w, t.Hooks())
	return true, reportNamespaces(w, t)
}

// reportMachine reports what the kernel offers and what this process may do.
func reportMachine(w io.Writer) error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	fmt.Fprintf(w, "kernel        %s %s\n", unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Machine[:]))
	fmt.Fprintf(w, "BTF           %s\n", kernelTypes("/sys/kernel/btf/vmlinux"))
	fmt.Fprintf(w, "lockdown      %s\n", lockdown("/sys/kernel/security/lockdown"))
	fmt.Fprint(w, "capabilities\n")
	caps, err := capability.Effective()
	if err != nil {
		return err
	}
	for _, c := range needed {
		fmt.Fprintf(w, "  %-3s %-15s %s\n", yesNo(caps.Allows(c.number)), c.name, c.use)
	}
	return nil
}

// reportHooks reports what came of each hook, and what is inexact without those
// that are missing.
func reportHooks(w io.Writer, hooks []tracer.Hook) {
	fmt.Fprint(w, "hooks\n")
	for _, h := range hooks {
		switch {
		case h.Chosen:
			fmt.Fprintf(w, "  yes %-18s %s\n", h.Capability, h.Name)
		case h.Err != nil:
			fmt.Fprintf(w, "  no  %-18s %s: %s\n", h.Capability, h.Name, oneLine(h.Reason()))
		default:
			fmt.Fprintf(w, "      %-18s %s: not needed\n", h.Capability, h.Name)
		}
	}
	inexact := tracer.Inexact(hooks)
	if len(inexact) == 0 {
		fmt.Fprint(w, "\nEverything is exact here.\n")
		return
	}
	fmt.Fprint(w, "\nInexact here:\n")
	for _, what := range inexact {
		fmt.Fprintf(w, "  %s\n", what)
	}
	fmt.Fprint(w, "A kernel with kprobes and BPF trampolines (fentry) and all of the capabilities above has every hook.\n")
}

// reportNamespaces reports the network namespaces that cannot be read.
func reportNamespaces(w io.Writer, t *tracer.Tracer) error {
	unread, err := t.Unread()
	if err != nil {
		return err
	}
	for _, what := range unread {
		fmt.Fprintln(w, what)
	}
	return nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// kernelTypes says whether the kernel's types are in their file.
func kernelTypes(path string) string {
	switch _, err := os.Stat(path); {
	case err == nil:
		return "yes: " + path
	case !capability.SysMounted():
		return "not known: /sys is not mounted"
	}
	return "no: the kernel is built without CONFIG_DEBUG_INFO_BTF: no stream"
}

// lockdown returns the kernel's lockdown mode, which its file marks with
// brackets.
func lockdown(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "not there"
	}
	_, mode, _ := strings.Cut(string(b), "[")
	mode, _, _ = strings.Cut(mode, "]")
	return mode
}

// oneLine joins the lines of the verifier's log.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
