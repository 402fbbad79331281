package sink

import (
	"testing"

	"golang.org/x/sys/unix"
)

// blockOpen keeps the process from opening files until the function it returns is
// called. Tests of this package run one at a time.
func blockOpen(t *testing.T) func() {
	t.Helper()
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: old.Max}))
	return func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) }
}
