package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// run does what the command line says and gives the exit status.
func run(e *env, args []string) status {
	if len(args) == 0 {
		args = []string{"nettrace"}
	}
	o, err := parse(e, args)
	if err == nil && o != nil {
		err = show(e, o)
	}
	// What was printed before an error stands; a write error is not one, as
	// in netstat.
	_ = e.stdout.Flush()
	return report(e, err)
}

// show runs what o asks for: the stream, or one view once or each second.
func show(e *env, o *options) error {
	v, err := o.view()
	if err != nil {
		return err
	}
	// Records come in whole lines already, and are written so.
	e.stdout.direct = o.json
	if o.doctor || o.streams() && !e.isNetstat() {
		runtime.UnlockOSThread() // the stream is told its namespace
		return runStream(e, o)
	}
	if o.allNetns {
		return &usageError{"option '--all-netns' needs -c and TCP sockets; --netns shows the views of one namespace"}
	}
	if err := enterNetns(o.netns); err != nil {
		return err
	}
	s := newSession(e, o)
	if !o.continuous || v == viewStatistics {
		return s.round(v)
	}
	return s.repeat(v)
}

// enterNetns moves the calling thread, which must be the main one, into a
// network namespace given as on the command line.
func enterNetns(name string) error {
	if name == "" {
		return nil
	}
	path, err := netnsPath(name)
	if err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w (it needs root)", path, err)
	}
	return nil
}

// repeat shows a view each second until it fails, or until the rounds or the
// time that the user gave are over.
func (s *session) repeat(v view) error {
	start := time.Now()
	for {
		if err := s.round(v); err != nil {
			return err
		}
		_ = s.env.stdout.Flush()
		s.rounds++
		if s.opts.count > 0 && s.rounds >= s.opts.count {
			return nil
		}
		if s.opts.duration > 0 && time.Since(start) >= s.opts.duration {
			return nil
		}
		time.Sleep(time.Second)
	}
}
