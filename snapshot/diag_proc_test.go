package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// procTree makes a proc root with the file of TCP and IPv4 that the kernel would show for
// sockets.
func procTree(t *testing.T, sockets ...Socket) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, sockets)
	return root
}

func write(t *testing.T, root string, sockets []Socket) {
	t.Helper()
	text := inetHeader
	for i, s := range sockets {
		endpoint := func(a netip.AddrPort) string {
			ip := a.Addr().As4()
			return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), a.Port())
		}
		text += fmt.Sprintf("%4d: %s %s %02X %08X:%08X 00:00000000 00000000 %5d        0 %d 1\n",
			i, endpoint(s.Local), endpoint(s.Remote), uint8(s.State), s.SendQ, s.RecvQ, s.UID, s.Inode)
	}
	if err := os.MkdirAll(filepath.Join(root, "net"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "net/tcp"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDiagRestFromProc has every dump break off: what was not shown by then comes from
// /proc, and nothing twice.
func TestDiagRestFromProc(t *testing.T) {
	for _, broken := range [][]int{{1, 3}, {1}, {}} {
		list := []*fakeKernel{{parts: [][]byte{partOf(3)}, err: unix.ENOBUFS}}
		for range diagTries - 1 {
			list = append(list, &fakeKernel{parts: [][]byte{partOf(broken...)}, err: unix.ENOBUFS})
		}
		proc := procTree(t, diagSocket(1), diagSocket(3), diagSocket(5), diagSocket(7))
		table, err := LoadDiag(DiagOptions{Family: unix.AF_INET, Proc: proc, open: kernels(list...)})
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]int)
		for s, err := range table.Sockets(false) {
			if err != nil {
				t.Fatal(err)
			}
			got[s.Local.String()]++
		}
		want := map[string]int{"127.0.0.1:80": 1, "127.0.0.3:80": 1, "127.0.0.5:80": 1, "127.0.0.7:80": 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("dumps of %v: (-want +got):\n%s", broken, diff)
		}
	}
}

// TestDiagYoungRequest shows the user of a request socket that is younger than the first
// reading of /proc.
func TestDiagYoungRequest(t *testing.T) {
	request := func(n int) Socket {
		s := diagSocket(n)
		s.State, s.Inode, s.SendQ, s.UID = SynRecv, 0, 0, 1000
		return s
	}
	first, second := request(1), request(3)
	bare := func(s Socket) []byte {
		s.UID = 0 // as sock_diag has it
		return diagMessage(&s)
	}
	root := procTree(t, first)
	k := &fakeKernel{parts: [][]byte{append(bare(first), append(bare(second), doneMessage(0)...)...)}}
	table, err := LoadDiag(DiagOptions{Family: unix.AF_INET, Users: true, Proc: root, open: kernels(k)})
	if err != nil {
		t.Fatal(err)
	}
	var users []uint32
	for s, err := range table.Sockets(false) {
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, s.UID)
		write(t, root, []Socket{first, second})
	}
	if want := []uint32{1000, 1000}; !cmp.Equal(want, users) {
		t.Errorf("users %v, want %v", users, want)
	}
}

// TestDiagPlace tells rows apart by what /proc has of them too.
func TestDiagPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func() Socket {
			addr := func(name string) netip.Addr {
				if rapid.Bool().Draw(t, "IPv6") {
					return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name)))
				}
				return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name)))
			}
			local := addr("local")
			remote := addr("remote")
			if local.Is4() != remote.Is4() {
				remote = local
			}
			return Socket{Head: Head{
				Local: netip.AddrPortFrom(local, rapid.Uint16().Draw(t, "port")), Remote: netip.AddrPortFrom(remote, rapid.Uint16().Draw(t, "port")),
				Inode: uint64(rapid.Uint32().Draw(t, "inode")), Cookie: rapid.Uint64().Draw(t, "cookie"), State: Established,
			}}
		}
		a, b := draw(), draw()
		row := func(s Socket) DiagRow { m, _ := cutMessage(diagMessage(&s)); return m }
		if row(a).place() != placeOf(&a) {
			t.Fatal("a row and its socket are at two places")
		}
		same := a.Local == b.Local && a.Remote == b.Remote && a.Inode == b.Inode
		if (row(a).place() == row(b).place()) != same {
			t.Fatalf("%v and %v: the same place, or two", a, b)
		}
	})
}

// TestDiagRowKinds tells rows of full sockets from others, and reads the cgroup.
func TestDiagRowKinds(t *testing.T) {
	attribute := func(kind uint16, value ...byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
		b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
		return append(b, make([]byte, aligned(len(b))-len(b))...)
	}
	cgroup := attribute(diagCgroupID, binary.NativeEndian.AppendUint64(nil, 77)...)
	for _, c := range []struct {
		name       string
		attributes []byte
		mini       bool
		cgroup     uint64
	}{
		{"timewait", nil, true, 0},
		{"request with a mark", attribute(15, 1, 0, 0, 0), true, 0},
		{"full", attribute(diagShutdown, 0), false, 0},
		{"full with a cgroup", append(attribute(diagShutdown, 3), cgroup...), false, 77},
		{"cut", cgroup[:6], true, 0},
		{"cgroup of four bytes", append(attribute(diagShutdown, 3), attribute(diagCgroupID, 1, 2, 3, 4)...), false, 0},
	} {
		row := append(make(DiagRow, diagRowSize), c.attributes...)
		if row.Mini() != c.mini || row.CgroupID() != c.cgroup {
			t.Errorf("%s: mini %t, cgroup %d", c.name, row.Mini(), row.CgroupID())
		}
	}
}

// TestDiagFindByAddress asks the kernel for a connection and for its timewait socket, with
// and without their cookie.
func TestDiagFindByAddress(t *testing.T) {
	d, err := OpenDiag()
	if err != nil {
		t.Skip(err)
	}
	defer d.Close()
	client, server := pipeOf(t)
	head := Head{Local: addrOf(client, unix.Getsockname), Remote: addrOf(client, unix.Getpeername)}
	head.Cookie, err = unix.GetsockoptUint64(client, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	check := func(mini bool, want State) {
		t.Helper()
		for _, cookie := range []uint64{head.Cookie, 0} {
			asked := head
			asked.Cookie = cookie
			var row DiagRow
			for range 500 { // the other end may acknowledge some time later
				var ok bool
				if row, ok, err = d.Find(TCP, NewDiagRow(&asked)); err != nil || !ok {
					t.Fatalf("cookie %x: found %t, %v", cookie, ok, err)
				}
				if row.Socket(TCP).State == want {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if s := row.Socket(TCP); s.State != want || row.Mini() != mini || s.Cookie != head.Cookie || s.Local != head.Local || s.Remote != head.Remote {
				t.Errorf("found %+v, mini %t", s, row.Mini())
			}
		}
	}
	check(false, Established)
	// One step at a time: where the FIN is acknowledged while close() holds the socket, the
	// kernel leaves it whole (tcp_rcv_state_process, net/ipv4/tcp_input.c).
	if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	check(false, FinWait2)
	if err := unix.Close(client); err != nil {
		t.Fatal(err)
	}
	check(true, FinWait2)
	if err := unix.Close(server); err != nil {
		t.Fatal(err)
	}
	check(true, TimeWait)
	head.Remote = netip.AddrPortFrom(head.Remote.Addr(), 1)
	if _, ok, err := d.Find(TCP, NewDiagRow(&head)); ok || err != nil {
		t.Errorf("found one that is not there: %t, %v", ok, err)
	}
}

// pipeOf makes a connection over the loopback interface.
func pipeOf(t *testing.T) (client, server int) {
	t.Helper()
	loopback := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	listener := socket()
	t.Cleanup(func() { _ = unix.Close(listener) })
	client = socket()
	if err := errors.Join(unix.Bind(listener, loopback), unix.Listen(listener, 1)); err != nil {
		t.Fatal(err)
	}
	to, err := unix.Getsockname(listener)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(client, to); err != nil {
		t.Fatal(err)
	}
	if server, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func addrOf(fd int, name func(int) (unix.Sockaddr, error)) netip.AddrPort {
	sa, err := name(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	in := sa.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
}
