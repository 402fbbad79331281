package tracer

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot finds where the whole cgroup v2 hierarchy is mounted.
func cgroupRoot(mountinfo string) (string, error) {
	b, err := os.ReadFile(mountinfo)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		// "36 35 98:0 / MOUNTPOINT options - TYPE source …", proc(5)
		before, after, found := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if found && len(fields) > 4 && fields[3] == "/" && strings.HasPrefix(after, "cgroup2 ") {
			return fields[4], nil
		}
	}
	return "", errNoCgroup2
}

var errNoCgroup2 = errors.New("no cgroup v2 hierarchy is mounted")

// mountCgroup mounts the cgroup v2 hierarchy outside of every mount namespace and
// returns a descriptor of its root. It goes with the descriptor.
func mountCgroup() (int, error) {
	fs, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mount the cgroup v2 hierarchy: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("mount the cgroup v2 hierarchy: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("mount the cgroup v2 hierarchy: %w", err)
	}
	return fd, nil
}
