package main

import (
	"fmt"
	"iter"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/nettrace/nettrace/snapshot"
)

// iterators gives the fast source where at least worth sockets are in use, or nil
// where /proc is to be read: there are fewer, the root is not the real one, there
// is no privilege, or the user wants it so.
func (s *session) iterators(worth int) *snapshot.Iterators {
	if s.opts.source != "bpf" && s.inUse() < worth {
		return nil
	}
	if s.iters == nil {
		s.iters = snapshot.NewIterators()
		debug.SetGCPercent(gcPercentMany)
		// Two threads are in long reads: without places of their own they would
		// have to get one back after each.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	}
	return s.iters
}

// inUse counts the sockets once a round, so that all of it decides alike; none
// count where the iterators may not be chosen.
func (s *session) inUse() int {
	if !s.counted {
		s.counted = true
		s.used = 0
		if s.opts.source != "proc" && s.opts.procRoot == defaultProcRoot && seesAll() {
			s.used = snapshot.InUse(s.opts.procRoot)
		}
	}
	return s.used
}

// gcPercentMany lets a process that is soon over show 100,000 sockets before the
// first collection, which starts at this part of 4 MiB.
const gcPercentMany = 400

// seesAll reports whether /proc would show this process the files of every other
// one: the iterators do, and must not show more.
func seesAll() bool {
	caps, err := effective()
	const ptrace, override, readSearch = 1 << 19, 1 << 1, 1 << 2
	return err == nil && os.Geteuid() == 0 && caps&ptrace != 0 && caps&(override|readSearch) != 0
}

// readOwners reads the owners from the faster source. The SELinux contexts are
// in /proc only. With tcp the TCP sockets are shown next.
func (s *session) readOwners(tcp bool) (*snapshot.Owners, error) {
	if it := s.iterators(snapshot.OwnersWorth); it != nil && !s.opts.context {
		owners, err := it.Owners(tcp && s.rowsSuffice() && s.iterators(snapshot.TCPWorth) != nil)
		if err == nil {
			return owners, nil
		}
		if s.opts.source == "bpf" {
			return nil, fmt.Errorf("--source=bpf: %w", explain(err))
		}
	}
	owners, err := snapshot.ReadOwners(s.opts.procRoot, s.opts.context)
	if err != nil {
		return nil, openFailure(err)
	}
	return owners, nil
}

// rowsSuffice reports whether the rows of the iterators tell all that is shown.
// Timers are in /proc only, and JSON tells them always.
func (s *session) rowsSuffice() bool { return !s.opts.timers && !s.opts.json }

// familyReader reads the sockets of one of the two families.
type familyReader func(ipv6 bool) (iter.Seq2[snapshot.Socket, error], error)

// socketReader gives what reads the sockets of a protocol: both families are wanted,
// or one.
func (s *session) socketReader(p snapshot.Protocol, both bool) (familyReader, error) {
	it := s.iterators(snapshot.TCPWorth)
	if p == snapshot.TCP && it != nil && s.rowsSuffice() {
		err := it.LoadTCP(s.opts.extend > 0 || s.opts.programs)
		if err == nil {
			return func(ipv6 bool) (iter.Seq2[snapshot.Socket, error], error) { return it.TCP(ipv6), nil }, nil
		}
		if s.opts.source == "bpf" {
			return nil, fmt.Errorf("--source=bpf: %w", explain(err))
		}
	}
	read := func(ipv6 bool) (iter.Seq2[snapshot.Socket, error], error) {
		return snapshot.ReadSockets(s.opts.procRoot, p, ipv6)
	}
	if p == snapshot.TCP && both {
		return atOnce(read), nil
	}
	return read, nil
}

// atOnce begins to read IPv6 together with IPv4: for each the kernel looks at all of
// its table of TCP sockets, which takes milliseconds even where there are few.
func atOnce(read familyReader) familyReader {
	type result struct {
		rows iter.Seq2[snapshot.Socket, error]
		err  error
	}
	v6 := make(chan result, 1)
	go func() {
		rows, err := read(true)
		v6 <- result{rows, err}
	}()
	return func(ipv6 bool) (iter.Seq2[snapshot.Socket, error], error) {
		if !ipv6 {
			return read(false)
		}
		r := <-v6
		return r.rows, r.err
	}
}

// defaultProcRoot is where the proc file system is unless a test says otherwise.
const defaultProcRoot = "/proc"
