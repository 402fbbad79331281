package main

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/nettrace/nettrace/internal/filter"
	"github.com/nettrace/nettrace/internal/option"
	"github.com/nettrace/nettrace/internal/outputs"
	"github.com/nettrace/nettrace/internal/view"
)

// status is the exit status of the process. The values are netstat's.
type status int

const (
	statusOK     status = 0
	statusFailed status = view.StatusFailed
	statusUsage  status = view.StatusUsage
	statusPipe   status = 141 // the reader of stdout went away (128 + SIGPIPE)
)

// usageError is a command line that cannot be followed. Its message, if any,
// is what getopt would print after the program's name; the usage text follows.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// report prints why the run ended, unless the view did, and returns the exit status.
func report(e *env, err error) status {
	var wrong *option.Error
	if errors.As(err, &wrong) {
		err = &usageError{wrong.Error()}
	}
	var usage *usageError
	var failure *view.Error
	var expression *filter.Error
	switch {
	case err == nil:
		return statusOK
	case errors.As(err, &usage):
		if usage.message != "" {
			fmt.Fprintf(e.stderr, "%s: %s\n", e.argv0, usage.message)
		}
		fmt.Fprint(e.stderr, usageText)
		return statusUsage
	case errors.As(err, &expression):
		fmt.Fprintf(e.stderr, "nettrace: %v\n", expression)
		return statusUsage
	case errors.As(err, &failure):
		if failure.Message != "" {
			fmt.Fprintln(e.stderr, failure.Message)
		}
		return status(failure.Status)
	case errors.Is(err, outputs.ErrTold):
		return statusFailed
	case errors.Is(err, syscall.EPIPE):
		return statusPipe
	default:
		fmt.Fprintf(e.stderr, "nettrace: %v\n", err)
		return statusFailed
	}
}
