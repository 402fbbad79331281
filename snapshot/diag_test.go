package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fakeKernel answers a request with datagrams, and then with an error.
type fakeKernel struct {
	parts [][]byte
	err   error
	asked []byte
}

func (k *fakeKernel) send(request []byte) error {
	k.asked = request
	return nil
}

func (k *fakeKernel) receive(buf []byte) (int, error) {
	if len(k.parts) == 0 {
		return 0, k.err
	}
	n := copy(buf, k.parts[0])
	k.parts = k.parts[1:]
	return n, nil
}

func (*fakeKernel) close() error { return nil }

// netlinkMessage makes a message of a kind with flags.
func netlinkMessage(kind, flags uint16, body []byte) []byte {
	b := netlinkRequest(kind, 0, body)
	binary.NativeEndian.PutUint16(b[6:], flags)
	return append(b, make([]byte, aligned(len(b))-len(b))...)
}

// doneMessage ends a dump with an error, which may be 0.
func doneMessage(errno unix.Errno) []byte {
	return netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_MULTI, binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno))))
}

// diagMessage makes the message of a socket, with an attribute as the kernel adds.
func diagMessage(s *Socket) []byte {
	b := make([]byte, diagRowSize, diagRowSize+8)
	native := binary.NativeEndian
	b[0], b[1] = unix.AF_INET, byte(s.State)
	if s.Local.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	binary.BigEndian.PutUint16(b[4:], s.Local.Port())
	binary.BigEndian.PutUint16(b[6:], s.Remote.Port())
	copy(b[8:24], s.Local.Addr().AsSlice())
	copy(b[24:40], s.Remote.Addr().AsSlice())
	native.PutUint32(b[40:], s.Device)
	native.PutUint32(b[44:], uint32(s.Cookie))
	native.PutUint32(b[48:], uint32(s.Cookie>>32))
	native.PutUint32(b[56:], uint32(s.RecvQ))
	native.PutUint32(b[60:], uint32(s.SendQ))
	native.PutUint32(b[64:], s.UID)
	native.PutUint32(b[68:], uint32(s.Inode))
	return netlinkMessage(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_MULTI, append(b, 5, 0, 8, 0, 3, 0, 0, 0))
}

// diagSocket makes a connection with a number, of IPv6 if the number is even.
func diagSocket(n int) Socket {
	addr := netip.AddrFrom4([4]byte{127, 0, 0, byte(n)})
	if n%2 == 0 {
		addr = netip.AddrFrom16([16]byte{0: 0x20, 15: byte(n)})
	}
	return Socket{Head: Head{
		State: Established, UID: 1000, Device: 7, Inode: 1<<32 - 1, RecvQ: 5, SendQ: 1<<32 - 1,
		Local: netip.AddrPortFrom(addr, 80), Remote: netip.AddrPortFrom(addr, uint16(n)), Cookie: 1<<40 + uint64(n),
	}}
}

// partOf makes a datagram of connections.
func partOf(numbers ...int) (b []byte) {
	for _, n := range numbers {
		s := diagSocket(n)
		b = append(b, diagMessage(&s)...)
	}
	return b
}

// kernels returns a source of Diags that answer one after the other.
func kernels(list ...*fakeKernel) func() (*Diag, error) {
	return func() (*Diag, error) {
		if len(list) == 0 {
			return nil, unix.EMFILE
		}
		k := list[0]
		list = list[1:]
		return &Diag{conn: k}, nil
	}
}

// numbersOf returns the numbers of the connections that a table yields, and its error.
func numbersOf(t *testing.T, table *DiagTable, ipv6 bool) (numbers []int, err error) {
	t.Helper()
	for s, e := range table.Sockets(ipv6) {
		if e != nil {
			return numbers, e
		}
		n := int(s.Remote.Port())
		if diff := cmp.Diff(diagSocket(n), s, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// TestDiagTable reads both families from one dump.
func TestDiagTable(t *testing.T) {
	k := &fakeKernel{parts: [][]byte{partOf(1, 2, 3), partOf(5), partOf(4, 6), append(partOf(7), doneMessage(0)...)}}
	table, err := LoadDiag(DiagOptions{open: kernels(k)})
	if err != nil {
		t.Fatal(err)
	}
	if kind := binary.NativeEndian.Uint16(k.asked[4:]); kind != tcpDiagGetSock || len(k.asked) != 76 {
		t.Errorf("asked by message %d of %d bytes", kind, len(k.asked))
	}
	for _, ipv6 := range []bool{false, true} {
		want := map[bool][]int{false: {1, 3, 5, 7}, true: {2, 4, 6}}[ipv6]
		if got, err := numbersOf(t, table, ipv6); err != nil || !cmp.Equal(want, got) {
			t.Errorf("IPv6 %t: %v, %v, want %v", ipv6, got, err, want)
		}
	}
}

// TestDiagTableStops breaks off a loop over rows: the goroutine that reads must end.
func TestDiagTableStops(t *testing.T) {
	parts := make([][]byte, 3*diagAhead)
	for i := range parts {
		parts[i] = partOf(1)
	}
	table, err := LoadDiag(DiagOptions{Family: unix.AF_INET, open: kernels(&fakeKernel{parts: parts, err: unix.ENOBUFS})})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range table.Sockets(false) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	for range table.batches { // closed by the goroutine
	}
	if !errors.Is(table.err, errStopped) {
		t.Errorf("reading ended with %v", table.err)
	}
}

// broken are answers that are not complete.
func broken() map[string]*fakeKernel {
	interrupted := append(partOf(9), netlinkMessage(unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP_INTR, make([]byte, diagRowSize))...)
	long := partOf(9)
	binary.NativeEndian.PutUint32(long, uint32(len(long)+4))
	return map[string]*fakeKernel{
		"no memory":        {err: unix.ENOBUFS},
		"interrupted":      {parts: [][]byte{interrupted}},
		"error at the end": {parts: [][]byte{doneMessage(unix.ENOMEM)}},
		"error":            {parts: [][]byte{netlinkMessage(unix.NLMSG_ERROR, 0, []byte{0xf4, 0xff, 0xff, 0xff})}},
		"cut":              {parts: [][]byte{partOf(9)[:60]}},
		"cut header":       {parts: [][]byte{append(partOf(9), 1, 2, 3)}},
		"too long":         {parts: [][]byte{long}},
		"short row":        {parts: [][]byte{netlinkMessage(unix.SOCK_DIAG_BY_FAMILY, 0, make([]byte, diagRowSize-4))}},
		"short end":        {parts: [][]byte{netlinkMessage(unix.NLMSG_DONE, 0, nil)}},
		"empty header":     {parts: [][]byte{make([]byte, 16)}},
	}
}

// TestDiagBroken has a dump break off after some rows. Each socket must be yielded
// once nevertheless, in order, from the next dump.
func TestDiagBroken(t *testing.T) {
	for name, k := range broken() {
		t.Run(name, func(t *testing.T) {
			k.parts = append([][]byte{partOf(1, 2), partOf(3)}, k.parts...)
			k.err = unix.ENOBUFS
			whole := &fakeKernel{parts: [][]byte{partOf(1, 2, 5), partOf(3, 4, 7), doneMessage(0)}}
			table, err := LoadDiag(DiagOptions{open: kernels(k, &fakeKernel{err: unix.ENOBUFS}, whole)})
			if err != nil {
				t.Fatal(err)
			}
			v4, err4 := numbersOf(t, table, false)
			v6, err6 := numbersOf(t, table, true)
			if want := []int{1, 3, 5, 7}; err4 != nil || !cmp.Equal(want, v4) {
				t.Errorf("IPv4: %v, %v, want %v", v4, err4, want)
			}
			if want := []int{2, 4}; err6 != nil || !cmp.Equal(want, v6) {
				t.Errorf("IPv6: %v, %v, want %v", v6, err6, want)
			}
		})
	}
}

// TestDiagUnread has every dump break off: at once, which must lead to another
// source, and after a row.
func TestDiagUnread(t *testing.T) {
	for name, k := range broken() {
		if _, err := LoadDiag(DiagOptions{open: kernels(k)}); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
	var list []*fakeKernel
	for range diagTries {
		list = append(list, &fakeKernel{parts: [][]byte{partOf(1, 3)}, err: unix.ENOBUFS})
	}
	table, err := LoadDiag(DiagOptions{Family: unix.AF_INET, open: kernels(list...)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := numbersOf(t, table, false)
	if want := []int{1, 3}; !cmp.Equal(want, got) || !errors.Is(err, ErrUnread) || !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("%v, %v, want %v and %v", got, err, want, ErrUnread)
	}
}

// TestDiagClock checks that each batch is between the readings of the clock around
// the call that made the kernel fill it: the one before the call that returned it.
func TestDiagClock(t *testing.T) {
	now := uint64(0)
	d := &Diag{conn: &fakeKernel{parts: [][]byte{partOf(1), partOf(2), doneMessage(0)}}, Clock: func() uint64 { now++; return now }}
	var got [][2]uint64
	err := d.Dump(DiagQuery{Family: unix.AF_INET}, func(b DiagBatch) error {
		got = append(got, [2]uint64{b.After, b.Before})
		return nil
	})
	want := [][2]uint64{{1, 2}, {3, 4}, {5, 6}} // request, first, second call of receive
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v, spans (-want +got):\n%s", err, diff)
	}
}

// TestDiagTableAllocs checks that rows are not allocated.
func TestDiagTableAllocs(t *testing.T) {
	const parts, rows = 40, 200
	part := make([]int, rows)
	for i := range part {
		part[i] = 1
	}
	k := &fakeKernel{}
	allocs := testing.AllocsPerRun(5, func() {
		k.parts, k.err = nil, unix.ENOBUFS
		for range parts {
			k.parts = append(k.parts, partOf(part...))
		}
	})
	allocs = testing.AllocsPerRun(5, func() {
		k.parts = nil
		for range parts {
			k.parts = append(k.parts, partOf(part...))
		}
		k.parts = append(k.parts, doneMessage(0))
		table, err := LoadDiag(DiagOptions{Family: unix.AF_INET, open: kernels(k)})
		if err != nil {
			t.Error(err)
			return
		}
		n := 0
		for _, err := range table.Sockets(false) {
			if err != nil {
				t.Error(err)
			}
			n++
		}
		if n != parts*rows {
			t.Errorf("%d rows, want %d", n, parts*rows)
		}
	}) - allocs
	if allocs > rows { // buffers, cookies, channels
		t.Errorf("%v allocations for %d rows", allocs, parts*rows)
	}
}

// TestDiagFind asks the kernel for a listener. The judge is its SO_COOKIE.
func TestDiagFind(t *testing.T) {
	d, err := OpenDiag()
	if err != nil {
		t.Skip(err)
	}
	defer d.Close()
	var config net.ListenConfig
	config.SetMultipathTCP(false) // such a socket has a cookie beside that of its TCP socket
	l, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cookie, err := unix.GetsockoptUint64(int(file.Fd()), unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	row := diagRowOf(t, d, cookie)
	found, ok, err := d.Find(TCP, row)
	if err != nil || !ok || found.Cookie() != cookie || found.Socket(TCP).Local.String() != l.Addr().String() {
		t.Errorf("found %v, %t, %v", found, ok, err)
	}
	other := append(DiagRow(nil), row...)
	other[44]++
	if _, ok, err := d.Find(TCP, other); ok || err != nil {
		t.Errorf("another cookie: found %t, %v", ok, err)
	}
	if err := errors.Join(l.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := d.Find(TCP, row); ok || err != nil {
		t.Errorf("closed: found %t, %v", ok, err)
	}
}

// diagRowOf returns the row of a socket in a dump of both families.
func diagRowOf(t *testing.T, d *Diag, cookie uint64) (found DiagRow) {
	t.Helper()
	err := d.Dump(DiagQuery{Protocol: TCP}, func(b DiagBatch) error {
		for row := range b.Rows {
			if row.Cookie() == cookie {
				found = append(DiagRow(nil), row...)
			}
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		t.Skip("the kernel has no tcp_diag")
	}
	if err != nil || found == nil {
		t.Fatalf("the dump lacks the socket: %v", err)
	}
	return found
}

func TestOrdersDiffer(t *testing.T) {
	for release, want := range map[string]bool{
		"5.10.0-32-amd64": false, "5.13.0": false, "5.14.0-427.el9.x86_64": true, "5.15.0-122-generic": true, "5.18.19": true,
		"5.19.0": false, "6.1.0": false, "15.15": false, "4.15.0": false, "6.15.1": false, "": false,
	} {
		if got := ordersDiffer(release); got != want {
			t.Errorf("%q: %t", release, got)
		}
	}
}

// TestCheckSocketFile refuses what is no file of the kernel.
func TestCheckSocketFile(t *testing.T) {
	if err := CheckSocketFile("/proc", TCP, false); err != nil {
		t.Error(err)
	}
	dir := t.TempDir()
	if err := CheckSocketFile(dir, TCP, true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := errors.Join(os.Mkdir(dir+"/net", 0o700), os.WriteFile(dir+"/net/tcp6", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := CheckSocketFile(dir, TCP, true); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("another file: %v", err)
	}
}

// FuzzDiag reads datagrams with any content. Whole messages must be read back as they
// were made, and nothing else must be taken for one.
func FuzzDiag(f *testing.F) {
	f.Add(partOf(1, 2, 3))
	f.Add(doneMessage(unix.ENOENT))
	for _, k := range broken() {
		for _, part := range k.parts {
			f.Add(part)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &Diag{conn: &fakeKernel{parts: [][]byte{b[:min(len(b), netlinkBuffer)]}, err: unix.ENOBUFS}}
		var again []byte
		err := d.Dump(DiagQuery{Family: unix.AF_INET}, func(batch DiagBatch) error {
			for row := range batch.Rows {
				s := row.Socket(UDP)
				if !row.IPv6() {
					s.Local.Addr().As4()
				}
				again = append(again, diagMessage(&s)...)
			}
			return nil
		})
		var errno unix.Errno
		if err != nil && !errors.As(err, &errno) && !errors.Is(err, errNetlinkMessage) && !errors.Is(err, ErrDumpInterrupted) {
			t.Errorf("error %v", err)
		}
		var twice []byte
		d = &Diag{conn: &fakeKernel{parts: [][]byte{again, doneMessage(0)}}}
		err = d.Dump(DiagQuery{Family: unix.AF_INET}, func(batch DiagBatch) error {
			for row := range batch.Rows {
				s := row.Socket(UDP)
				twice = append(twice, diagMessage(&s)...)
			}
			return nil
		})
		if len(again) <= netlinkBuffer && (err != nil || !bytes.Equal(again, twice)) {
			t.Errorf("read back with %v:\n%x\n%x", err, again, twice)
		}
	})
}
