// Package capability says which capabilities of capabilities(7) this process
// has, and why BPF is refused to it.
package capability

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Set is a set of capabilities: bit n is the capability of number n, as in
// include/uapi/linux/capability.h.
type Set uint64

// Has reports whether the capability of a number (unix.CAP_*) is in the set.
func (s Set) Has(number uint) bool { return s>>number&1 == 1 }

// Allows reports whether the set allows what a capability is for. CAP_SYS_ADMIN
// stands for those that were split off from it for BPF.
func (s Set) Allows(number uint) bool {
	switch number {
	case unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN:
		return s.Has(number) || s.Has(unix.CAP_SYS_ADMIN)
	}
	return s.Has(number)
}

// Of returns the set of capabilities with those numbers (unix.CAP_*).
func Of(numbers ...uint) (s Set) {
	for _, n := range numbers {
		s |= 1 << n
	}
	return s
}

// names are those of capabilities(7), by number.
var names = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// Names returns the names of the capabilities in the set, such as CAP_BPF, in the order
// of their numbers.
func (s Set) Names() (list []string) {
	for n := range uint(64) {
		switch {
		case !s.Has(n):
		case n < uint(len(names)):
			list = append(list, "CAP_"+names[n])
		default:
			list = append(list, "capability "+strconv.FormatUint(uint64(n), 10))
		}
	}
	return list
}

// String returns the names with commas in between, or "none".
func (s Set) String() string {
	if s == 0 {
		return "none"
	}
	return strings.Join(s.Names(), ", ")
}

// Effective returns the capabilities that count for this process now.
func Effective() (Set, error) { return Read("/proc/self/status", "CapEff") }

// Permitted returns the capabilities that this process may use.
func Permitted() (Set, error) { return Read("/proc/self/status", "CapPrm") }

// Read returns a set of a status file of proc(5): CapInh, CapPrm, CapEff, CapBnd or CapAmb.
func Read(path, which string) (Set, error) {
	status, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	s, err := Parse(string(status), which)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Parse returns a set of the text of a status file.
func Parse(status, which string) (Set, error) {
	for line := range strings.Lines(status) {
		if text, ok := strings.CutPrefix(line, which+":"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return Set(bits), err
		}
	}
	return 0, fmt.Errorf("no line %s", which)
}
