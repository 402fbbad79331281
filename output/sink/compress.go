package sink

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// packPiece is how much is compressed before the packer looks whether it is to end.
const packPiece = 128 << 10

// packer compresses FILE.2 and older. FILE.1 may still be read by who follows the file.
// It runs while there is something to compress, below everything else on the machine.
type packer struct {
	shelf   *shelf
	notice  func(string)
	draft   string // a compressed file that is not whole
	failed  bool   // the last attempt failed, and somebody knows; of the goroutine
	running bool   // with the shelf's lock
	ending  atomic.Bool
	run     sync.WaitGroup
}

// errEnding says that the run ends.
var errEnding = errors.New("the run ends")

// draftOf returns the name of what a file is compressed to. It begins with a dot, and
// not with FILE, so that who follows FILE* does not see it.
func draftOf(base string) string {
	dir, name := filepath.Split(base)
	return filepath.Join(dir, "."+name+packedSuffix+".draft")
}

// start compresses what there is. The shelf is locked.
func (p *packer) start() {
	if name, _ := p.next(nil); name == "" || p.running || p.ending.Load() {
		return
	}
	p.running = true
	p.run.Go(func() { below(p.work) })
}

// next returns a file to compress that is none of those that could not be, or nothing.
// The shelf is locked.
func (p *packer) next(failed []os.FileInfo) (string, os.FileInfo) {
	for place := 2; place <= p.shelf.keep; place++ {
		name := p.shelf.name(place)
		st, err := os.Lstat(name)
		if err == nil && !slices.ContainsFunc(failed, func(f os.FileInfo) bool { return os.SameFile(f, st) }) {
			return name, st
		}
	}
	return "", nil
}

// work compresses one file after another.
func (p *packer) work() {
	var failed []os.FileInfo
	for {
		p.shelf.mu.Lock()
		name, st := p.next(failed)
		if name == "" || p.ending.Load() {
			p.running = false
			p.shelf.mu.Unlock()
			return
		}
		file, err := openRegular(name)
		p.shelf.mu.Unlock()
		if err == nil {
			err = p.pack(file)
		}
		if err != nil {
			p.fail(name, err)
			failed = append(failed, st)
		}
		p.failed = err != nil
	}
}

// openRegular opens what a run has written: not something else that another user put in
// its place, if the directory is theirs.
func openRegular(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = file.Close()
		return nil, fmt.Errorf("open %s: not a regular file", name)
	}
	return file, nil
}

// fail leaves a file until the next one is renamed. It tells so once until one can be
// compressed again.
func (p *packer) fail(name string, err error) {
	_ = os.Remove(p.draft) // it would be in the way of the next one, which tells so
	if !p.failed && !errors.Is(err, errEnding) {
		p.notice(fmt.Sprintf("compress %s: %v; it stays as it is until the next rotation", name, err))
	}
}

// below calls f on a thread of the lowest priority, which ends with it: it could not get
// its priority back. The main thread is spared, as it would not end.
func below(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			below(f) // this thread is taken meanwhile
			runtime.UnlockOSThread()
			return
		}
		lowest()
		f()
	}()
	<-done
}

// lowest gives the thread what no other wants of the processor and the disk.
func lowest() {
	const (
		niceMost   = 19
		thisThread = 0
		who        = 1       // IOPRIO_WHO_PROCESS, include/uapi/linux/ioprio.h
		idle       = 3 << 13 // IOPRIO_CLASS_IDLE
	)
	_ = unix.Setpriority(unix.PRIO_PROCESS, thisThread, niceMost)               // at worst it is not lower
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, who, thisThread, uintptr(idle)) // the same
}

// pack compresses a file and puts the result in its place.
func (p *packer) pack(file *os.File) error {
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	draft, err := os.OpenFile(p.draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, st.Mode().Perm()) // tidy and fail have removed it
	if err != nil {
		return err
	}
	err = p.squeeze(draft, file)
	if err == nil {
		err = dress(draft, st)
	}
	if closing := draft.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return p.replace(st)
}

// squeeze copies what is in a file, compressed.
func (p *packer) squeeze(to io.Writer, from io.Reader) error {
	z := gzip.NewWriter(to)
	for {
		if p.ending.Load() {
			return errEnding
		}
		_, err := io.CopyN(z, from, packPiece)
		if errors.Is(err, io.EOF) {
			return z.Close()
		}
		if err != nil {
			return err
		}
	}
}

// dress gives a compressed file the owner, mode and time of what it is made of.
func dress(draft *os.File, st os.FileInfo) error {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		_ = draft.Chown(int(sys.Uid), int(sys.Gid)) // not all may give files away
	}
	if err := draft.Chmod(st.Mode().Perm()); err != nil {
		return err
	}
	when := unix.NsecToTimeval(st.ModTime().UnixNano())
	return unix.Futimes(int(draft.Fd()), []unix.Timeval{when, when})
}

// replace puts the compressed file in the place that the other has by now. If that was
// removed meanwhile, so is its compressed form.
func (p *packer) replace(st os.FileInfo) error {
	p.shelf.mu.Lock()
	defer p.shelf.mu.Unlock()
	for place := 2; place <= p.shelf.keep; place++ {
		name := p.shelf.name(place)
		if is, err := os.Lstat(name); err != nil || !os.SameFile(is, st) {
			continue
		}
		if err := os.Rename(p.draft, name+packedSuffix); err != nil {
			return err
		}
		return os.Remove(name)
	}
	return os.Remove(p.draft)
}

// close ends the work and waits for that.
func (p *packer) close() {
	p.ending.Store(true)
	p.run.Wait()
}
