package tracer

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/netns"
)

// scope is the network namespace that is traced, or all of them. One namespace is
// held open until close, as its name may come to mean another one. Of all of them
// none is held: that would keep every one alive that a host has ever had.
type scope struct {
	root  string           // of the proc file system
	held  *netns.Namespace // a namespace that is not the caller's; nil: the caller's, or all
	inode uint32           // of the one namespace; 0: all

	// Threads in held, which took privilege to go there: one for scans, which run beside
	// the handler, and one for all else.
	scans, other *netns.Inside

	renamed  bool            // it was reported that the name means another namespace
	reported map[uint32]bool // namespaces of which it was reported that they cannot be read
}

func newScope(opts *Options) (scope, error) {
	s := scope{root: opts.Proc, reported: make(map[uint32]bool)}
	if opts.AllNetns {
		return s, nil
	}
	if opts.NetnsPath == "" {
		inode, err := netns.Inode(s.root + "/thread-self/ns/net")
		if err != nil {
			return scope{}, fmt.Errorf("network namespace: %w", err)
		}
		s.inode = inode
		return s, nil
	}
	held, err := netns.Open(opts.NetnsPath)
	if err != nil {
		return scope{}, err
	}
	s.held, s.inode = held, held.Inode()
	if s.scans, err = held.Stay(); err != nil {
		return scope{}, errors.Join(err, held.Close())
	}
	if s.other, err = held.Stay(); err != nil {
		return scope{}, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *scope) close() error {
	for _, thread := range []*netns.Inside{s.scans, s.other} {
		if thread != nil {
			thread.Close()
		}
	}
	if s.held == nil {
		return nil
	}
	return s.held.Close()
}

// in calls f on a thread that is in the one namespace; nil: it is the caller's.
func in(thread *netns.Inside, f func() error) error {
	if thread == nil {
		return f()
	}
	return thread.Do(f)
}

// cookie returns the cookie of the one namespace; 0: there is none, or the kernel does
// not say it (before 5.14).
func (s *scope) cookie() (cookie uint64) {
	if s.inode == 0 {
		return 0
	}
	_ = in(s.other, func() error { // without it more is sent than is needed
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
	return cookie
}

// coverage says which namespaces were visited.
type coverage struct {
	visited map[uint32]bool
	failed  map[uint32]error // those that were found, but not visited
	second  map[uint32]error // those that were read from /proc, and why not from sock_diag
}

// each calls f in every namespace that is traced and that can be found and entered, with
// its identity. To be called in a goroutine that ends with it, as it may leave its thread
// in another namespace. It fails if f could be called in none.
func (s *scope) each(f func(inode uint32) error) (coverage, error) {
	c := coverage{visited: make(map[uint32]bool), failed: make(map[uint32]error)}
	if s.inode != 0 {
		err := in(s.scans, func() error { return f(s.inode) })
		c.visited[s.inode] = err == nil
		return c, err
	}
	runtime.LockOSThread() // and the thread ends with this goroutine
	own, err := netns.Inode(s.root + "/thread-self/ns/net")
	if err != nil {
		return c, err
	}
	if err := f(own); err != nil { // here first, which takes no privilege
		return c, err
	}
	c.visited[own] = true
	files, err := netns.Files(s.root, netns.Dir)
	if err != nil {
		return c, err
	}
	for _, file := range files {
		c.visit(file, f)
	}
	return c, nil
}

// visit moves the thread into the namespace of a file and calls f, unless it was
// called there before.
func (c *coverage) visit(file string, f func(inode uint32) error) {
	n, err := netns.Open(file)
	if err != nil {
		return // its last process ended meanwhile: there is nothing to tell it by
	}
	defer func() { _ = n.Close() }() // it was only read
	if c.visited[n.Inode()] {
		return
	}
	if err = n.Enter(); err == nil {
		err = f(n.Inode())
	}
	if err != nil {
		c.failed[n.Inode()] = err
		return
	}
	c.visited[n.Inode()] = true
	delete(c.failed, n.Inode())
}

// unread adds the namespaces that sockets are known of but that were not found: the
// proc file system shows no process in them.
func (c *coverage) unread(sockets func(yield func(netns uint32) bool)) {
	for inode := range sockets {
		if !c.visited[inode] && c.failed[inode] == nil {
			c.failed[inode] = errNotFound
		}
	}
}

var errNotFound = errors.New("no process or name in /proc or " + netns.Dir + " leads to it")

// news returns what has to be reported of the namespaces, each once.
func (s *scope) news(c *coverage) []string {
	var text []string
	for inode, err := range c.failed {
		if s.reported[inode] {
			continue
		}
		s.reported[inode] = true
		text = append(text, fmt.Sprintf(
			"network namespace %d cannot be read: of its sockets only what events show is known, and no loss is mended there: %v", inode, err))
	}
	for inode, err := range c.second {
		if s.reported[inode] {
			continue
		}
		s.reported[inode] = true
		text = append(text, fmt.Sprintf("sockets of network namespace %d: %s: %v", inode, Rows.Inexact(), err))
	}
	return text
}

// renaming returns what has to be reported, once, when the name of the namespace
// was taken away or given to another one.
func (s *scope) renaming() string {
	if s.held == nil || s.renamed || s.held.Named() {
		return ""
	}
	s.renamed = true
	return fmt.Sprintf("%s does not lead to network namespace %d any more: the stream goes on with that one", s.held.Path(), s.inode)
}

// proc returns the directory whose net/ shows the namespace of the calling thread, which
// is one that is traced.
func (s *scope) proc() string {
	if s.inode != 0 && s.held == nil {
		return s.root
	}
	return s.root + "/thread-self"
}

// Unread returns what cannot be read of the network namespaces that are traced:
// a line for each that is found but cannot be entered.
func (t *Tracer) Unread() ([]string, error) {
	found := make(chan coverage, 1)
	failed := make(chan error, 1)
	go func() {
		c, err := t.scope.each(func(uint32) error { return nil })
		found <- c
		failed <- err
	}()
	c := <-found
	return t.scope.news(&c), <-failed
}
