package tracer

import (
	"net/netip"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// The layout of the records of sockets (headers/event.h).
func TestSocketLayout(t *testing.T) {
	var (
		s socketsSocketEvent
		u socketsUnixEvent
	)
	for _, at := range []struct {
		name      string
		got, want uintptr
	}{
		{"event", unsafe.Sizeof(s.Event), unsafe.Sizeof(streamEvent{})},
		{"event.local_addr", unsafe.Offsetof(s.Event.LocalAddr), unsafe.Offsetof(streamEvent{}.LocalAddr)},
		{"socket_event", unsafe.Sizeof(s), 128},
		{"socket_event.cgroup", unsafe.Offsetof(s.Cgroup), 96},
		{"socket_event.change", unsafe.Offsetof(s.Change), 120},
		{"socket_event.type", unsafe.Offsetof(s.Type), 123},
		{"unix_event", unsafe.Sizeof(u), 272},
		{"unix_event.peer", unsafe.Offsetof(u.Peer), 128},
		{"unix_event.name_len", unsafe.Offsetof(u.NameLen), 158},
		{"unix_event.name", unsafe.Offsetof(u.Name), 160},
	} {
		if at.got != at.want {
			t.Errorf("%s is %d, want %d", at.name, at.got, at.want)
		}
	}
}

// The changes are numbered as in headers/event.h.
func TestSocketKinds(t *testing.T) {
	for kind, want := range map[table.SocketChangeKind]socketsSocketChange{
		table.SocketSeen:       socketsSocketChangeSOCKET_SEEN,
		table.SocketOpen:       socketsSocketChangeSOCKET_OPEN,
		table.SocketBind:       socketsSocketChangeSOCKET_BIND,
		table.SocketConnect:    socketsSocketChangeSOCKET_CONNECT,
		table.SocketDisconnect: socketsSocketChangeSOCKET_DISCONNECT,
		table.SocketListen:     socketsSocketChangeSOCKET_LISTEN,
		table.SocketAccept:     socketsSocketChangeSOCKET_ACCEPT,
		table.SocketLostPeer:   socketsSocketChangeSOCKET_LOST_PEER,
		table.SocketFamily:     socketsSocketChangeSOCKET_FAMILY,
		table.SocketClose:      socketsSocketChangeSOCKET_CLOSE,
	} {
		if socketsSocketChange(kind) != want {
			t.Errorf("%v is %d, in the programs %d", kind, kind, want)
		}
	}
}

// socketRecord is the start of a record, as the programs write it.
func socketRecord(kind uint8, change table.SocketChangeKind) (s socketsSocketEvent) {
	h := &s.Event.Head
	h.Time, h.Kind, h.NewState, h.Family, h.Netns = 12345, kind, 1, afInet, 4026531840
	h.Sk, h.Cookie, h.Task, h.Tid = 0xffff888012345678, 77, 10, 11
	s.Event.Uid, s.Event.Inode, s.Event.LocalPort, s.Event.RemotePort, s.Event.Device = 1000, 99, 40000, 53, 3
	s.Event.LocalAddr, s.Event.RemoteAddr = [16]uint8{10, 0, 0, 1}, [16]uint8{10, 0, 0, 2}
	s.Event.Err = uint16(syscall.ECONNREFUSED)
	s.Cgroup, s.Change, s.Protocol, s.Type = 5, uint8(change), syscall.IPPROTO_UDP, syscall.SOCK_DGRAM
	s.Flags = uint8(socketsSocketFlagSOCKET_SHOWN | socketsSocketFlagSOCKET_AUTO)
	copy(s.Thread[:], "worker")
	return s
}

func wantSocket(change table.SocketChangeKind) table.SocketEvent {
	e := table.SocketEvent{
		Kind: change, Protocol: snapshot.UDP, Type: syscall.SOCK_DGRAM, State: snapshot.Established, Time: 12345,
		Sock: 0xffff888012345678, Cookie: 77, Netns: 4026531840, Task: 10, TID: 11, UID: 1000, HasUID: true, Inode: 99,
		Local: netip.MustParseAddrPort("10.0.0.1:40000"), Remote: netip.MustParseAddrPort("10.0.0.2:53"), Device: 3,
		CgroupID: 5, Shown: true, Auto: true,
	}
	copy(e.Thread[:], "worker")
	return e
}

func TestDecodeSocket(t *testing.T) {
	v6 := socketRecord(kindSocket, table.SocketClose)
	v6.Event.Head.Family = afInet6
	v6.Event.LocalAddr, v6.Event.RemoteAddr = [16]uint8{15: 1}, [16]uint8{10: 0xff, 11: 0xff, 12: 10, 15: 2}
	v6.Event.Uid, v6.Protocol = uidUnknown, syscall.IPPROTO_UDPLITE
	v6.Flags = uint8(socketsSocketFlagSOCKET_EXITING | socketsSocketFlagSOCKET_KERNEL)
	wantV6 := wantSocket(table.SocketClose)
	wantV6.Local, wantV6.Remote = netip.MustParseAddrPort("[::1]:40000"), netip.MustParseAddrPort("[::ffff:10.0.0.2]:53")
	wantV6.UID, wantV6.HasUID, wantV6.Protocol = 0, false, snapshot.UDPLite
	wantV6.Shown, wantV6.Auto, wantV6.Exiting, wantV6.Kernel = false, false, true, true

	raw := socketRecord(kindSocket, table.SocketConnect)
	raw.Type, raw.Flags = syscall.SOCK_RAW, uint8(socketsSocketFlagSOCKET_INTENT|socketsSocketFlagSOCKET_MORE)
	wantRaw := wantSocket(table.SocketConnect)
	wantRaw.Type, wantRaw.Protocol = syscall.SOCK_RAW, snapshot.Raw
	wantRaw.Shown, wantRaw.Auto, wantRaw.Intent, wantRaw.More = false, false, true, true

	aborted := socketRecord(kindSocket, table.SocketDisconnect)
	aborted.Event.Err = uint16(syscall.ECONNABORTED)
	wantAborted := wantSocket(table.SocketDisconnect)
	wantAborted.Err = syscall.ECONNABORTED

	for _, c := range []struct {
		name   string
		record any
		want   table.SocketEvent
	}{
		{"bind", socketRecord(kindSocket, table.SocketBind), wantSocket(table.SocketBind)},
		{"ipv6, udplite, closed by a kernel thread", v6, wantV6},
		{"raw, before the call", raw, wantRaw},
		{"disconnect after an ICMP error", socketRecord(kindSocket, table.SocketDisconnect), wantSocket(table.SocketDisconnect)},
		{"abort", aborted, wantAborted},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e table.SocketEvent
			if err := decodeSocket(encode(t, c.record), &e); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, e, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeUnix(t *testing.T) {
	record := socketsUnixEvent{
		Socket: socketRecord(kindUnix, table.SocketConnect), Peer: 8, Listener: 9, PeerInode: 10, PeerPid: 12, Backlog: 13,
		Flags: uint8(socketsUnixFlagUNIX_HAS_SOCKET | socketsUnixFlagUNIX_HAS_NAME), NameLen: 4,
	}
	copy(record.Name[:], "\x00a\x00b")
	var e table.SocketEvent
	if err := decodeSocket(encode(t, record), &e); err != nil {
		t.Fatal(err)
	}
	want := table.UnixEvent{
		Name: []byte("\x00a\x00b"), Named: true, HasSocket: true, Peer: 8, PeerInode: 10, PeerPID: 12, Listener: 9, Backlog: 13,
	}
	if diff := cmp.Diff(want, e.Unix); diff != "" || e.Protocol != snapshot.Unix || e.Local.IsValid() {
		t.Errorf("protocol %v, address %v (-want +got):\n%s", e.Protocol, e.Local, diff)
	}
}

func TestDecodeSocketErrors(t *testing.T) {
	long := socketsUnixEvent{Socket: socketRecord(kindUnix, table.SocketBind), NameLen: 109}
	for name, raw := range map[string][]byte{
		"unknown change":   encode(t, socketRecord(kindSocket, table.SocketChanged)),
		"too short":        encode(t, socketRecord(kindSocket, table.SocketBind))[:100],
		"inet for a unix":  encode(t, socketRecord(kindUnix, table.SocketBind)),
		"unix for an inet": encode(t, socketsUnixEvent{Socket: socketRecord(kindSocket, table.SocketBind)}),
		"name too long":    encode(t, long),
	} {
		var e table.SocketEvent
		if !ofSocket(raw) {
			t.Errorf("%s: not taken for a record of a socket", name)
		} else if err := decodeSocket(raw, &e); err == nil {
			t.Errorf("%s: decoded to %+v", name, e)
		}
	}
}

func TestDecodeSocketAllocatesNothing(t *testing.T) {
	records := [][]byte{
		encode(t, socketRecord(kindSocket, table.SocketBind)),
		encode(t, socketsUnixEvent{Socket: socketRecord(kindUnix, table.SocketBind), NameLen: 8}),
	}
	var e table.SocketEvent
	if n := testing.AllocsPerRun(100, func() {
		for _, raw := range records {
			if err := decodeSocket(raw, &e); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for two events", n)
	}
}

// FuzzDecodeSocket wants the table to take whatever is decoded.
func FuzzDecodeSocket(f *testing.F) {
	for kind := table.SocketSeen; kind <= table.SocketClose; kind++ {
		f.Add(encode(f, socketRecord(kindSocket, kind)))
		f.Add(encode(f, socketsUnixEvent{Socket: socketRecord(kindUnix, kind), NameLen: 4, Peer: 78}))
	}
	procs := table.NewProcesses(10, startReader("/proc"), func(uint32) {})
	none := func(snapshot.Protocol) bool { return false }
	sockets := table.NewSockets(table.SocketConfig{Closes: none, Polled: none}, procs, func(*table.SocketChange) {})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e table.SocketEvent
		if !ofSocket(raw) || decodeSocket(raw, &e) != nil {
			return
		}
		if e.Local.Addr().IsValid() == (e.Protocol == snapshot.Unix) {
			t.Errorf("a socket of %v has the address %v", e.Protocol, e.Local)
		}
		sockets.Apply(&e) // must not panic, whatever the order
	})
}
