// Package clock reads the clock that the kernel's events are stamped with, and
// converts its times to those of the wall clock.
//
// Events have the time of bpf_ktime_get_ns: CLOCK_MONOTONIC as the host has it, also
// where this process is in a time namespace and reads a shifted one.
package clock

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Now returns the time of bpf_ktime_get_ns, in ns.
func Now() uint64 { return uint64(read(unix.CLOCK_MONOTONIC) - namespaceShift()) }

// read reads a clock, in ns.
func read(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0 // cannot fail for the clocks of this package
	}
	return ts.Nano()
}

// namespaceShift is how far CLOCK_MONOTONIC is ahead of the host's in this process,
// in ns. A process cannot change that of its own: it is fixed when the first process
// enters the namespace (proc_timens_set_offset, kernel/time/namespace.c, 6.12).
var namespaceShift = sync.OnceValue(func() int64 { return shiftOf("/proc/self") })

// shiftOf reads the shift of a process from its directory below /proc. The kernel
// shows that of the namespace which its children will be in (timens_offsets_show,
// fs/proc/base.c, 6.12). Where that is another than its own, unshare(CLONE_NEWTIME)
// made it, without a fork; its own is then taken to be the host's.
func shiftOf(proc string) int64 {
	own, err1 := os.Readlink(filepath.Join(proc, "ns/time"))
	children, err2 := os.Readlink(filepath.Join(proc, "ns/time_for_children"))
	if err1 != nil || err2 != nil || own != children {
		return 0 // before 5.6 there are none
	}
	f, err := os.Open(filepath.Join(proc, "timens_offsets"))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var seconds, nanoseconds int64
		if n, _ := fmt.Sscanf(lines.Text(), "monotonic %d %d", &seconds, &nanoseconds); n == 2 {
			return seconds*1e9 + nanoseconds
		}
	}
	return 0
}
