package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// env is what the process was given: its name and its streams. Tests make
// their own.
type env struct {
	argv0  string
	stdout flusher
	stderr io.Writer
	// lookupEnv reads a variable of the environment.
	lookupEnv func(string) (string, bool)
	// selinux says whether SELinux is enabled on this machine.
	selinux func() bool
}

// flusher is a buffered output stream.
type flusher interface {
	io.Writer
	Flush() error
}

func newEnv() *env {
	return &env{
		argv0:     os.Args[0],
		stdout:    newStdout(os.Stdout, isTerminal(os.Stdout)),
		stderr:    os.Stderr,
		lookupEnv: os.LookupEnv,
		selinux:   selinuxEnabled,
	}
}

// isNetstat reports whether the program was called by the name netstat, as a
// replacement for it: then -c repeats the views instead of streaming.
func (e *env) isNetstat() bool { return filepath.Base(e.argv0) == "netstat" }

// stdioBuffer is the size of the C library's buffer for a pipe or a file.
// Where both streams go to one place, it decides between which lines of stdout
// a line of stderr appears, so it is kept.
const stdioBuffer = 4096

// newStdout buffers w as the C library's stdout: by line on a terminal, else
// by stdioBuffer.
func newStdout(w io.Writer, terminal bool) flusher {
	b := bufio.NewWriterSize(w, stdioBuffer)
	if terminal {
		return lineWriter{b}
	}
	return b
}

// lineWriter flushes whatever ends in a newline.
type lineWriter struct{ *bufio.Writer }

func (w lineWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err == nil && bytes.IndexByte(p, '\n') >= 0 {
		err = w.Flush()
	}
	return n, err
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

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
