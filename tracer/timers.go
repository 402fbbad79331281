package tracer

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

// The hooks for request and timewait sockets recognise them by the functions of
// their timers, which kallsyms names. The kernel may hide the addresses
// (kptr_restrict, or no CAP_SYSLOG). Then the programs learn them from the first timer
// that lies in such a socket (learn_mini, bpf/mini.c).

// findTimers finds the timer functions. Where the kernel cannot be asked for them it
// starts to look in the file, which takes the kernel some 30 ms.
func findTimers(h *hooks, kallsyms string) <-chan timers {
	found := make(chan timers, 1)
	if kallsyms == kernelSymbols && h.askTimers() == nil {
		found <- timers{} // the programs know them
		return found
	}
	go func() { found <- timerFunctions(kallsyms) }()
	return found
}

// kernelSymbols is the file that shows what the kernel can be asked for.
const kernelSymbols = "/proc/kallsyms"

// askTimers has a program ask the kernel, and keep what it answers for the others.
func (h *hooks) askTimers() error {
	p, err := h.objectOf(streamProgFindTimers).load(streamProgFindTimers, &h.set, h.types)
	if err != nil {
		return err
	}
	defer p.Close()
	failed, err := p.Run(new(ebpf.RunOptions))
	if err == nil && failed != 0 {
		err = errors.New("the kernel does not tell where its timer functions are")
	}
	return err
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
