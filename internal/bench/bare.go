package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/nettrace/nettrace/internal/load"
)

// bare is the least that a tracer of transitions can do: one BPF program that
// writes time, socket and states to a ring buffer. The buffer is never read: it is
// large enough for a whole round.
var bare = &peer{name: "bare program"}

const (
	bareRecord    = 32 // bytes
	ringHeader    = 8  // of each record, kernel/bpf/ringbuf.c
	noWakeup      = 1  // BPF_RB_NO_WAKEUP
	traceArgBytes = 8  // an argument of a tracepoint in a program's context
)

// attachBare attaches the program, with a ring buffer for twice the transitions of
// that many connections.
func attachBare(connections int) (closeAll func() error, err error) {
	size := os.Getpagesize()
	for size < 2*connections*len(nettrace.walk)*(bareRecord+ringHeader) {
		size *= 2
	}
	ring, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(size)})
	if err != nil {
		return nil, fmt.Errorf("the bare program's ring buffer: %w", err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "bare", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "inet_sock_set_state", License: "GPL",
		Instructions: bareInstructions(ring),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load the bare program: %w", err), ring.Close())
	}
	attached, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach the bare program: %w", err), program.Close(), ring.Close())
	}
	return func() error { return errors.Join(attached.Close(), program.Close(), ring.Close()) }, nil
}

// bareInstructions reserve a record, fill it and submit it.
func bareInstructions(ring *ebpf.Map) asm.Instructions {
	store := func(field int, from asm.Register) asm.Instruction {
		return asm.StoreMem(asm.R7, int16(field), from, asm.DWord)
	}
	argument := func(n int, into asm.Register) asm.Instruction {
		return asm.LoadMem(into, asm.R6, int16(n*traceArgBytes), asm.DWord)
	}
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMapPtr(asm.R1, ring.FD()),
		asm.Mov.Imm(asm.R2, bareRecord),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnRingbufReserve.Call(),
		asm.JEq.Imm(asm.R0, 0, "full"),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.FnKtimeGetNs.Call(),
		store(0, asm.R0),
		argument(0, asm.R1),
		asm.FnGetSocketCookie.Call(),
		store(8, asm.R0),
		argument(1, asm.R1),
		store(16, asm.R1),
		argument(2, asm.R1),
		store(24, asm.R1),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.Mov.Imm(asm.R2, noWakeup),
		asm.FnRingbufSubmit.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("full"),
		asm.Return(),
	}
}

// bareChurn makes connections with the bare program attached.
func (b *bench) bareChurn(s *scene, c *churn) (err error) {
	detach, err := attachBare(c.connections)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, detach()) }()
	if c.took, err = s.connect(firstConnection, c.connections, load.FIN); err != nil {
		return err
	}
	ran, err := bpfRuns(os.Getpid())
	c.programs = bpfSince(nil, ran)
	for _, p := range c.programs {
		c.others += int(p.count)
	}
	return err
}
