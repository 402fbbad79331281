package privilege

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
)

// ErrOneThread is returned where the program is linked with the C library: then the Go
// runtime does not know all threads, and cannot have each of them give something up.
var ErrOneThread = errors.New("this build is linked with the C library (CGO_ENABLED=1), and cannot give up privileges on every thread")

// Drop gives up, on every thread and for good, all capabilities but those of a set, and
// of these keeps those that are there: effective and permitted ones; none is inheritable or
// ambient. CAP_SETPCAP stays for Bound, where it is there. No program that this process may
// start gets more (no_new_privs). It returns what is left after Bound.
func Drop(keep capability.Set) (capability.Set, error) {
	had, err := capability.Permitted()
	if err != nil {
		return 0, err
	}
	if err := everywhere("no_new_privs", unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return had, err
	}
	if err := everywhere("ambient capabilities", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return had, err
	}
	return had & keep, set(had & (keep | setpcap))
}

var setpcap = capability.Of(unix.CAP_SETPCAP)

// Bound takes all capabilities but those of a set, which Drop has left, out of the bounding
// set, where this process may say so, and gives up CAP_SETPCAP. It is a call for each
// capability and thread, for which all of the process stops: some 10 ms on a busy host. With
// no_new_privs set, the bounding set gives nothing to anybody, so this can wait.
func Bound(left capability.Set) error {
	had, err := capability.Permitted()
	if err != nil || !had.Has(unix.CAP_SETPCAP) {
		return err
	}
	for n := range uint(64) {
		// 0 for those that the kernel does not have, as well.
		if in, _ := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); in == 0 || left.Has(n) {
			continue
		}
		if err := everywhere("the bounding set", unix.PR_CAPBSET_DROP, uintptr(n)); err != nil {
			return err
		}
	}
	return set(left)
}

// set sets the effective and permitted capabilities of every thread.
func set(s capability.Set) error {
	header, data := words(s, s)
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(data)), 0)
	return failed("capabilities", errno)
}

// words returns the arguments of capset(2).
func words(effective, permitted capability.Set) (*unix.CapUserHeader, *[2]unix.CapUserData) {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &[2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32)},
	}
}

// everywhere calls prctl(2) on every thread, those of the runtime included.
func everywhere(what string, option, value uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, option, value, 0)
	return failed(what, errno)
}

func failed(what string, errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP:
		return ErrOneThread
	}
	return fmt.Errorf("give up privileges: %s: %w", what, errno)
}

// Without calls f on a thread that has no capabilities but those of a set, and returns
// its error: what the kernel refuses there it would refuse the whole process after Drop.
func Without(keep capability.Set, f func() error) error {
	permitted, err := capability.Permitted()
	if err != nil {
		return err
	}
	effective, err := capability.Effective()
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := lower(effective&keep, permitted)
		if err == nil {
			err = f()
		}
		// Back again: until the thread is gone, everywhere calls on it as on the others.
		result <- errors.Join(err, lower(effective, permitted))
	}()
	return <-result
}

// lower sets the capabilities of the calling thread.
func lower(effective, permitted capability.Set) error {
	header, data := words(effective, permitted)
	if err := unix.Capset(header, &data[0]); err != nil {
		return fmt.Errorf("try without privileges: %w", err)
	}
	return nil
}
