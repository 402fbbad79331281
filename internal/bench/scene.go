package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/load"
	"github.com/nettrace/nettrace/internal/netns"
)

// scene is a network namespace with a load in it.
type scene struct {
	name string
	path string // its file
	load []*load.Process
	nice int // of the load
}

// scenes counts the scenes; the count is part of each name.
var scenes int

// holdMax is how many connections one process holds. It has both ends open, and a
// small machine allows it 20,000 files.
const holdMax = 9000

// newScene makes a namespace with its loopback interface up.
func newScene() (*scene, error) {
	scenes++
	name := fmt.Sprintf("nt-bench-%d-%d", os.Getpid(), scenes)
	s := &scene{name: name, path: filepath.Join(netns.Dir, name)}
	if err := ip("netns", "add", name); err != nil {
		return nil, err
	}
	err := s.ip("link", "set", "lo", "up")
	if err == nil {
		err = s.enter(setLimits)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// setLimits raises the limits of the current namespace above what a load makes.
func setLimits() error {
	for file, value := range map[string]string{
		"ipv4/tcp_max_tw_buckets":  "2000000",
		"ipv4/ip_local_port_range": "1024 65535",
		"core/somaxconn":           "65535",
	} {
		if err := os.WriteFile("/proc/sys/net/"+file, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func ip(args ...string) error {
	// Without a context: after a signal the namespaces must still be deleted.
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}

func (s *scene) ip(args ...string) error { return ip(append([]string{"-n", s.name}, args...)...) }

// start starts a role of the load.
func (s *scene) start(role string) (*load.Process, error) {
	p, err := load.Start(role, s.path)
	if err != nil {
		return nil, err
	}
	s.load = append(s.load, p)
	// The main thread plays the role, and its id is that of the process.
	return p, unix.Setpriority(unix.PRIO_PROCESS, p.PID(), s.nice)
}

// hold opens an even number of sockets, which stay open until stop.
func (s *scene) hold(sockets int) error {
	connections := sockets / 2
	for first := 0; first < connections; first += holdMax {
		p, err := s.start(load.Holder(firstConnection+first, min(holdMax, connections-first)))
		if err != nil {
			return err
		}
		if err := errors.Join(p.Go(), p.Done()); err != nil {
			return err
		}
	}
	return nil
}

// holdUDP opens UDP sockets of IPv4 on ports from 20000 on. The function closes them.
func (s *scene) holdUDP(sockets int) (end func() error, err error) {
	var open []int
	end = func() (err error) {
		for _, fd := range open {
			err = errors.Join(err, unix.Close(fd))
		}
		return err
	}
	err = s.enter(func() error {
		for n := range sockets {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			open = append(open, fd)
			if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 20_000 + n, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				return err
			}
		}
		return nil
	})
	return end, err
}

// stop ends the load.
func (s *scene) stop() error {
	var errs []error
	for _, p := range s.load {
		errs = append(errs, p.Stop())
	}
	s.load = nil
	return errors.Join(errs...)
}

// close ends the load and deletes the namespace.
func (s *scene) close() error {
	return errors.Join(s.stop(), ip("netns", "del", s.name))
}

// enter runs f on a thread in the namespace; what it starts is there as well.
func (s *scene) enter(f func() error) error { return netns.Do(s.path, f) }

// onThread runs f on a thread of its own, which ends with f.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- f()
	}()
	return <-result
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
