package snapshot

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// encode gives rows as a program writes them.
func encode[Row any](t testing.TB, rows ...Row) []byte {
	t.Helper()
	b, err := binary.Append(nil, binary.NativeEndian, rows)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(rows) * int(unsafe.Sizeof(*new(Row))); len(b) != want {
		t.Fatalf("%T: %d bytes, %d as the program writes it", rows, len(b), want)
	}
	return b
}

// chunked gives rows in chunks of a size, the last of which may be empty.
func chunked(rows []byte, size int) (chunks [][]byte) {
	for len(rows) >= size {
		chunks, rows = append(chunks, rows[:size]), rows[size:]
	}
	return append(chunks, rows)
}

// shortReader gives a part of what it has at once, now and then nothing, and
// ends with an error.
type shortReader struct {
	rest []byte
	n    int
	err  error
}

func (r *shortReader) Read(b []byte) (int, error) {
	if r.n++; r.n%3 == 0 {
		return 0, unix.EAGAIN
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(b[:min(len(b), 1000)], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (*shortReader) Close() error { return nil }

// readerOf reads rows that come in parts and end with an error.
func readerOf(rows []byte, end error) *rowReader {
	return newRowReader(&pass{"rows", &shortReader{rest: rows, err: end}}, tcpRowSize)
}

// TestPassRead reads rows that come in parts: none may be lost or torn.
func TestPassRead(t *testing.T) {
	for _, n := range []int{0, 1, rowsPerChunk, 2*rowsPerChunk + 1} {
		list := make([]iterOwnerRow, n)
		for i := range list {
			list[i].Inode = uint64(i)
		}
		var chunks [][]byte
		err := (&pass{"rows", &shortReader{rest: encode(t, list...), err: io.EOF}}).read(ownerRowSize, func(chunk []byte) {
			chunks = append(chunks, chunk)
		})
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for row := range ownerRows(chunks) {
			if got := binary.NativeEndian.Uint64(row); got != uint64(i) {
				t.Fatalf("row %d of %d is %d", i, n, got)
			}
			i++
		}
		if i != n {
			t.Errorf("%d rows of %d", i, n)
		}
	}
}

// TestIteratorsTCP has the families mixed, as an iterator passes over them.
func TestIteratorsTCP(t *testing.T) {
	mapped := netip.MustParseAddr("::ffff:127.0.0.1")
	it := &Iterators{tcp: readerOf(encode(t,
		iterTcpRow{Family: unix.AF_INET6, State: uint8(Listen), LocalPort: 80, LocalAddr: mapped.As16(), RecvQ: 3, Inode: 1 << 33},
		iterTcpRow{
			Family: unix.AF_INET, State: uint8(TimeWait), LocalPort: 443, RemotePort: 65535, Uid: 1000,
			LocalAddr: [16]byte{10, 0, 0, 1}, RemoteAddr: [16]byte{10, 0, 0, 2}, RecvQ: 1, SendQ: math.MaxUint32, Inode: 7,
		},
		iterTcpRow{Family: unix.AF_INET6, State: uint8(Established), LocalPort: 1, RemotePort: 2},
	), io.EOF)}
	want := map[bool][]Socket{
		false: {{
			Local: netip.MustParseAddrPort("10.0.0.1:443"), Remote: netip.MustParseAddrPort("10.0.0.2:65535"),
			State: TimeWait, RecvQ: 1, SendQ: math.MaxUint32, UID: 1000, Inode: 7,
		}},
		true: {
			{
				Local: netip.AddrPortFrom(mapped, 80), Remote: netip.MustParseAddrPort("[::]:0"),
				State: Listen, RecvQ: 3, Inode: 1 << 33,
			},
			{Local: netip.MustParseAddrPort("[::]:1"), Remote: netip.MustParseAddrPort("[::]:2"), State: Established},
		},
	}
	got := map[bool][]Socket{}
	for _, ipv6 := range []bool{false, true} {
		for s, err := range it.TCP(ipv6) {
			if err != nil || s.Numbers().IPv6File != ipv6 {
				t.Errorf("%+v, %v", s, err)
			}
			got[ipv6] = append(got[ipv6], s)
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("sockets (-want +got):\n%s", diff)
	}
}

// TestIteratorsTCPAllocs goes over many rows: what is allocated must not grow
// with them.
func TestIteratorsTCPAllocs(t *testing.T) {
	const rows = 3*rowsPerChunk + 1
	it := &Iterators{tcp: readerOf(encode(t, make([]iterTcpRow, rows)...), io.EOF)}
	n := 0
	allocs := testing.AllocsPerRun(10, func() {
		n = 0
		for _, err := range it.TCP(false) {
			if err != nil {
				t.Error(err)
			}
			n++
		}
	})
	if n != rows || allocs > 4 {
		t.Errorf("%d rows with %v allocations, want %d with those of the sequence alone", n, allocs, rows)
	}
}

// TestIteratorsTCPError has a pass that fails after some rows, which come first,
// for both families.
func TestIteratorsTCPError(t *testing.T) {
	it := &Iterators{tcp: readerOf(encode(t, make([]iterTcpRow, rowsPerChunk)...), unix.ENOMEM)}
	for _, ipv6 := range []bool{false, true} {
		n := 0
		var last error
		for _, err := range it.TCP(ipv6) {
			if last = err; err == nil {
				n++
			}
		}
		if want := map[bool]int{false: rowsPerChunk}[ipv6]; n != want || !errors.Is(last, unix.ENOMEM) {
			t.Errorf("IPv6 %t: %d rows and %v, want %d and %v", ipv6, n, last, want, unix.ENOMEM)
		}
	}
}

// TestIteratorsTCPStops leaves off, and begins again from the first row.
func TestIteratorsTCPStops(t *testing.T) {
	const rows = 2*rowsPerChunk + 1
	it := &Iterators{tcp: readerOf(encode(t, make([]iterTcpRow, rows)...), io.EOF)}
	for _, stop := range []int{1, rowsPerChunk, rowsPerChunk + 1, rows, rows} {
		n := 0
		for _, err := range it.TCP(false) {
			if n++; n == stop || err != nil {
				break
			}
		}
		if n != stop {
			t.Errorf("%d rows, want %d", n, stop)
		}
	}
}

// TestIteratorsAhead has a pass that was begun for the next LoadTCP: it serves once.
func TestIteratorsAhead(t *testing.T) {
	it := &Iterators{ahead: true}
	if err := it.LoadTCP(true); err != nil || it.ahead {
		t.Errorf("error %v, still there: %t", err, it.ahead)
	}
}

// TestOwnersOf has a process that holds a socket twice and shares another with a
// process that has ended since.
func TestOwnersOf(t *testing.T) {
	self := uint32(os.Getpid())
	const gone = 1 << 23 // above PID_MAX_LIMIT
	o := ownersOf(chunked(encode(t,
		iterOwnerRow{Pid: self, Inode: 9}, // one digit: none to net-tools
		iterOwnerRow{Pid: self, Inode: 10},
		iterOwnerRow{Pid: self, Inode: 11},
		iterOwnerRow{Pid: self, Inode: 10},
		iterOwnerRow{Pid: self, Inode: firstOwnersCount - 1},
		iterOwnerRow{Pid: self, Inode: firstOwnersCount},
		iterOwnerRow{Pid: self, Inode: math.MaxUint64},
		iterOwnerRow{Pid: gone, Inode: 10},
		iterOwnerRow{Pid: gone, Inode: 12},
	), 4*ownerRowSize))
	for inode, want := range map[uint64][]int{
		9: nil, 10: {int(self)}, 11: {int(self)}, 12: nil, 13: nil, math.MaxUint64 - 1: nil, math.MaxUint64: {int(self)},
		firstOwnersCount - 1: {int(self)}, firstOwnersCount: {int(self)}, firstOwnersCount + 1: nil,
	} {
		var got []int
		for p := range o.All(inode) {
			got = append(got, p.PID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("owners of %d (-want +got):\n%s", inode, diff)
		}
	}
	if p := o.First(10); p == nil || len(p.Cmdline) == 0 {
		t.Errorf("the first owner of 10 is %+v", p)
	}
}

func TestInUse(t *testing.T) {
	proc := t.TempDir()
	if n := InUse(proc); n != 0 {
		t.Errorf("%d sockets without the file", n)
	}
	if err := os.Mkdir(filepath.Join(proc, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		text        string
		owners, tcp bool
	}{
		{"", false, false},
		{"sockets: used\nTCP: inuse 1\nUDP: inuse 9000000 mem 4\n", false, false},
		{"sockets: used x\nTCP: inuse 1 orphan 0 tw -5 alloc 1 mem 1\n", false, false},
		{"sockets: used 999\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 1\n", false, false},
		{"sockets: used 999\nTCP: inuse 1 orphan 0 tw 1 alloc 1 mem 1\n", true, false},
		{"sockets: used 20000\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 1\n", true, true},
	}
	for _, test := range tests {
		if err := os.WriteFile(filepath.Join(proc, "net/sockstat"), []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if owners, tcp := InUse(proc) >= OwnersWorth, InUse(proc) >= TCPWorth; owners != test.owners || tcp != test.tcp {
			t.Errorf("%q: owners %t, TCP sockets %t", test.text, owners, tcp)
		}
	}
}
