package main

import (
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/stdio"
)

// env is what the process was given: its name and its streams. Tests make
// their own.
type env struct {
	argv0  string
	stdout *stdio.Out
	stderr io.Writer
	// terminal is what a person looks at, if one does.
	terminal stdio.Terminal
	// unread returns an error where nobody can read stdout.
	unread func() error
	// lookupEnv reads a variable of the environment.
	lookupEnv func(string) (string, bool)
	// selinux says whether SELinux is enabled on this machine.
	selinux func() bool
}

func newEnv() *env {
	t := stdio.NewTerminal(os.Stdout, os.Stderr, os.LookupEnv)
	return &env{
		argv0:     os.Args[0],
		stdout:    stdio.NewOut(stdio.Patient{File: os.Stdout}, t.Columns != nil),
		stderr:    os.Stderr,
		terminal:  t,
		unread:    func() error { return stdio.CheckReadable(os.Stdout) },
		lookupEnv: os.LookupEnv,
		selinux:   selinuxEnabled,
	}
}

// isNetstat reports whether the program was called by the name netstat, as a
// replacement for it: then -c repeats the views instead of streaming.
func (e *env) isNetstat() bool { return filepath.Base(e.argv0) == "netstat" }

// selinuxEnabled reports whether selinuxfs is mounted at one of its two places,
// which is how libselinux decides.
func selinuxEnabled() bool {
	for _, path := range []string{"/sys/fs/selinux", "/selinux"} {
		var st unix.Statfs_t
		if unix.Statfs(path, &st) == nil && uint32(st.Type) == unix.SELINUX_MAGIC {
			return true
		}
	}
	return false
}
