package capability

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
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
		why = circumstances("/proc").why()
	case errors.Is(err, fs.ErrNotExist) && !SysMounted():
		why = "/sys is not mounted: mount -t sysfs sysfs /sys"
	case strings.Contains(err.Error(), noTypes):
		return fmt.Errorf("%w (%v)", ErrNoTypes, err)
	}
	if err = withoutAdvice(err); why == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, why)
}

// noTypes is in the error of package ebpf where the kernel's types are not found.
const noTypes = "no BTF found"

// ErrNoTypes says what is missing where the kernel's types are not there.
var ErrNoTypes = errors.New("this kernel has no BTF (/sys/kernel/btf/vmlinux), the types that programs are fitted to: it takes one built with CONFIG_DEBUG_INFO_BTF=y, as those of distributions since 2020 are")

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

// refusal is what is known of this process when bpf(2) fails with EPERM.
type refusal struct {
	caps          Set
	userNamespace bool // it is not in the first one
	filtered      bool // by seccomp
	countsMaps    bool // against a limit, before Linux 5.11
	limited       bool // the limit is there
}

func circumstances(proc string) refusal {
	caps, err := Effective()
	if err != nil {
		caps = ^Set(0) // it is not known, so none is named as missing
	}
	var limit unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) // it cannot fail
	return refusal{caps, inUserNamespace(proc), filtered(), CountsMaps(), limit.Cur != unix.RLIM_INFINITY}
}

// why says why bpf(2) fails with EPERM.
func (r refusal) why() string {
	if missing := Of(unix.CAP_BPF, unix.CAP_PERFMON) &^ r.caps; missing != 0 && !r.caps.Has(unix.CAP_SYS_ADMIN) {
		return missing.String() + " missing: run as root, or grant them with setcap"
	}
	switch {
	case r.userNamespace:
		return "the capabilities of this process hold in its user namespace only, and BPF needs those of the host"
	case r.filtered:
		return "a seccomp filter refuses bpf(2) to this process, as those of containers do by default"
	case r.countsMaps && r.limited && !r.caps.Has(unix.CAP_SYS_RESOURCE):
		return "before Linux 5.11 the memory of BPF maps counts against a limit: CAP_SYS_RESOURCE missing, or lift it (ulimit -l unlimited; LimitMEMLOCK=infinity in a unit)"
	}
	return "the capabilities are there, so it is the machine's policy (a security module)"
}

// CountsMaps reports whether this kernel counts BPF maps against RLIMIT_MEMLOCK.
func CountsMaps() bool {
	var uts unix.Utsname
	return unix.Uname(&uts) == nil && older(unix.ByteSliceToString(uts.Release[:]), 5, 11)
}

// older reports whether a release such as 5.10.0-33-amd64 is before a version. What is no
// release is not.
func older(release string, major, minor int) bool {
	first, rest, _ := strings.Cut(release, ".")
	second, _, _ := strings.Cut(rest, ".")
	second, _, _ = strings.Cut(second, "-")
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(second)
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
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
