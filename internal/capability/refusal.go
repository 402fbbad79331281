package capability

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Explain adds to an error of loading BPF programs why this process cannot load
// them, where that is known. Another error is returned as it is.
func Explain(err error) error {
	var why string
	switch {
	case errors.Is(err, syscall.EPERM):
		why = whyRefused("/proc")
	case errors.Is(err, fs.ErrNotExist) && !SysMounted():
		why = "/sys is not mounted: mount -t sysfs sysfs /sys"
	}
	if err = withoutAdvice(err); why == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, why)
}

// SysMounted reports whether /sys is there. It has the kernel's types, and the
// number of processors, without which no BPF program loads.
func SysMounted() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys", &st) == nil && st.Type == unix.SYSFS_MAGIC
}

// advice is what package ebpf adds to every EPERM. The limit was raised, and counts
// before Linux 5.11 alone.
const advice = " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)"

// withoutAdvice leaves it out.
func withoutAdvice(err error) error {
	if text := err.Error(); strings.Contains(text, advice) {
		return &reworded{strings.ReplaceAll(text, advice, ""), err}
	}
	return err
}

// reworded is an error with another text.
type reworded struct {
	text string
	err  error
}

func (r *reworded) Error() string { return r.text }

func (r *reworded) Unwrap() error { return r.err }

// whyRefused says why bpf(2) fails with EPERM; empty: it is not known.
func whyRefused(proc string) string {
	if missing := missingForBPF(); len(missing) > 0 {
		return strings.Join(missing, ", ") + " missing: run as root, or grant them with setcap"
	}
	switch {
	case inUserNamespace(proc):
		return "the capabilities of this process hold in its user namespace only, and BPF needs those of the host"
	case filtered():
		return "a seccomp filter refuses bpf(2) to this process, as those of containers do by default"
	}
	return "the capabilities are there, so it is the machine's policy (a security module)"
}

// missingForBPF names the capabilities without which no BPF program loads.
func missingForBPF() []string {
	caps, err := Effective()
	if err != nil {
		return nil
	}
	var missing []string
	if !caps.Allows(unix.CAP_BPF) {
		missing = append(missing, "CAP_BPF")
	}
	if !caps.Allows(unix.CAP_PERFMON) {
		missing = append(missing, "CAP_PERFMON")
	}
	return missing
}

// inUserNamespace reports whether this process is in another user namespace than the
// first one, whose map of users is the only one that the kernel makes: all of them.
func inUserNamespace(proc string) bool {
	mapping, err := os.ReadFile(filepath.Join(proc, "self/uid_map"))
	return err == nil && !bytes.Equal(bytes.Join(bytes.Fields(mapping), []byte(" ")), []byte("0 0 4294967295"))
}

// filtered reports whether bpf(2) is refused before the kernel looks at its
// arguments: it has no such command, and says so (EINVAL) to who may call it. A
// security module could do the same, but has no filter installed.
func filtered() bool {
	const noCommand = 1 << 30
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	_, _, errno := unix.Syscall(unix.SYS_BPF, noCommand, 0, 0)
	return err == nil && mode == unix.SECCOMP_MODE_FILTER && errno == unix.EPERM
}
