package tracer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/cilium/ebpf/link"
)

// A pass over the kernel's table, by iterators whose rows come by the ring buffer.

// passKind says what a pass over the kernel's table is for.
type passKind int

const (
	passInitial passKind = iota // the snapshot
	passResync                  // asked for, or after a loss
	passOwners                  // to find who accepted
)

func (t *Tracer) startPass(kind passKind) {
	if t.hooks.chosen[Rows] == "" {
		if kind == passInitial {
			t.keep(t.startFromProc())
		}
		t.nextPass = ^uint64(0)
		return
	}
	t.passing, t.rowsEnded, t.passKind = true, false, kind
	t.table.beginPass(monotonic(), kind == passInitial)
	go func() { t.passDone <- t.readRows(kind != passResync) }()
}

// readRows runs the iterators; their rows come by the ring buffer. An iterator
// sees the network namespace of the thread that opens it.
func (t *Tracer) readRows(withFiles bool) error {
	if !t.opts.AllNetns {
		return t.inNetns(func() error { return t.runIters(withFiles) })
	}
	runtime.LockOSThread() // and the thread ends with this goroutine
	paths, err := netnsPaths()
	if err != nil {
		return err
	}
	for i, path := range paths {
		if err := enterNetns(path); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue // its last process ended meanwhile
			}
			return err
		}
		if err := t.runIters(withFiles && i == len(paths)-1); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tracer) runIters(withFiles bool) error {
	if err := t.runIter(streamProgRows); err != nil {
		return err
	}
	if withFiles && t.hooks.chosen[Files] != "" {
		return t.runIter(streamProgFiles)
	}
	return nil
}

func (t *Tracer) runIter(program string) error {
	iter, ok := t.hooks.links[program].(*link.Iter)
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

// endPass is called when the iterators are done and the ring was read dry since.
func (t *Tracer) endPass() {
	err := t.passErr
	t.passing, t.passRead = false, false
	initial := t.passKind == passInitial
	now := monotonic()
	t.nextPass = now + uint64(max(t.opts.Reconcile, 0))
	t.nextOwnPass = now + max(uint64(ownPassInterval), ownPassRest*(now-t.table.passStart))
	if err != nil && initial {
		t.keep(err)
		return
	}
	// The record of its end may have found no room. The first pass, which all else
	// waits for, is taken as it is: it was read to the end, and the next one heals.
	t.passAsked = t.passAsked || err != nil || !t.rowsEnded
	if err != nil || !t.rowsEnded && !initial {
		t.table.abandonPass()
		return
	}
	t.learn()
	if initial && t.hooks.chosen[Files] == "" {
		t.keep(nameOwners(t.table, "/proc"))
	}
	r, again := t.table.endPass(monotonic())
	t.passAsked = t.passAsked || again
	if initial {
		t.tellSnapshot()
		return
	}
	if t.passKind == passOwners && r == (Resync{}) {
		return
	}
	t.stats.Resyncs++
	t.keep(t.handler.Resync(r))
}

func (t *Tracer) tellSnapshot() {
	took := time.Duration(monotonic() - t.started)
	t.keep(t.handler.Snapshot(t.table.initialRows, took))
	t.table.initialTold()
	t.ready = true
	for i := range t.held {
		h := &t.held[i]
		h.change.Conn = &h.conn
		if h.change.Close != nil {
			h.change.Close = &h.closed
		}
		t.keep(t.handler.Change(&h.change))
	}
	t.held = nil
}

// waitPass lets a pass under way come to its end before the maps are closed.
func (t *Tracer) waitPass() {
	for t.passing && !t.passRead {
		select {
		case err := <-t.passDone:
			t.passing = false
			t.keep(err)
		default:
			if t.ring.wait(pollInterval) != nil || t.ring.drain(func([]byte) bool { return true }) != nil {
				return
			}
		}
	}
}
