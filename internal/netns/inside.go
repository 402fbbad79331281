package netns

import (
	"runtime"
	"sync"
)

// Inside is a thread that stays in a network namespace: going there takes privilege once.
type Inside struct {
	one     sync.Mutex // of those who call Do
	calls   chan func() error
	results chan error
}

// Stay has a new thread enter the namespace.
func (n *Namespace) Stay() (*Inside, error) {
	i := &Inside{calls: make(chan func() error), results: make(chan error)}
	go i.serve(n)
	if err := <-i.results; err != nil {
		return nil, err
	}
	return i, nil
}

func (i *Inside) serve(n *Namespace) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	err := n.Enter()
	i.results <- err
	if err != nil {
		return
	}
	for f := range i.calls {
		i.results <- f()
	}
}

// Do calls f on the thread and waits for it. f must not call Do.
func (i *Inside) Do(f func() error) error {
	i.one.Lock()
	defer i.one.Unlock()
	i.calls <- f
	return <-i.results
}

// Close ends the thread.
func (i *Inside) Close() { close(i.calls) }
