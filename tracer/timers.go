package tracer

import (
	"bytes"
	"fmt"
	"os"
)

// The hooks for request and timewait sockets recognise them by the functions of
// their timers, which kallsyms names. The kernel may hide the addresses
// (kptr_restrict, or no CAP_SYSLOG). Then the programs learn them from the first timer
// that lies in such a socket (learn_mini, bpf/mini.c).

// findTimers starts to look for the timer functions, which takes the kernel some
// 30 ms.
func findTimers(kallsyms string) <-chan timers {
	found := make(chan timers, 1)
	go func() { found <- timerFunctions(kallsyms) }()
	return found
}

// write hands the timer functions to the programs, both or none.
func (f timers) write(h *hooks) error {
	if f.tw == 0 || f.reqsk == 0 {
		return nil
	}
	for name, address := range map[string]uint64{
		streamVarTwTimerHandler: f.tw, streamVarReqskTimerHandler: f.reqsk,
	} {
		if err := h.maps.Variables[name].Set(address); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// realTime reports whether the kernel is built with PREEMPT_RT, from the file that
// says so. Others do not have it.
func realTime(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && bytes.HasPrefix(b, []byte("1"))
}
