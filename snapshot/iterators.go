package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf/link"
)

// Iterators reads TCP sockets and the owners of sockets by BPF iterators: the
// same rows in the same order as /proc, several times faster when there are
// many (OwnersWorth, TCPWorth), after a start of some milliseconds. They need
// CAP_BPF and CAP_PERFMON.
//
// A program is loaded when it is first used. An Iterators must not be used by
// several goroutines at once.
type Iterators struct {
	loader *iterLoader

	tcp   *rowReader // of the last pass over the TCP sockets
	ahead bool       // it was begun for the next LoadTCP
}

// NewIterators gives the fast source; nothing is loaded yet.
func NewIterators() *Iterators { return &Iterators{} }

// prepare reads what loading programs needs, once.
func (it *Iterators) prepare() (err error) {
	if it.loader == nil {
		it.loader, err = newIterLoader()
	}
	return err
}

// pass is an iterator that can be read once.
type pass struct {
	program string
	rows    io.ReadCloser
}

// open loads a program and opens its iterator, which holds what it needs of it.
func (l *iterLoader) open(program string) (*pass, error) {
	prog, err := l.load(program)
	if err != nil {
		return nil, fmt.Errorf("load iterator %s: %w", program, err)
	}
	defer prog.Close()
	attached, err := link.AttachIter(link.IterOptions{Program: prog})
	if err != nil {
		return nil, fmt.Errorf("attach iterator %s: %w", program, err)
	}
	defer attached.Close()
	r, err := attached.Open()
	if err != nil {
		return nil, fmt.Errorf("open iterator %s: %w", program, err)
	}
	return &pass{program, r}, nil
}

// rowsPerChunk is how many rows are kept together: some 64 KiB, enough for the
// 32 KiB that the kernel gives at once (bpf_seq_read, kernel/bpf/bpf_iter.c).
// One growing piece would be copied, and leave more garbage than it holds.
const rowsPerChunk = 1024

// chunksAhead is how many chunks may wait for whom they are read for.
const chunksAhead = 256

// read gives all rows of a size, in chunks of whole rows, and closes the iterator.
func (p *pass) read(size int, give func(chunk []byte)) error {
	defer p.rows.Close()
	chunk := make([]byte, 0, rowsPerChunk*size)
	for {
		n, err := p.rows.Read(chunk[len(chunk):cap(chunk)])
		chunk = chunk[:len(chunk)+n]
		if len(chunk) == cap(chunk) {
			give(chunk)
			chunk = make([]byte, 0, rowsPerChunk*size)
		}
		switch {
		case errors.Is(err, io.EOF):
			give(chunk)
			return nil
		case errors.Is(err, syscall.EAGAIN): // more objects than one read may pass over
		case err != nil:
			return fmt.Errorf("read iterator %s: %w", p.program, err)
		}
	}
}

// rowReader reads a pass while the first rows of it are already used.
type rowReader struct {
	coming chan []byte
	chunks [][]byte // those that came
	err    error    // of the pass, once coming is closed
}

func newRowReader(p *pass, size int) *rowReader {
	r := &rowReader{coming: make(chan []byte, chunksAhead)}
	go func() {
		r.err = p.read(size, func(chunk []byte) { r.coming <- chunk })
		close(r.coming)
	}()
	return r
}

// all yields the chunks from the first on, and at the end an error if there was one.
func (r *rowReader) all() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, chunk := range r.chunks {
			if !yield(chunk, nil) {
				return
			}
		}
		for chunk := range r.coming {
			r.chunks = append(r.chunks, chunk)
			if !yield(chunk, nil) {
				return
			}
		}
		if r.err != nil {
			yield(nil, r.err)
		}
	}
}

const (
	tcpRowSize   = int(unsafe.Sizeof(iterTcpRow{}))
	ownerRowSize = int(unsafe.Sizeof(iterOwnerRow{}))
)

// LoadTCP begins to read the TCP sockets of the caller's network namespace, both
// families in one pass. TCP yields them. Inodes cost a tenth of it; without them
// they are zero, unless Owners has begun the pass.
func (it *Iterators) LoadTCP(inodes bool) error {
	if it.ahead {
		it.ahead = false
		return nil
	}
	return it.openTCP(inodes)
}

// openTCP must run on the caller's thread: an iterator tells of the network
// namespace of the thread that opened it.
func (it *Iterators) openTCP(inodes bool) error {
	program := iterProgTcpRows
	if !inodes {
		program = iterProgTcpRowsBare
	}
	if err := it.prepare(); err != nil {
		return err
	}
	p, err := it.loader.open(program)
	if err != nil {
		return err
	}
	it.tcp = newRowReader(p, tcpRowSize)
	return nil
}

// TCP yields the sockets of one family that LoadTCP read, in the order of
// /proc/net/tcp or tcp6. They have no timers. The error is of reading.
func (it *Iterators) TCP(ipv6 bool) iter.Seq2[Socket, error] {
	var r iterTcpRow
	return func(yield func(Socket, error) bool) {
		for chunk, err := range it.tcp.all() {
			if err != nil {
				yield(Socket{}, err)
				return
			}
			for ; len(chunk) >= tcpRowSize; chunk = chunk[tcpRowSize:] {
				if (chunk[unsafe.Offsetof(r.Family)] == syscall.AF_INET6) != ipv6 {
					continue
				}
				if !yield(tcpSocket(chunk[:tcpRowSize], ipv6), nil) {
					return
				}
			}
		}
	}
}

func tcpSocket(row []byte, ipv6 bool) Socket {
	var r iterTcpRow
	native := binary.NativeEndian
	local, remote := row[unsafe.Offsetof(r.LocalAddr):][:16], row[unsafe.Offsetof(r.RemoteAddr):][:16]
	addr := func(b []byte) netip.Addr {
		if ipv6 {
			return netip.AddrFrom16([16]byte(b))
		}
		return netip.AddrFrom4([4]byte(b))
	}
	return Socket{
		Protocol: TCP,
		Local:    netip.AddrPortFrom(addr(local), native.Uint16(row[unsafe.Offsetof(r.LocalPort):])),
		Remote:   netip.AddrPortFrom(addr(remote), native.Uint16(row[unsafe.Offsetof(r.RemotePort):])),
		State:    State(row[unsafe.Offsetof(r.State)]),
		RecvQ:    uint64(native.Uint32(row[unsafe.Offsetof(r.RecvQ):])),
		SendQ:    uint64(native.Uint32(row[unsafe.Offsetof(r.SendQ):])),
		UID:      native.Uint32(row[unsafe.Offsetof(r.Uid):]),
		Inode:    native.Uint64(row[unsafe.Offsetof(r.Inode):]),
	}
}

// initialPIDNamespace is the inode of the first pid namespace (PROC_PID_INIT_INO,
// include/linux/proc_ns.h). The iterator tells pids of that one only.
const initialPIDNamespace = "pid:[4026531836]"

// Owners reads which process holds which socket, as ReadOwners does: the first
// process is the one with the lowest id, which is the first in /proc. With tcp
// it begins the pass for the next LoadTCP at the same time.
func (it *Iterators) Owners(tcp bool) (*Owners, error) {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, fmt.Errorf("find the pid namespace: %w", err)
	}
	if ns != initialPIDNamespace {
		return nil, fmt.Errorf("iterators tell the process ids of %s, not those of %s", initialPIDNamespace, ns)
	}
	if err := it.prepare(); err != nil {
		return nil, err
	}
	var o *Owners
	done := make(chan error, 1)
	go func() {
		p, err := it.loader.open(iterProgOwnerRows)
		if err != nil {
			done <- err
			return
		}
		var rows [][]byte
		err = p.read(ownerRowSize, func(chunk []byte) { rows = append(rows, chunk) })
		if err == nil {
			o = ownersOf(rows)
		}
		done <- err
	}()
	opened := tcp && it.openTCP(true) == nil // or LoadTCP tells what is wrong
	err = <-done
	it.ahead = opened && err == nil
	return o, err
}

// ownersOf makes owners of the iterator's rows.
func ownersOf(rows [][]byte) *Owners {
	var r iterOwnerRow
	o := newOwners()
	last, held := uint32(0), false
	for row := range ownerRows(rows) {
		pid := binary.NativeEndian.Uint32(row[unsafe.Offsetof(r.Pid):])
		if pid != last {
			last, held = pid, false
			if p := newProcess("/proc/"+strconv.FormatUint(uint64(pid), 10), int(pid), false); p != nil {
				o.processes = append(o.processes, p)
				held = true
			}
		}
		// Net-tools knows no inode of one digit: see parseSocketLink.
		if inode := binary.NativeEndian.Uint64(row[unsafe.Offsetof(r.Inode):]); held && inode >= 10 {
			o.add(inode)
		}
	}
	return o
}

// ownerRows yields the rows in chunks.
func ownerRows(chunks [][]byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, chunk := range chunks {
			for ; len(chunk) >= ownerRowSize; chunk = chunk[ownerRowSize:] {
				if !yield(chunk[:ownerRowSize]) {
					return
				}
			}
		}
	}
}

// From which number of sockets in use the iterators are worth their start. Measured
// with fresh processes, wall time in ms (`-tan` and `-tanp`, each with
// `--source=proc` and `--source=bpf`, all of it from the one or the other):
//
//	sockets   -tan      -tanp
//	   500     8.5/9.4   12/10
//	 1,000     9.8/9.3   15/11
//	 2,000    12/10      23/11
//	 5,000    20/13      41/14
//	20,000    56/27     143/26
//
// There are none for other sockets. The one of UDP has followed another hash than
// /proc since Linux 6.5 (udptable->hash2, c96dac8d369f), so its order is not
// netstat's. The one of Unix sockets takes longer than /proc (55 against 40 ms for
// 20,000 of them, before /proc was read ahead), and leaves out the rest of a bucket
// after each 32 KiB of rows: st_bucket_done is still set when the next read starts
// (bpf_iter_unix_batch, net/unix/af_unix.c, 6.18).
const (
	// OwnersWorth is that number for Owners.
	OwnersWorth = 1000
	// TCPWorth is that number for LoadTCP. It begins where what it saves is felt,
	// because each pass carries a risk: see "What a pass risks" in ARCHITECTURE.md.
	TCPWorth = 20000
)

// InUse counts the sockets in use, those in TIME_WAIT too; 0 where that is not
// told. proc is the proc root.
func InUse(proc string) int {
	b, err := readFile(proc, "net/sockstat")
	if err != nil {
		return 0
	}
	total := 0
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 3 && f[0] == "sockets:":
			n, _ := strconv.Atoi(f[2]) // 0 for what is no number
			total += n
		case len(f) >= 7 && f[0] == "TCP:" && f[5] == "tw":
			n, _ := strconv.Atoi(f[6])
			total += n
		}
	}
	return total
}
