package sink

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// written is what the writing goroutine has done, for others to ask.
type written struct {
	mu      sync.Mutex
	sum     WrittenStats
	failure error       // after which nothing is taken any more
	closing bool        // no more lines come
	failing atomic.Bool // the last thing that was tried failed
	dead    atomic.Bool // failure is set
}

func (w *written) up(is bool) { w.failing.Store(!is) }

func (w *written) isUp() bool { return !w.failing.Load() }

// took counts what the place has taken.
func (w *written) took(records, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sum.Records += uint64(records)
	w.sum.Bytes += uint64(bytes)
	w.sum.Last = time.Now()
}

// failed counts an error.
func (w *written) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sum.Errors++
	var errno syscall.Errno // stays 0 for errors that are none of the system's
	_ = errors.As(err, &errno)
	for i := range w.sum.ByErrno {
		if w.sum.ByErrno[i].Errno == errno {
			w.sum.ByErrno[i].Count++
			return
		}
	}
	w.sum.ByErrno = append(w.sum.ByErrno, ErrnoCount{errno, 1})
}

func (w *written) reopened() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sum.Reopenings++
}

// die keeps the error after which nothing is taken any more.
func (w *written) die(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = err
	w.dead.Store(true)
}

// fatal returns the error after which nothing is taken any more.
func (w *written) fatal() error {
	if !w.dead.Load() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

func (w *written) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closing = true
}

func (w *written) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing
}

func (w *written) stats() WrittenStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := w.sum
	sum.ByErrno = append([]ErrnoCount(nil), sum.ByErrno...)
	sum.Up = !w.failing.Load()
	return sum
}
