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
)

// scene is a network namespace of its own with a load in it.
type scene struct {
	name string
	path string // its file
	load []*load.Process
	nice int // of the load
}

// scenes counts them, for their names.
var scenes int

// holdMax is the number of connections that one process holds: both ends are its
// files, of which it may have 20,000 on a small machine.
const holdMax = 9000

// newScene makes a namespace with its loopback up.
func newScene() (*scene, error) {
	scenes++
	name := fmt.Sprintf("nt-bench-%d-%d", os.Getpid(), scenes)
	s := &scene{name: name, path: filepath.Join("/run/netns", name)}
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

// setLimits lets the namespace that it runs in take more than a load makes.
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
	// Not stopped by a signal: it also deletes the namespaces.
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
	// A role is played by the main thread, which has the id of the process.
	return p, unix.Setpriority(unix.PRIO_PROCESS, p.PID(), s.nice)
}

// hold opens sockets, an even number of them, that stay until the end.
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
func (s *scene) enter(f func() error) error {
	return onThread(func() error {
		fd, err := unix.Open(s.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", s.path, err)
		}
		return f()
	})
}

// onThread runs f on a thread that nothing else will use.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- f()
	}()
	return <-result
}

// sleep waits, unless the run is to end.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
