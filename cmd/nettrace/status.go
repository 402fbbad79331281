package main

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/nettrace/nettrace/output"
)

// status is the exit status of the process. The values are netstat's.
type status int

const (
	statusOK       status = 0
	statusFailed   status = 1   // a view could not be shown
	statusUsage    status = 3   // the command line asks for what cannot be
	statusPipe     status = 141 // the reader of stdout went away (128 + SIGPIPE)
	statusInternal status = 255 // a file could not be opened for a reason that is not its absence
)

// usageError is a command line that cannot be followed. Its message, if any,
// is what getopt would print after the program's name; the usage text follows.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// viewError ends the run with a status and lines for stderr, which are printed
// as they are.
type viewError struct {
	status status
	lines  string // without the last newline; may be empty
}

func (e *viewError) Error() string { return e.lines }

// failf makes the commonest viewError.
func failf(format string, args ...any) error {
	return &viewError{statusFailed, fmt.Sprintf(format, args...)}
}

// report tells the user why the run ended and gives the exit status for it.
func report(e *env, err error) status {
	var usage *usageError
	var view *viewError
	var failure *output.FailureError
	switch {
	case err == nil:
		return statusOK
	case errors.As(err, &usage):
		if usage.message != "" {
			fmt.Fprintf(e.stderr, "%s: %s\n", e.argv0, usage.message)
		}
		fmt.Fprint(e.stderr, usageText)
		return statusUsage
	case errors.As(err, &view):
		if view.lines != "" {
			fmt.Fprintln(e.stderr, view.lines)
		}
		return view.status
	case errors.As(err, &failure):
		return status(failure.Status)
	case errors.Is(err, syscall.EPIPE):
		return statusPipe
	default:
		fmt.Fprintf(e.stderr, "nettrace: %v\n", err)
		return statusFailed
	}
}
