package snapshot

import (
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// encode returns rows as the bytes that a BPF program writes.
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

// chunked splits rows into chunks of a size. The last one may be empty.
func chunked(rows []byte, size int) (chunks [][]byte) {
	for len(rows) >= size {
		chunks, rows = append(chunks, rows[:size]), rows[size:]
	}
	return append(chunks, rows)
}

// shortReader returns its bytes in small parts, now and then none, and ends with an
// error.
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

// TestPassRead reads rows that come in parts. None may be lost or cut.
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

// TestOwnersOf has a process with two descriptors of one socket, and a socket shared
// with a process that has ended since.
func TestOwnersOf(t *testing.T) {
	self := uint32(os.Getpid())
	const gone = 1 << 23 // above PID_MAX_LIMIT
	o := ownersOf(chunked(encode(t,
		iterOwnerRow{Pid: self, Inode: 9}, // net-tools does not take one digit for an inode
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
		text   string
		owners bool
	}{
		{"", false},
		{"sockets: used\nTCP: inuse 1\nUDP: inuse 9000000 mem 4\n", false},
		{"sockets: used x\nTCP: inuse 1 orphan 0 tw -5 alloc 1 mem 1\n", false},
		{"sockets: used 999\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 1\n", false},
		{"sockets: used 999\nTCP: inuse 1 orphan 0 tw 1 alloc 1 mem 1\n", true},
		{"sockets: used 20000\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 1\n", true},
	}
	for _, test := range tests {
		if err := os.WriteFile(filepath.Join(proc, "net/sockstat"), []byte(test.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if owners := InUse(proc) >= OwnersWorth; owners != test.owners {
			t.Errorf("%q: owners %t", test.text, owners)
		}
	}
}

// TestIteratorSections wants no iterator but that of open files: those over TCP sockets can
// corrupt the kernel's memory (CVE-2026-74714).
func TestIteratorSections(t *testing.T) {
	spec, err := loadIter()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range spec.Programs {
		if p.SectionName != "iter/task_file" {
			t.Errorf("program %s is in section %s", name, p.SectionName)
		}
	}
}
