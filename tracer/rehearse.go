package tracer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Rehearse does once all that a run asks BPF for while it goes on. The first time it has
// package ebpf find out what the kernel can, for which it loads programs; after that it
// tells whether the privilege of the calling thread suffices for the run. It must not be
// called while Run runs.
func (t *Tracer) Rehearse() error {
	if _, err := t.losses.count(streamCountCOUNT_DROPPED); err != nil {
		return fmt.Errorf("read a map: %w", err)
	}
	if err := t.witness.rehearse(); err != nil {
		return fmt.Errorf("read a map: %w", err)
	}
	if err := t.kept.rehearse(); err != nil {
		return err
	}
	err := t.hooks.maps.Maps[streamMapProcesses].Delete(uint32(0)) // which no process has
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete from a map: %w", err)
	}
	for _, p := range t.hooks.programs {
		if _, err := p.Stats(); errors.Is(err, unix.EPERM) {
			return fmt.Errorf("ask for the statistics of a program: %w", err)
		}
		break // one is as good as all
	}
	if iter, ok := t.hooks.links[streamProgFiles].(*link.Iter); ok {
		r, err := iter.Open()
		if err != nil {
			return fmt.Errorf("open an iterator: %w", err)
		}
		r.Close()
	}
	if err := t.sockets.looks.rehearse(); err != nil {
		return err
	}
	return t.refresher.rehearse()
}

// rehearse reads what is kept, and deletes of it what is not there.
func (k *kept) rehearse() error {
	if k.lives == nil {
		return nil
	}
	_, err := k.named()
	if gone := k.acceptors.Delete(uint64(0)); !errors.Is(gone, ebpf.ErrKeyNotExist) {
		err = errors.Join(err, gone)
	}
	return errors.Join(err, k.lives.rehearse(), k.fine.Lookup(uint32(0), &k.perCPU), k.stopped.Lookup(uint32(0), &k.latest))
}

func (w *witness) rehearse() error {
	if w.last == nil {
		return nil
	}
	return w.last.Lookup(uint32(0), &w.kept)
}

// rehearse runs the program on no socket.
func (r *refresher) rehearse() error {
	if r.program == nil {
		return nil
	}
	if _, err := r.program.Run(&ebpf.RunOptions{Context: streamRefreshArgs{}}); err != nil {
		return fmt.Errorf("run a program: %w", err)
	}
	return nil
}
