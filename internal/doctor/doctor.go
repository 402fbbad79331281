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
	"github.com/nettrace/nettrace/internal/netns"
	"github.com/nettrace/nettrace/internal/privilege"
	"github.com/nettrace/nettrace/tracer"
)

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
		reportNeeds(w, privilege.Usual(&opts))
		fmt.Fprintf(w, "\nnettrace -c polls /proc every %v here; short-lived connections are missed.\n", tracer.PollInterval)
		return false, nil
	}
	defer t.Close()
	fmt.Fprintf(w, "pid namespace %s\n", t.Pidspace())
	reportHooks(w, t.Hooks())
	reportCloses(w, opts)
	needs, err := privilege.Of(t, &opts)
	if err != nil {
		return false, err
	}
	reportNeeds(w, needs)
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
	if alone, err := netns.OnlyLoopback("/proc/thread-self"); err == nil && alone {
		fmt.Fprintln(w, "network       no interface but lo in this network namespace: connections of the host and of other namespaces are not seen")
	}
	fmt.Fprint(w, "capabilities\n")
	caps, err := capability.Effective()
	if err != nil {
		return err
	}
	var named capability.Set
	for _, f := range privilege.Features {
		for n := range uint(64) {
			if c := capability.Of(n); (f.Start|f.Run)&c != 0 && named&c == 0 {
				named |= c
				fmt.Fprintf(w, "  %-3s %-20s %s\n", yesNo(caps.Allows(n)), c, privilege.Uses(c))
			}
		}
	}
	return nil
}

// reportNeeds reports what a run takes here, and how to give it to a user who is not root.
func reportNeeds(w io.Writer, n *privilege.Needs) {
	fmt.Fprintf(w, "needed here   %v\n", n.Start())
	fmt.Fprintf(w, "kept by a run %v\n", n.Run())
	file, err := os.Executable()
	if err != nil {
		file = "nettrace"
	}
	fmt.Fprintf(w, "without root  setcap %s+ep %s\n", strings.ToLower(strings.Join(n.Start().Names(), ",")), file)
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
	fmt.Fprint(w, "A kernel with kprobes and BPF trampolines (fentry) and the capabilities above has every hook.\n")
}

// reportCloses reports where closes come from that are told alone. It tries the programs that
// keep them.
func reportCloses(w io.Writer, opts tracer.Options) {
	opts.Closes, opts.Logs = tracer.ClosesAlone, false
	from := "user: all changes are read, and the others left out"
	if t, err := tracer.Open(opts); err == nil {
		if t.KeepsCloses() {
			from = "kernel: what leads to them is kept there"
		}
		_ = t.Close() // it was only tried
	}
	fmt.Fprintf(w, "\nCloses alone (--events=close) come from the %s.\n", from)
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
