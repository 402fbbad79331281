// Command nettrace shows the network stack of a Linux machine: every view of
// netstat (net-tools 2.10) byte for byte, and with -c the state transitions of
// TCP sockets as the kernel makes them.
//
// This package is the command line: it reads argv as getopt_long does, turns
// it into options, and wires snapshot, tracer and output together. Only here
// are flags, the standard streams, signals and exit statuses known.
package main

import "os"

func main() {
	os.Exit(int(run(newEnv(), os.Args)))
}
