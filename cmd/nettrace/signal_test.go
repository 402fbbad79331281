package main

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestOnSignal stops waiting for signals while they come: nothing breaks, and they
// are handled until then.
func TestOnSignal(t *testing.T) {
	var handled atomic.Int64
	over := make(chan struct{})
	sender := make(chan error, 1)
	go func() {
		for {
			select {
			case <-over:
				sender <- nil
				return
			default:
			}
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
				sender <- err
				return
			}
		}
	}()
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end) || handled.Load() == 0; {
		stop := onSignal(syscall.SIGUSR1, func() { handled.Add(1) })
		time.Sleep(50 * time.Microsecond)
		stop()
	}
	close(over)
	if err := <-sender; err != nil {
		t.Error(err)
	}
}
