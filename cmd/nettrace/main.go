// The runtime would look for a CPU quota of the cgroup, which is some of the start of a view.
// A view has little to do at a time, and a stream bounds its threads itself.

//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

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

	"github.com/nettrace/nettrace/internal/option"
)

// The main thread must enter the network namespace of --netns, as /proc/net shows
// that of the main thread whichever thread reads it. Locked here, the main
// goroutine stays on that thread; show lets go where there is no need.
// LockOSThread starts a second thread, so it is called only if a word of the
// command line may be the option.
func init() {
	if slices.ContainsFunc(os.Args, meansNetns) {
		runtime.LockOSThread()
	}
}

// meansNetns reports whether a word, read as an option, is --netns.
func meansNetns(word string) bool {
	name, long := strings.CutPrefix(word, "--")
	if !long {
		return false
	}
	name, _, _ = strings.Cut(name, "=")
	o := option.NewTable(optionTable(new(options))).ByName(name)
	return o != nil && o.Name == "netns"
}

func main() {
	os.Exit(int(run(newEnv(), os.Args)))
}
