package view

import (
	"errors"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/internal/capability"
	"github.com/nettrace/nettrace/internal/tuning"
	"github.com/nettrace/nettrace/snapshot"
)

// reader reads sockets and their owners, each from the fastest source that has
// them: sockets from sock_diag, or from the proc file system where that does not
// serve; owners from the proc file system, or by an iterator (BPF) where there are
// many sockets.
//
// Its choice holds for a round: inUse is counted once between two calls of
// newRound.
type reader struct {
	opts *Options
	proc string

	iters   *snapshot.Iterators // nil: not used so far
	inUse   int                 // sockets in use
	counted bool                // inUse is known

	devices   devices
	workloads workloads
	tcp       familyReader // of sock_diag, begun by owners; nil: not begun
}

// newRound begins a round.
func (r *reader) newRound() {
	r.counted = false
	r.tcp = nil
	r.devices, r.workloads = devices{}, workloads{proc: r.proc}
}

// socketsInUse counts the sockets, once a round.
func (r *reader) socketsInUse() int {
	if !r.counted {
		r.counted = true
		r.inUse = snapshot.InUse(r.proc)
	}
	return r.inUse
}

// iterators returns the iterators. It returns nil where owners are to be read in
// /proc: there are few sockets, the root is not the real one, there is no privilege,
// or the user wants it so.
func (r *reader) iterators() *snapshot.Iterators {
	if r.opts.Source == "proc" || r.proc != DefaultProc || !seesAll() || r.socketsInUse() < snapshot.OwnersWorth {
		return nil
	}
	if r.iters == nil {
		r.iters = snapshot.NewIterators()
		tuning.ManySockets()
	}
	return r.iters
}

// seesAll reports whether /proc would show this process the files of every other
// one: the iterators do, and must not show more.
func seesAll() bool {
	caps, err := capability.Effective()
	return err == nil && os.Geteuid() == 0 && caps.Has(unix.CAP_SYS_PTRACE) &&
		(caps.Has(unix.CAP_DAC_OVERRIDE) || caps.Has(unix.CAP_DAC_READ_SEARCH))
}

// owners reads which process holds which socket by an iterator. It returns nil where
// /proc is to be read: the SELinux contexts are there only. The TCP sockets, if they
// are shown next, come in meanwhile.
func (r *reader) owners(shown *Selection) *snapshot.Owners {
	it := r.iterators()
	if it == nil || r.opts.Context {
		return nil
	}
	if shown.TCP {
		r.tcp, _ = r.diag(snapshot.TCP, shown.IPv4, shown.IPv6) // sockets has the error
	}
	owners, err := it.Owners()
	if err != nil {
		return nil // what the iterator cannot read is in /proc
	}
	return owners
}

// familyReader reads the sockets of one of the two families.
type familyReader func(ipv6 bool) (iter.Seq2[snapshot.Socket, error], error)

// sockets returns what reads the sockets of a protocol, of the families that will be
// read.
func (r *reader) sockets(p snapshot.Protocol, ipv4, ipv6 bool) (familyReader, error) {
	if read := r.tcp; p == snapshot.TCP && read != nil {
		r.tcp = nil
		return read, nil
	}
	read, err := r.diag(p, ipv4, ipv6)
	if err == nil {
		return read, nil
	}
	if r.opts.Source == "diag" && !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("--source=diag: %w", err)
	}
	read = func(ipv6 bool) (iter.Seq2[snapshot.Socket, error], error) {
		rows, err := snapshot.ReadSockets(r.proc, p, ipv6)
		if err == nil && ipv6 && r.opts.JSON && r.live() {
			rows = snapshot.WithDevices(rows, p)
		}
		return rows, err
	}
	if p == snapshot.TCP && ipv4 && ipv6 {
		return atOnce(read), nil
	}
	return read, nil
}

// unix reads the Unix sockets. Text has their names as netstat reads them, records
// have them whole.
func (r *reader) unix() (iter.Seq2[snapshot.UnixSocket, error], error) {
	if !r.opts.JSON {
		return snapshot.ReadUnix(r.proc)
	}
	names := snapshot.ReadUnixNames
	if !r.live() { // the names would be those of another table
		names = func() (snapshot.UnixNames, error) { return nil, errors.ErrUnsupported }
	}
	return snapshot.ReadNamedUnix(r.proc, names)
}

// live reports whether the files are the kernel's, and of the network namespace that
// it answers this thread for.
func (r *reader) live() bool { return r.proc == DefaultProc || r.proc == DefaultProc+"/thread-self" }

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
