package tracer

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
)

// timers are the addresses of the kernel's timer functions of timewait and request
// sockets; 0: hidden.
type timers struct{ tw, reqsk uint64 }

// timerFunctions finds the timer functions in kallsyms, where the kernel may hide the
// addresses (kptr_restrict, or no CAP_SYSLOG).
func timerFunctions(kallsyms string) (found timers) {
	f, err := os.Open(kallsyms)
	if err != nil {
		return found
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 256<<10)
	for found.tw == 0 || found.reqsk == 0 {
		line, err := r.ReadSlice('\n')
		if err != nil {
			break
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		switch {
		case bytes.HasSuffix(line, []byte(" tw_timer_handler")):
			found.tw = symbolAddress(line)
		case bytes.HasSuffix(line, []byte(" reqsk_timer_handler")):
			found.reqsk = symbolAddress(line)
		}
	}
	return found
}

// symbolAddress reads the address of a line of kallsyms; 0 where there is none.
func symbolAddress(line []byte) uint64 {
	hex, _, _ := bytes.Cut(line, []byte(" "))
	n, err := strconv.ParseUint(string(hex), 16, 64)
	if err != nil {
		return 0
	}
	return n
}
