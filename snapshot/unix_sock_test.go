package snapshot

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadUnixEnds compares sockets with what the system calls say of them.
func TestReadUnixEnds(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{pair[0], pair[1], bound} {
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	name := "\x00nettrace\x00of a test"
	if err := bindUnixName(bound, name); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(bound, 1); err != nil {
		t.Fatal(err)
	}
	uid := uint32(os.Geteuid())
	want := map[int]UnixEnd{
		pair[0]: {Type: unix.SOCK_SEQPACKET, State: Established, HasPeer: true, PeerInode: inodeOf(t, pair[1])},
		pair[1]: {Type: unix.SOCK_SEQPACKET, State: Established, HasPeer: true, PeerInode: inodeOf(t, pair[0])},
		bound:   {Type: unix.SOCK_STREAM, State: Listen, Named: true},
	}
	got := make(map[uint32]UnixEnd)
	err = ReadUnixEnds(func(u *UnixEnd) {
		end := *u
		end.Name = append([]byte(nil), u.Name...)
		got[u.Inode] = end
	})
	if err != nil {
		t.Skip("the kernel has no unix_diag: ", err)
	}
	for fd, w := range want {
		g := got[inodeOf(t, fd)]
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		if err != nil {
			t.Fatal(err)
		}
		if g.Type != w.Type || g.State != w.State || g.HasPeer != w.HasPeer || g.PeerInode != w.PeerInode ||
			g.Named != w.Named || g.Cookie != cookie || g.HasUID && g.UID != uid {
			t.Errorf("read %+v, want %+v with cookie %d", g, w, cookie)
		}
		if w.Named && string(g.Name) != name {
			t.Errorf("name %q, want %q", g.Name, name)
		}
	}
}

func inodeOf(t *testing.T, fd int) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}

// FuzzUnixEnd reads whatever a message may hold. A name is never longer than its message.
func FuzzUnixEnd(f *testing.F) {
	message := make([]byte, unixDiagFixed, 64)
	message[0], message[1], message[2] = unix.AF_UNIX, unix.SOCK_STREAM, uint8(Listen)
	message = binary.NativeEndian.AppendUint16(message, 4+5)
	message = binary.NativeEndian.AppendUint16(message, unixDiagName)
	f.Add(append(message, "\x00name\x00\x00\x00"...))
	f.Add(message[:unixDiagFixed])
	f.Add(message[:3])
	f.Fuzz(func(t *testing.T, message []byte) {
		var u UnixEnd
		if ok := u.read(message); ok != (len(message) >= unixDiagFixed) {
			t.Errorf("%d bytes: read %t", len(message), ok)
		}
		if len(u.Name) > len(message) || len(u.Name) > 0 && !u.Named {
			t.Errorf("name of %d bytes, named %t", len(u.Name), u.Named)
		}
	})
}
