// Command nettrace shows the network stack of a Linux machine: every view of
// netstat (net-tools 2.10) byte for byte, and with -c the state transitions of
// TCP sockets as the kernel makes them.
//
// This package is the command line: it reads argv as getopt_long does, turns
// it into options, and wires snapshot, tracer and output together. Only here
// are flags, the standard streams, signals and exit statuses known.
package main

import (
	"os"
	"runtime"
	"slices"
	"strings"
)

// Another network namespace (--netns) must be entered by the main thread, as
// /proc/net shows that of the main thread whichever thread reads it. Locked
// here, the main goroutine stays on it; show lets go where there is no need.
// Locking starts another thread, so it is done only where a word may be the
// option, of which this is the shortest form that netstat's leave.
func init() {
	if slices.ContainsFunc(os.Args, func(w string) bool { return strings.HasPrefix(w, "--netn") }) {
		runtime.LockOSThread()
	}
}

func main() {
	os.Exit(int(run(newEnv(), os.Args)))
}
