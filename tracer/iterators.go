package tracer

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/cilium/ebpf/link"
)

// filesIters are the programs that go through all open files.
func (h *hooks) filesIters() (programs []string) {
	if h.chosen[Files] != "" {
		programs = append(programs, streamProgFiles)
	}
	if h.chosen[SocketFiles] != "" {
		programs = append(programs, socketsProgSocketFiles)
	}
	return programs
}

// readFiles has them go.
func (h *hooks) readFiles() error {
	for _, program := range h.filesIters() {
		if err := h.runIter(program); err != nil {
			return err
		}
	}
	return nil
}

// runIter has an iterator write its records into the ring buffer.
func (h *hooks) runIter(program string) error {
	iter, ok := h.links[program].(*link.Iter)
	if !ok {
		return fmt.Errorf("iterator %s is not attached", program)
	}
	r, err := iter.Open()
	if err != nil {
		return fmt.Errorf("open iterator %s: %w", program, err)
	}
	defer r.Close()
	buf := make([]byte, 4096)
	for {
		_, err := r.Read(buf)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, syscall.EAGAIN):
			time.Sleep(time.Millisecond) // the ring is full: let it be read
		case err != nil:
			return fmt.Errorf("read iterator %s: %w", program, err)
		}
	}
}
