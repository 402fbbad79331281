package faultfs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the kernel asks (include/uapi/linux/fuse.h).
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opSetattr     = 4
	opUnlink      = 10
	opRename      = 12
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatfs      = 17
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opCreate      = 35
	opInterrupt   = 36
	opBatchForget = 42
	opRename2     = 45
)

const (
	root       = 1
	headerSize = 40
	writeSize  = 40 // what is before the data
	directIO   = 1  // FOPEN_DIRECT_IO: each write(2) comes as it is
	mostData   = 1 << 17
)

// request is one of the kernel.
type request struct {
	op     uint32
	unique uint64
	node   uint64
	body   []byte
}

// server is the process that serves.
type server struct {
	device *os.File

	mu    sync.Mutex
	files map[string]*file // by name
	next  uint64           // number of the next file; 1 is that of the directory
	fails map[Call]fault
}

// file is a file in memory.
type file struct {
	number uint64
	data   []byte
}

// fault is how a call fails.
type fault struct {
	errno syscall.Errno
	room  int // of Write: bytes that are taken before
}

func newServer(device *os.File) *server {
	return &server{device: device, files: make(map[string]*file), next: root + 1, fails: make(map[Call]fault)}
}

// obey does what the test says.
func (s *server) obey(in io.Reader, out io.Writer) {
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if orders.Decode(&o) != nil || answers.Encode(s.do(&o)) != nil {
			os.Exit(0) // the test has ended
		}
	}
}

func (s *server) do(o *order) (text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o.What {
	case "fail":
		s.fails[o.Call] = fault{o.Errno, o.Room}
	case "works":
		clear(s.fails)
	case "remove":
		delete(s.files, o.Name)
	case "rename":
		s.files[o.To] = s.files[o.Name]
		delete(s.files, o.Name)
	case "read":
		if f := s.files[o.Name]; f != nil {
			text = string(f.data)
		}
	}
	return text
}

// serve answers until the file system is unmounted.
func (s *server) serve() {
	buf := make([]byte, mostData+4096)
	for {
		n, err := s.device.Read(buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
			continue
		case err != nil || n < headerSize:
			return // ENODEV: unmounted, or aborted
		}
		q := request{
			op: binary.NativeEndian.Uint32(buf[4:]), unique: binary.NativeEndian.Uint64(buf[8:]),
			node: binary.NativeEndian.Uint64(buf[16:]), body: buf[headerSize:n],
		}
		if q.op == opForget || q.op == opBatchForget || q.op == opInterrupt {
			continue // these get no answer
		}
		out, errno := s.answer(&q)
		s.reply(&q, out, errno)
	}
}

func (s *server) reply(q *request, out []byte, errno syscall.Errno) {
	if errno != 0 {
		out = nil
	}
	msg := binary.NativeEndian.AppendUint32(nil, uint32(16+len(out)))
	msg = binary.NativeEndian.AppendUint32(msg, uint32(-int32(errno)))
	msg = binary.NativeEndian.AppendUint64(msg, q.unique)
	_, _ = s.device.Write(append(msg, out...)) // who asked may be gone
}

// answer does what is asked. What is not known here the kernel does without.
func (s *server) answer(q *request) (out []byte, errno syscall.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch q.op {
	case opInit:
		return initReply(), 0
	case opLookup, opCreate, opOpen:
		return s.open(q)
	case opGetattr, opSetattr:
		return s.attributes(q)
	case opWrite:
		return s.write(q)
	case opRead:
		return s.read(q)
	case opRename, opRename2:
		return nil, s.rename(q)
	case opUnlink:
		delete(s.files, firstName(q.body))
		return nil, 0
	case opFlush:
		return nil, s.fails[Close].errno
	case opRelease, opFsync:
		return nil, 0
	case opStatfs:
		return make([]byte, 80), 0
	}
	return nil, unix.ENOSYS
}

func initReply() []byte {
	out := binary.NativeEndian.AppendUint32(nil, 7)
	out = binary.NativeEndian.AppendUint32(out, 31)
	out = append(out, make([]byte, 12)...) // no reading ahead, no flags, the kernel's own queues
	out = binary.NativeEndian.AppendUint32(out, mostData)
	return append(out, make([]byte, 64-len(out))...)
}

// open looks a name up, opens a file, or makes one.
func (s *server) open(q *request) ([]byte, syscall.Errno) {
	handle := make([]byte, 16)
	handle[8] = directIO
	if f := s.fails[Open]; f.errno != 0 {
		return nil, f.errno
	}
	switch q.op {
	case opOpen:
		return handle, 0
	case opLookup:
		f := s.files[firstName(q.body)]
		if f == nil {
			return nil, unix.ENOENT
		}
		return entry(f), 0
	}
	f := &file{number: s.next}
	s.next++
	s.files[firstName(q.body[16:])] = f
	return append(entry(f), handle...), 0
}

// entry is struct fuse_entry_out: nothing of it is valid for longer than this answer.
func entry(f *file) []byte {
	head := make([]byte, 40)
	binary.NativeEndian.PutUint64(head, f.number)
	return slices.Concat(head, f.attributes())
}

func (f *file) attributes() []byte {
	return attributes(f.number, uint64(len(f.data)), unix.S_IFREG|0o640)
}

// attributes is struct fuse_attr.
func attributes(number, size uint64, mode uint32) []byte {
	out := make([]byte, 88)
	binary.NativeEndian.PutUint64(out, number)
	binary.NativeEndian.PutUint64(out[8:], size)
	binary.NativeEndian.PutUint32(out[60:], mode)
	binary.NativeEndian.PutUint32(out[64:], 1) // links
	binary.NativeEndian.PutUint32(out[80:], 4096)
	return out
}

func (s *server) attributes(q *request) ([]byte, syscall.Errno) {
	head := make([]byte, 16) // they are valid no longer than this answer
	if q.node == root {
		return slices.Concat(head, attributes(root, 0, unix.S_IFDIR|0o755)), 0
	}
	f := s.byNumber(q.node)
	if f == nil {
		return nil, unix.ESTALE
	}
	return slices.Concat(head, f.attributes()), 0
}

func (s *server) byNumber(number uint64) *file {
	for _, f := range s.files {
		if f.number == number {
			return f
		}
	}
	return nil
}

func (s *server) write(q *request) ([]byte, syscall.Errno) {
	data := q.body[writeSize:]
	f := s.byNumber(q.node)
	if f == nil {
		return nil, unix.ESTALE
	}
	if now := s.fails[Write]; now.errno != 0 {
		if now.room == 0 {
			return nil, now.errno
		}
		data = data[:min(len(data), now.room)]
		now.room -= len(data)
		s.fails[Write] = now
	}
	f.data = append(f.data[:min(int(binary.NativeEndian.Uint64(q.body[8:])), len(f.data))], data...)
	out := make([]byte, 8)
	binary.NativeEndian.PutUint32(out, uint32(len(data)))
	return out, 0
}

func (s *server) read(q *request) ([]byte, syscall.Errno) {
	f := s.byNumber(q.node)
	if f == nil {
		return nil, unix.ESTALE
	}
	from := min(int(binary.NativeEndian.Uint64(q.body[8:])), len(f.data))
	size := int(binary.NativeEndian.Uint32(q.body[16:]))
	return f.data[from:min(from+size, len(f.data))], 0
}

func (s *server) rename(q *request) syscall.Errno {
	names := q.body[8:]
	if q.op == opRename2 {
		names = q.body[16:]
	}
	from := firstName(names)
	to := firstName(names[len(from)+1:])
	f := s.files[from]
	if f == nil {
		return unix.ENOENT
	}
	delete(s.files, from)
	s.files[to] = f
	return 0
}

// firstName returns the text before the first NUL.
func firstName(b []byte) string {
	name, _, _ := bytes.Cut(b, []byte{0})
	return string(name)
}
