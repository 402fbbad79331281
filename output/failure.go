package output

import (
	"errors"
	"fmt"
	"io"
	"syscall"
)

// A FailureError ends a run with an exit status of netstat. What netstat prints in
// such a case has been printed.
type FailureError struct{ Status int }

func (f *FailureError) Error() string { return fmt.Sprintf("view failed with status %d", f.Status) }

// tell prints a message as a line.
func tell(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, format+"\n", args...)
}

// failed prints a message as a line and gives the Failure that goes with it.
func failed(w io.Writer, status int, format string, args ...any) error {
	tell(w, format, args...)
	return &FailureError{status}
}

// reason spells the cause of an error as the C library does.
func reason(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := []byte(errno.Error())
	if text[0] >= 'a' && text[0] <= 'z' {
		text[0] -= 'a' - 'A'
	}
	return string(text)
}

// lacks reports whether a file could not be opened because it is not there for
// this user, which netstat takes as the kernel's lack of its subject.
func lacks(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EACCES)
}

// missing says why the file of a subject could not be opened.
func missing(diag io.Writer, subject, path string, err error) error {
	if lacks(err) {
		return failed(diag, 1, "netstat: no support for `%s' on this system.", subject)
	}
	return failed(diag, 255, "%s: %s", path, reason(err))
}
