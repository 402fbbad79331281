package view

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Exit statuses of netstat.
const (
	StatusFailed   = 1   // a view could not be shown
	StatusUsage    = 3   // the options ask for what there is not
	StatusInternal = 255 // a file could not be read for another reason than its absence
)

// An Error ends a run with an exit status of netstat.
type Error struct {
	Status int
	// Message is what is still to be printed on stderr. It is empty if all that
	// netstat prints in such a case has been printed.
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the view failed with status %d", e.Status)
	}
	return e.Message
}

// Errorf returns an Error of the commonest status with a message.
func Errorf(format string, args ...any) error {
	return &Error{StatusFailed, fmt.Sprintf(format, args...)}
}

// warn prints a line on stderr.
func (s *session) warn(format string, args ...any) {
	fmt.Fprintf(s.env.Stderr, format+"\n", args...)
}

// fail prints a line on stderr and returns the error that ends the run.
func (s *session) fail(status int, format string, args ...any) error {
	s.warn(format, args...)
	return &Error{Status: status}
}

// failInText is fail, with StatusFailed, for a message that netstat prints on
// stdout. It is no record, so in JSON it goes to stderr.
func (s *session) failInText(format string, args ...any) error {
	w := s.env.Stderr
	if !s.opts.JSON {
		w = s.env.Stdout
	}
	fmt.Fprintf(w, format+"\n", args...)
	return &Error{Status: StatusFailed}
}

// A table is a file of the kernel and what its absence means.
type table struct {
	subject string // what netstat says the kernel lacks without it
	path    string // as netstat spells it; empty: as the error has it
	named   bool   // it was asked for by name: its absence is a failure
	quiet   bool   // its absence is not reported, even with -v
}

// unreadable reports that a table could not be opened. The absence of one that
// was not asked for by name is no error.
func (s *session) unreadable(t table, err error) error {
	switch {
	case !absent(err):
		return s.openFailure(t.path, err)
	case t.named:
		return s.fail(StatusFailed, noSupport, t.subject)
	case s.opts.Verbose && !t.quiet:
		s.warn(noSupport, t.subject)
	}
	return nil
}

const noSupport = "netstat: no support for `%s' on this system."

// openFailure ends the run because a file could not be opened for another
// reason than its absence.
func (s *session) openFailure(path string, err error) error {
	var file *fs.PathError
	if path == "" {
		if !errors.As(err, &file) {
			return err
		}
		path = file.Path
	}
	return s.fail(StatusInternal, "%s: %s", path, reason(err))
}

// absent reports whether a file could not be opened because the kernel does not
// have what it would hold. As in netstat, a file that may not be read counts.
func absent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EACCES)
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
