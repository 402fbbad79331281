package tracer

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// The layout that the programs write (headers/event.h). bpf2go makes the Go types
// from it; a change of either must be seen.
func TestEventLayout(t *testing.T) {
	var (
		h streamEventHead
		e streamEvent
		o streamOwnerEvent
		c streamCloseEvent
		p streamProcessEvent
		q streamRequestEvent
		f streamFileEvent
		x streamExeEvent
		l streamLifeEvent
		d streamDroppedEvent
	)
	for _, at := range []struct {
		name      string
		got, want uintptr
	}{
		{"event_head", unsafe.Sizeof(h), 40},
		{"event_head.time", unsafe.Offsetof(h.Time), 0},
		{"event_head.kind", unsafe.Offsetof(h.Kind), 8},
		{"event_head.family", unsafe.Offsetof(h.Family), 11},
		{"event_head.netns", unsafe.Offsetof(h.Netns), 12},
		{"event_head.sk", unsafe.Offsetof(h.Sk), 16},
		{"event_head.cookie", unsafe.Offsetof(h.Cookie), 24},
		{"event_head.task", unsafe.Offsetof(h.Task), 32},
		{"event", unsafe.Sizeof(e), 96},
		{"event.uid", unsafe.Offsetof(e.Uid), 40},
		{"event.local_port", unsafe.Offsetof(e.LocalPort), 48},
		{"event.err", unsafe.Offsetof(e.Err), 52},
		{"event.device", unsafe.Offsetof(e.Device), 56},
		{"event.released", unsafe.Offsetof(e.Released), 60},
		{"event.local_addr", unsafe.Offsetof(e.LocalAddr), 64},
		{"event.remote_addr", unsafe.Offsetof(e.RemoteAddr), 80},
		{"owner_event", unsafe.Sizeof(o), 120},
		{"owner_event.cgroup", unsafe.Offsetof(o.Cgroup), 96},
		{"close_event", unsafe.Sizeof(c), 152},
		{"close_event.bytes_sent", unsafe.Offsetof(c.BytesSent), 96},
		{"close_event.min_rtt_us", unsafe.Offsetof(c.MinRttUs), 128},
		{"close_event.err_soft", unsafe.Offsetof(c.ErrSoft), 132},
		{"close_event.flags", unsafe.Offsetof(c.Flags), 135},
		{"close_event.bytes_retrans", unsafe.Offsetof(c.BytesRetrans), 136},
		{"close_event.bytes_out", unsafe.Offsetof(c.BytesOut), 144},
		{"request_event", unsafe.Sizeof(q), 104},
		{"request_event.listener", unsafe.Offsetof(q.Listener), 96},
		{"life_event", uintptr(sizeLife), 280},
		{"life_event.life", unsafe.Offsetof(l.Life), 152},
		{"life.by", unsafe.Offsetof(l.Life.By), 88},
		{"life.used", unsafe.Offsetof(l.Life.Used), 32},
		{"life.flags", unsafe.Offsetof(l.Life.Flags), 44},
		{"life.start", unsafe.Offsetof(l.Life.Start), 64},
		{"life.family", unsafe.Offsetof(l.Life.Family), 128},
		{"life", unsafe.Sizeof(l.Life), 192},
		{"life.walk", unsafe.Offsetof(l.Life.Walk), 48},
		{"life.local_addr", unsafe.Offsetof(l.Life.LocalAddr), 144},
		{"dropped_event", unsafe.Sizeof(d), 112},
		{"dropped_event.gone", unsafe.Offsetof(d.Gone), 104},
		{"file_event", unsafe.Sizeof(f), 96},
		{"file_event.comm", unsafe.Offsetof(f.Comm), 64},
		{"file_event.cgroup", unsafe.Offsetof(f.Cgroup), 80},
		{"file_event.uid", unsafe.Offsetof(f.Uid), 88},
		{"exe_event", unsafe.Sizeof(x), 528},
		{"exe_event.start", unsafe.Offsetof(x.Start), 10},
		{"exe_event.task", unsafe.Offsetof(x.Task), 12},
		{"exe_event.path", unsafe.Offsetof(x.Path), 16},
		{"process_event", unsafe.Sizeof(p), 296},
		{"process_event.kind", unsafe.Offsetof(p.Kind), 8},
		{"process_event.task", unsafe.Offsetof(p.Task), 12},
		{"process_event.pid", unsafe.Offsetof(p.Pid), 16},
		{"process_event.comm", unsafe.Offsetof(p.Comm), 24},
		{"process_event.cmdline", unsafe.Offsetof(p.Cmdline), 40},
	} {
		if at.got != at.want {
			t.Errorf("%s is %d, want %d", at.name, at.got, at.want)
		}
	}
}

// The kinds of event are numbered as in headers/event.h.
func TestEventKinds(t *testing.T) {
	for kind, want := range map[table.EventKind]streamEventKind{
		table.EventState:     streamEventKindEVENT_STATE,
		table.EventMissed:    streamEventKindEVENT_MISSED,
		table.EventPort:      streamEventKindEVENT_PORT,
		table.EventAccept:    streamEventKindEVENT_ACCEPT,
		table.EventRelease:   streamEventKindEVENT_RELEASE,
		table.EventMiniBorn:  streamEventKindEVENT_MINI_BORN,
		table.EventMiniGone:  streamEventKindEVENT_MINI_GONE,
		table.EventMiniState: streamEventKindEVENT_MINI_STATE,
		table.EventFile:      streamEventKindEVENT_FILE,
		table.EventProcess:   streamEventKindEVENT_PROCESS,
		table.EventExe:       streamEventKindEVENT_EXE,

		table.EventResetSent:     streamEventKindEVENT_RESET_SENT,
		table.EventResetCame:     streamEventKindEVENT_RESET_CAME,
		table.EventMiniExpired:   streamEventKindEVENT_MINI_EXPIRED,
		table.EventConnectFailed: streamEventKindEVENT_CONNECT_FAILED,

		table.EventStory:   streamEventKindEVENT_LIFE,
		table.EventDropped: streamEventKindEVENT_DROPPED,
	} {
		if streamEventKind(kind) != want {
			t.Errorf("kind %d is %d in the programs", kind, want)
		}
	}
}

// encode gives the bytes of a record as a program would write it.
func encode(t testing.TB, record any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, record); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func head(kind table.EventKind) streamEventHead {
	return streamEventHead{
		Time: 12345, Kind: uint8(kind), OldState: 7, NewState: 2, Family: afInet,
		Netns: 4026531840, Sk: 0xffff888012345678, Cookie: 77, Task: 10, Tid: 11,
	}
}

func body(kind table.EventKind) streamEvent {
	return streamEvent{
		Head: head(kind), Uid: 1000, Inode: 99, LocalPort: 40000, RemotePort: 443, Err: 111, Cpu: 3, Device: 3, Released: 1,
		LocalAddr: [16]uint8{10, 0, 0, 1}, RemoteAddr: [16]uint8{10, 0, 0, 2},
	}
}

func wantBody(kind table.EventKind) table.Event {
	return table.Event{
		Kind: kind, Old: snapshot.Close, New: snapshot.SynSent, Time: 12345, Sock: 0xffff888012345678,
		Cookie: 77, Netns: 4026531840, Task: 10, TID: 11, UID: 1000, Inode: 99,
		Local: netip.MustParseAddrPort("10.0.0.1:40000"), Remote: netip.MustParseAddrPort("10.0.0.2:443"),
		Err: syscall.ECONNREFUSED, CPU: 3, Device: 3, HasUID: true, Released: true,
	}
}

func TestDecode(t *testing.T) {
	v6 := body(table.EventState)
	v6.Head.Family = afInet6
	v6.LocalAddr = [16]uint8{15: 1}
	v6.RemoteAddr = [16]uint8{10: 0xff, 11: 0xff, 12: 10, 15: 2}
	wantV6 := wantBody(table.EventState)
	wantV6.Local = netip.MustParseAddrPort("[::1]:40000")
	wantV6.Remote = netip.MustParseAddrPort("[::ffff:10.0.0.2]:443")

	owner := wantBody(table.EventAccept)
	owner.CgroupID = 5
	copy(owner.Thread[:], "worker")

	closed := wantBody(table.EventState)
	closed.HasStats = true
	closed.BytesSent, closed.BytesReceived = 1<<40, 2
	closed.SegsOut, closed.SegsIn, closed.Retrans, closed.RTT, closed.MinRTT = 3, 4, 5, 6, 7
	closed.BytesRetrans, closed.BytesOut, closed.ErrSoft = 1<<41, 1<<42, syscall.EHOSTUNREACH
	closed.SocketState, closed.RcvShutdown, closed.GotFIN, closed.AllAcked = 2, true, true, true

	failed := wantBody(table.EventConnectFailed)
	failed.CgroupID, failed.Thread = owner.CgroupID, owner.Thread

	released := table.Event{
		Kind: table.EventRelease, Old: snapshot.Close, New: snapshot.SynSent, Time: 12345, Sock: 0xffff888012345678,
		Cookie: 77, Netns: 4026531840, Task: 10, TID: 11,
	}
	process := streamProcessEvent{
		Time: 12345, Kind: uint8(table.EventProcess), Exec: 1, Task: 10, Pid: 3, CmdlineLen: 9,
		Comm: [16]uint8{'c', 'u', 'r', 'l'},
	}
	copy(process.Cmdline[:], "curl\x00-s\x00\x00rest")
	titled := streamProcessEvent{
		Kind: uint8(table.EventProcess), Title: 1, Task: 10, CmdlineLen: 20, Comm: [16]uint8{'w', 'o', 'r', 'k'},
	}
	copy(titled.Cmdline[:], "work: idle\x00PATH=/bin")
	deleted := streamExeEvent{Time: 12345, Kind: uint8(table.EventExe), Deleted: 1, Start: 247, Task: 10}
	copy(deleted.Path[247:], "/bin/curl rest")
	unknown := streamExeEvent{Kind: uint8(table.EventExe), Start: 256, Task: 10}

	born := wantBody(table.EventMiniBorn)
	born.Listener = 33
	timewait := body(table.EventMiniBorn)
	timewait.Uid = uidUnknown
	wantTimewait := wantBody(table.EventMiniBorn)
	wantTimewait.UID, wantTimewait.HasUID = 0, false
	file := released
	file.Kind, file.Inode, file.Start, file.PID, file.MPTCP = table.EventFile, 99, 5e9, 3, true
	copy(file.Thread[:], "nginx")
	file.UID, file.HasUID, file.CgroupID = 33, true, 44

	for _, c := range []struct {
		name   string
		record any
		want   table.Event
	}{
		{"transition", body(table.EventState), wantBody(table.EventState)},
		{"ipv6 and v4-mapped", v6, wantV6},
		{"accept", streamOwnerEvent{Event: body(table.EventAccept), Cgroup: 5, Thread: owner.Thread}, owner},
		{"close", streamCloseEvent{
			Event: body(table.EventState), BytesSent: 1 << 40, BytesReceived: 2,
			SegsOut: 3, SegsIn: 4, Retrans: 5, RttUs: 6, MinRttUs: 7,
			ErrSoft: uint16(syscall.EHOSTUNREACH), SocketState: 2, Flags: 1 + 4 + 16,
			BytesRetrans: 1 << 41, BytesOut: 1 << 42,
		}, closed},
		{"failed connect", streamOwnerEvent{Event: body(table.EventConnectFailed), Cgroup: 5, Thread: owner.Thread}, failed},
		{"release", head(table.EventRelease), released},
		{"process", process, table.Event{
			Kind: table.EventProcess, Time: 12345, Task: 10, Exec: true,
			Process: &snapshot.Process{PID: 3, Comm: "curl", Cmdline: "curl\x00-s"},
		}},
		{"process with a title and no number", titled, table.Event{
			Kind: table.EventProcess, Task: 10, Process: &snapshot.Process{Comm: "work", Cmdline: "work: idle"},
		}},
		{"executable", deleted, table.Event{
			Kind: table.EventExe, Time: 12345, Task: 10, Process: &snapshot.Process{Exe: "/bin/curl (deleted)"},
		}},
		{"unknown executable", unknown, table.Event{Kind: table.EventExe, Task: 10, Process: &snapshot.Process{}}},
		{"birth of a request", streamRequestEvent{Event: body(table.EventMiniBorn), Listener: 33}, born},
		{"birth of a timewait socket", timewait, wantTimewait},
		{"open file", streamFileEvent{
			Head: head(table.EventFile), Inode: 99, Start: 5e9, Pid: 3, Mptcp: 1, Comm: [16]uint8(file.Thread[:]), Uid: 33, Cgroup: 44,
		}, file},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e table.Event
			if err := decode(encode(t, c.record), &e); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, e, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	long := streamProcessEvent{Kind: uint8(table.EventProcess), CmdlineLen: 1000}
	for name, raw := range map[string][]byte{
		"empty":                  {},
		"short":                  make([]byte, sizeHead-1),
		"unknown kind":           encode(t, streamEventHead{Kind: 200}),
		"row, which is no event": encode(t, body(table.EventRow)),
		"kind zero":              make([]byte, sizeEvent),
		"head for a transition":  encode(t, head(table.EventState)),
		"event for a release":    encode(t, body(table.EventRelease)),
		"event for a RST":        encode(t, body(table.EventResetSent)),
		"head for a connect":     encode(t, head(table.EventConnectFailed)),
		"command line too long":  encode(t, long),
	} {
		var e table.Event
		if err := decode(raw, &e); err == nil {
			t.Errorf("%s: decoded to %+v", name, e)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, body(table.EventState)))
	f.Add(encode(f, streamOwnerEvent{Event: body(table.EventAccept)}))
	f.Add(encode(f, streamCloseEvent{Event: body(table.EventState)}))
	f.Add(encode(f, head(table.EventMiniGone)))
	f.Add(encode(f, head(table.EventMiniExpired)))
	f.Add(encode(f, head(table.EventResetSent)))
	f.Add(encode(f, streamOwnerEvent{Event: body(table.EventConnectFailed)}))
	f.Add(encode(f, streamProcessEvent{Kind: uint8(table.EventProcess), CmdlineLen: 4}))
	f.Add(encode(f, streamExeEvent{Kind: uint8(table.EventExe), Start: 250}))
	f.Add(encode(f, streamFileEvent{Head: head(table.EventFile), Mptcp: 1}))
	f.Add(encode(f, streamRequestEvent{Event: body(table.EventMiniBorn), Listener: 9}))
	procs := table.NewProcesses(10, startReader("/proc"), func(uint32) {})
	sockets := table.New(table.Config{Resets: true, Connects: true}, procs, func(*table.Change) {})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e table.Event
		if err := decode(raw, &e); err != nil {
			return
		}
		bare := e.Kind == table.EventProcess || e.Kind == table.EventExe || e.Kind == table.EventFile || len(raw) == sizeHead
		if e.Local.Addr().IsValid() == bare {
			t.Errorf("a record of %d bytes has the address %v", len(raw), e.Local)
		}
		sockets.Apply(&e) // must not panic, whatever the order
	})
}

func TestDecodeAllocatesNothing(t *testing.T) {
	raw := encode(t, streamCloseEvent{Event: body(table.EventState)})
	var e table.Event
	if n := testing.AllocsPerRun(100, func() {
		if err := decode(raw, &e); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each event", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	raw := encode(b, streamCloseEvent{Event: body(table.EventState)})
	var e table.Event
	for b.Loop() {
		if err := decode(raw, &e); err != nil {
			b.Fatal(err)
		}
	}
}
