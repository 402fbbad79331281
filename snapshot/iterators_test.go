package snapshot

import (
	"encoding/binary"
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

// TestIteratorsTCP has the families mixed, as an iterator passes over them.
func TestIteratorsTCP(t *testing.T) {
	mapped := netip.MustParseAddr("::ffff:127.0.0.1")
	it := &Iterators{rows: encode(t,
		iterTcpRow{Family: unix.AF_INET6, State: uint8(Listen), LocalPort: 80, LocalAddr: mapped.As16(), RecvQ: 3, Inode: 1 << 33},
		iterTcpRow{
			Family: unix.AF_INET, State: uint8(TimeWait), LocalPort: 443, RemotePort: 65535, Uid: 1000,
			LocalAddr: [16]byte{10, 0, 0, 1}, RemoteAddr: [16]byte{10, 0, 0, 2}, RecvQ: 1, SendQ: math.MaxUint32, Inode: 7,
		},
		iterTcpRow{Family: unix.AF_INET6, State: uint8(Established), LocalPort: 1, RemotePort: 2},
	)}
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
	const rows = 1000
	it := &Iterators{rows: encode(t, make([]iterTcpRow, rows)...)}
	n := 0
	allocs := testing.AllocsPerRun(10, func() {
		n = 0
		for range it.TCP(false) {
			n++
		}
	})
	if n != rows || allocs > 2 {
		t.Errorf("%d rows with %v allocations, want %d with no more than the sequence", n, allocs, rows)
	}
}

// TestIteratorsAhead has a pass that was made for the next LoadTCP, and one that
// failed.
func TestIteratorsAhead(t *testing.T) {
	failed := os.ErrPermission
	for _, err := range []error{nil, failed} {
		it := &Iterators{ahead: true, err: err}
		if got := it.LoadTCP(true); got != err {
			t.Errorf("error %v, want %v", got, err)
		}
		if it.ahead {
			t.Error("the pass serves a second time")
		}
	}
}

// TestOwnersOf has a process that holds a socket twice and shares another with a
// process that has ended since.
func TestOwnersOf(t *testing.T) {
	self := uint32(os.Getpid())
	const gone = 1 << 23 // above PID_MAX_LIMIT
	o := ownersOf(encode(t,
		iterOwnerRow{Pid: self, Inode: 9}, // one digit: none to net-tools
		iterOwnerRow{Pid: self, Inode: 10},
		iterOwnerRow{Pid: self, Inode: 11},
		iterOwnerRow{Pid: self, Inode: 10},
		iterOwnerRow{Pid: gone, Inode: 10},
		iterOwnerRow{Pid: gone, Inode: 12},
	))
	for inode, want := range map[uint64][]int{9: nil, 10: {int(self)}, 11: {int(self)}, 12: nil, 13: nil} {
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

func TestWorth(t *testing.T) {
	proc := t.TempDir()
	if Worth(proc, true) {
		t.Error("worth it without the file")
	}
	if err := os.Mkdir(filepath.Join(proc, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		text          string
		owners, alone bool
	}{
		{"", false, false},
		{"sockets: used\nTCP: inuse 1\nUDP: inuse 9000000 mem 4\n", false, false},
		{"sockets: used x\nTCP: inuse 1 orphan 0 tw -5 alloc 1 mem 1\n", false, false},
		{"sockets: used 4999\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 1\n", false, false},
		{"sockets: used 4999\nTCP: inuse 1 orphan 0 tw 1 alloc 1 mem 1\n", true, false},
		{"sockets: used 20000\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 1\n", true, true},
	}
	for _, test := range tests {
		if err := os.WriteFile(filepath.Join(proc, "net/sockstat"), []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if owners, alone := Worth(proc, true), Worth(proc, false); owners != test.owners || alone != test.alone {
			t.Errorf("%q: %t with owners, %t without", test.text, owners, alone)
		}
	}
}
