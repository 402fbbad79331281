package privilege

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
)

// ErrNoUser is returned for a user that there is not.
var ErrNoUser = errors.New("there is no such user")

// Become has this process go on as another user, named by a name or a number, with the
// user's group alone. It keeps those of its capabilities that Features need, so that the
// hooks can be attached and files are the user's from the start. An empty name is
// the present user.
func Become(user string) error {
	if user == "" {
		return nil
	}
	uid, gid, err := lookUp("/etc/passwd", user)
	if err != nil {
		return fmt.Errorf("go on as user %s: %w", user, err)
	}
	if err := become(uid, gid); err != nil {
		return fmt.Errorf("go on as user %s: %w", user, err)
	}
	return nil
}

func become(uid, gid int) error {
	had, err := capability.Permitted()
	if err != nil {
		return err
	}
	if err := everywhere("keep capabilities", unix.PR_SET_KEEPCAPS, 1); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return syscall.Setgroups(nil) },
		func() error { return syscall.Setresgid(gid, gid, gid) },
		func() error { return syscall.Setresuid(uid, uid, uid) },
	} {
		if err := step(); errors.Is(err, unix.EPERM) {
			return fmt.Errorf("%w (it needs CAP_SETUID and CAP_SETGID: run as root)", err)
		} else if err != nil {
			return err
		}
	}
	// Files are the business of the user alone: none of its capabilities passes over
	// their permissions.
	return set(had & all() &^ capability.Of(unix.CAP_DAC_OVERRIDE, unix.CAP_SETUID, unix.CAP_SETGID))
}

// lookUp finds the numbers of a user and of its group in a file like passwd(5). A number
// that has no entry is a user with the group of the same number.
func lookUp(passwd, user string) (uid, gid int, err error) {
	number, notNumber := strconv.ParseUint(user, 10, 31)
	text, err := os.ReadFile(passwd)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(line, ":")
		if len(columns) < 4 || columns[0] != user && columns[2] != user {
			continue
		}
		uid, errUID := strconv.ParseUint(columns[2], 10, 31)
		gid, errGID := strconv.ParseUint(columns[3], 10, 31)
		if errUID == nil && errGID == nil {
			return int(uid), int(gid), nil
		}
	}
	if notNumber != nil {
		return 0, 0, ErrNoUser
	}
	return int(number), int(number), nil
}
