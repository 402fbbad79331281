// Package capability says which capabilities of capabilities(7) this process
// has, and why BPF is refused to it.
package capability

import (
	"errors"
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

// Effective returns the effective capabilities of this process.
func Effective() (Set, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return Set(bits), err
		}
	}
	return 0, errors.New("/proc/self/status has no CapEff line")
}
