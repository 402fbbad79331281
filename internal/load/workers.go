package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Workers returns the role that listens, and has n processes accept from its
// listener and connect to it, all at once, for d. Each of them closes some of its
// sockets and keeps the others until Stop. The number of connections is bounded.
func Workers(n int, d time.Duration) string { return fmt.Sprintf("workers %d %d", n, d) }

// How many connections a worker makes, and how many sockets it has open at a time.
const (
	workerConnects = 800
	workerSocks    = 200
)

func playWorkers(n int, d time.Duration) error {
	fd, err := listenAt(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, 64)
	if err != nil {
		return err
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	listener := os.NewFile(uintptr(dup), "listener")
	defer listener.Close() // fd stays open until the process ends
	workers := make([]*Process, n)
	for i := range workers {
		if workers[i], err = startRole(fmt.Sprintf("worker %d %d ", i, d), listener); err != nil {
			return err
		}
	}
	for _, w := range workers {
		if err := w.Go(); err != nil {
			return err
		}
	}
	for _, w := range workers {
		if err := w.Done(); err != nil {
			return err
		}
	}
	return nil // the pipes to the workers close with this process
}

// playWorker is one of the processes. The listener is its first inherited file.
func playWorker(seed uint64, d time.Duration) error {
	const listener = 3
	if err := unix.SetNonblock(listener, true); err != nil {
		return err
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		return err
	}
	c := &churn{rnd: rand.New(rand.NewPCG(seed, 2))}
	end := time.Now().Add(d)
	for n := 0; n < workerConnects && time.Now().Before(end); n++ {
		if err := c.connectAndAccept(listener, address); err != nil {
			return err
		}
		for len(c.socks) > workerSocks {
			if err := c.close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// connectAndAccept connects to the listener and takes a connection from it: its own
// or that of another worker.
func (c *churn) connectAndAccept(listener int, address unix.Sockaddr) error {
	fd, err := c.socket(false)
	if err != nil {
		return err
	}
	if err := c.dial(fd, address); err != nil {
		return err
	}
	fd, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ECONNABORTED) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	return c.keep(fd)
}
