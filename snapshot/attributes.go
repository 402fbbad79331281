package snapshot

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// SocketAttributes are what sock_diag knows of a socket and /proc does not.
type SocketAttributes struct {
	Device    uint32 // index of the interface that it is bound to; 0: none
	Mark      uint32 // firewall mark; 0 too where the caller lacks CAP_NET_ADMIN
	CgroupID  uint64 // cgroup v2 id; 0: a request or timewait socket
	Autobound bool   // its port was chosen by the kernel
}

// Attributes are those of all sockets of a protocol.
type Attributes struct {
	byCookie map[uint64]*SocketAttributes
	byTuple  map[boundSocket]*SocketAttributes // nil: several sockets cannot be told apart
}

// ReadAttributes asks sock_diag for the attributes of all sockets of a protocol, in the
// network namespace of the calling thread; with autobound also which of them have a
// port that the kernel chose. It needs no privilege but for marks. The kernel may lack
// the module of the protocol: then the error is ENOENT. Raw sockets then have none.
func ReadAttributes(p Protocol, autobound bool) (*Attributes, error) {
	a := &Attributes{byCookie: map[uint64]*SocketAttributes{}, byTuple: map[boundSocket]*SocketAttributes{}}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := a.read(p, family)
		if err == nil && autobound {
			err = a.readAutobound(p, family)
		}
		switch {
		case p == Raw && errors.Is(err, unix.ENOENT):
			return nil, nil //nolint:nilnil // nothing is known of them
		case err != nil:
			return nil, err
		}
	}
	return a, nil
}

// Of returns the attributes of a row, or nil if the socket was not there when they
// were read.
func (a *Attributes) Of(s *Socket) *SocketAttributes {
	if s.Cookie != 0 {
		return a.byCookie[s.Cookie]
	}
	return a.byTuple[boundSocket{s.Local, s.Remote, s.Inode}]
}

func (a *Attributes) read(p Protocol, family uint8) error {
	return dumpRows(DiagQuery{Protocol: p, Family: family}.dumpRequest(), func(row DiagRow) {
		s := row.Socket(p)
		one := row.attributes()
		a.byCookie[s.Cookie] = one
		tuple := boundSocket{s.Local, s.Remote, s.Inode}
		if other, twice := a.byTuple[tuple]; twice && (other == nil || *other != *one) {
			one = nil
		}
		a.byTuple[tuple] = one
	})
}

// dumpRows hands the rows that answer a request to a function.
func dumpRows(request []byte, each func(DiagRow)) error {
	d, err := OpenDiag()
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // nothing is written
	return d.exchange(request, d.buffer, func(b DiagBatch) error {
		for row := range b.Rows {
			each(row)
		}
		return nil
	})
}

// Of a row, INET_DIAG_MARK, and of a request, INET_DIAG_REQ_BYTECODE
// (include/uapi/linux/inet_diag.h).
const (
	diagMark     = 15
	diagBytecode = 1
)

func (r DiagRow) attributes() *SocketAttributes {
	a := &SocketAttributes{Device: r.Device()}
	for kind, value := range netlinkAttributes(r[diagRowSize:]) {
		switch {
		case kind == diagMark && len(value) >= 4:
			a.Mark = binary.NativeEndian.Uint32(value)
		case kind == diagCgroupID && len(value) >= 8:
			a.CgroupID = binary.NativeEndian.Uint64(value)
		}
	}
	return a
}

// An operation of the program that a dump may carry (struct inet_diag_bc_op).
const diagAuto = 6 // INET_DIAG_BC_AUTO: the port is not bound by hand (SOCK_BINDPORT_LOCK)

// readAutobound marks the sockets whose port the kernel chose. It asks for those whose
// port was not bound by hand; of these ss counts the ones whose port lies in
// ip_local_port_range, since an accepted socket and what is left of one are among them.
func (a *Attributes) readAutobound(p Protocol, family uint8) error {
	low, high, err := localPortRange()
	if err != nil {
		return err
	}
	q := DiagQuery{Protocol: p, Family: family, States: procStates}
	request := q.request()
	// One operation: go on behind it, which accepts, or 4 bytes further, which rejects.
	program := []byte{diagAuto, 4, 8, 0}
	request = binary.NativeEndian.AppendUint16(request, uint16(unix.SizeofNlAttr+len(program)))
	request = binary.NativeEndian.AppendUint16(request, diagBytecode)
	request = append(request, program...)
	return dumpRows(netlinkRequest(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, request), func(row DiagRow) {
		port := row.Socket(p).Local.Port()
		if one := a.byCookie[row.Cookie()]; one != nil && low <= port && port <= high {
			one.Autobound = true
		}
	})
}

// localPortRange returns from where the kernel takes ports, in the network namespace of
// the calling thread.
func localPortRange() (low, high uint16, err error) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, 0, err
	}
	words := strings.Fields(string(text))
	if len(words) != 2 {
		return 0, 0, errors.New("/proc/sys/net/ipv4/ip_local_port_range does not have two numbers")
	}
	from, err := strconv.ParseUint(words[0], 10, 16)
	if err != nil {
		return 0, 0, err
	}
	to, err := strconv.ParseUint(words[1], 10, 16)
	return uint16(from), uint16(to), err
}

// Describe returns a process with its name and its executable, where they were not read
// with it. proc is the root of the proc file system. A process that is gone has none.
func Describe(proc string, p *Process) *Process {
	whole := *p
	dir := filepath.Join(proc, strconv.Itoa(p.PID))
	if whole.Comm == "" {
		text, _ := os.ReadFile(filepath.Join(dir, "comm"))
		whole.Comm = strings.TrimSuffix(string(text), "\n")
	}
	if whole.Exe == "" {
		whole.Exe, _ = os.Readlink(filepath.Join(dir, "exe"))
	}
	return &whole
}
