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
)

// The layout that the programs write (headers/event.h). bpf2go makes the Go types
// from it; a change of either must be seen.
func TestEventLayout(t *testing.T) {
	var (
		h streamEventHead
		e streamEvent
		o streamOwnerEvent
		c streamCloseEvent
		r streamRowEvent
		p streamProcessEvent
	)
	for _, f := range []struct {
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
		{"event_head.pid", unsafe.Offsetof(h.Pid), 32},
		{"event", unsafe.Sizeof(e), 88},
		{"event.uid", unsafe.Offsetof(e.Uid), 40},
		{"event.local_port", unsafe.Offsetof(e.LocalPort), 48},
		{"event.err", unsafe.Offsetof(e.Err), 52},
		{"event.local_addr", unsafe.Offsetof(e.LocalAddr), 56},
		{"event.remote_addr", unsafe.Offsetof(e.RemoteAddr), 72},
		{"owner_event", unsafe.Sizeof(o), 112},
		{"owner_event.cgroup", unsafe.Offsetof(o.Cgroup), 88},
		{"close_event", unsafe.Sizeof(c), 128},
		{"close_event.bytes_sent", unsafe.Offsetof(c.BytesSent), 88},
		{"close_event.min_rtt_us", unsafe.Offsetof(c.MinRttUs), 120},
		{"row_event", unsafe.Sizeof(r), 104},
		{"process_event", unsafe.Sizeof(p), 296},
		{"process_event.kind", unsafe.Offsetof(p.Kind), 8},
		{"process_event.pid", unsafe.Offsetof(p.Pid), 12},
		{"process_event.comm", unsafe.Offsetof(p.Comm), 24},
		{"process_event.cmdline", unsafe.Offsetof(p.Cmdline), 40},
	} {
		if f.got != f.want {
			t.Errorf("%s is %d, want %d", f.name, f.got, f.want)
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

func head(kind EventKind) streamEventHead {
	return streamEventHead{
		Time: 12345, Kind: uint8(kind), OldState: 7, NewState: 2, Family: afInet,
		Netns: 4026531840, Sk: 0xffff888012345678, Cookie: 77, Pid: 10, Tid: 11,
	}
}

func body(kind EventKind) streamEvent {
	return streamEvent{
		Head: head(kind), Uid: 1000, Inode: 99, LocalPort: 40000, RemotePort: 443, Err: 111,
		LocalAddr: [16]uint8{10, 0, 0, 1}, RemoteAddr: [16]uint8{10, 0, 0, 2},
	}
}

func wantBody(kind EventKind) Event {
	return Event{
		Kind: kind, Old: snapshot.Close, New: snapshot.SynSent, Time: 12345, Sock: 0xffff888012345678,
		Cookie: 77, Netns: 4026531840, PID: 10, TID: 11, UID: 1000, Inode: 99,
		Local: netip.MustParseAddrPort("10.0.0.1:40000"), Remote: netip.MustParseAddrPort("10.0.0.2:443"),
		Err: syscall.ECONNREFUSED,
	}
}

func TestDecode(t *testing.T) {
	v6 := body(EventState)
	v6.Head.Family = afInet6
	v6.LocalAddr = [16]uint8{15: 1}
	v6.RemoteAddr = [16]uint8{10: 0xff, 11: 0xff, 12: 10, 15: 2}
	wantV6 := wantBody(EventState)
	wantV6.Local = netip.MustParseAddrPort("[::1]:40000")
	wantV6.Remote = netip.MustParseAddrPort("[::ffff:10.0.0.2]:443")

	owner := wantBody(EventAccept)
	owner.CgroupID = 5
	copy(owner.Thread[:], "worker")

	closed := wantBody(EventState)
	closed.HasStats = true
	closed.BytesSent, closed.BytesReceived = 1<<40, 2
	closed.SegsOut, closed.SegsIn, closed.Retrans, closed.RTT, closed.MinRTT = 3, 4, 5, 6, 7

	request := body(EventRow)
	request.Head.OldState = newSynRecv
	row := wantBody(EventRow)
	row.Old, row.Mini, row.CgroupID, row.RecvQ, row.SendQ = 0, true, 5, 8, 9

	released := Event{
		Kind: EventRelease, Old: snapshot.Close, New: snapshot.SynSent, Time: 12345, Sock: 0xffff888012345678,
		Cookie: 77, Netns: 4026531840, PID: 10, TID: 11,
	}
	process := streamProcessEvent{
		Time: 12345, Kind: uint8(EventProcess), Pid: 10, Uid: 1000, CmdlineLen: 9,
		Comm: [16]uint8{'c', 'u', 'r', 'l'},
	}
	copy(process.Cmdline[:], "curl\x00-s\x00\x00rest")

	for _, c := range []struct {
		name   string
		record any
		want   Event
	}{
		{"transition", body(EventState), wantBody(EventState)},
		{"ipv6 and v4-mapped", v6, wantV6},
		{"accept", streamOwnerEvent{Event: body(EventAccept), Cgroup: 5, Thread: owner.Thread}, owner},
		{"close", streamCloseEvent{
			Event: body(EventState), BytesSent: 1 << 40, BytesReceived: 2,
			SegsOut: 3, SegsIn: 4, Retrans: 5, RttUs: 6, MinRttUs: 7,
		}, closed},
		{"row of a request socket", streamRowEvent{Event: request, Cgroup: 5, RecvQ: 8, SendQ: 9}, row},
		{"release", head(EventRelease), released},
		{"process", process, Event{
			Kind: EventProcess, Time: 12345, PID: 10,
			Process: &Process{PID: 10, Comm: "curl", Cmdline: "curl\x00-s"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e Event
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
	long := streamProcessEvent{Kind: uint8(EventProcess), CmdlineLen: 1000}
	for name, raw := range map[string][]byte{
		"empty":                 {},
		"short":                 make([]byte, sizeHead-1),
		"unknown kind":          encode(t, streamEventHead{Kind: 200}),
		"kind zero":             make([]byte, sizeEvent),
		"head for a transition": encode(t, head(EventState)),
		"event for a release":   encode(t, body(EventRelease)),
		"command line too long": encode(t, long),
	} {
		var e Event
		if err := decode(raw, &e); err == nil {
			t.Errorf("%s: decoded to %+v", name, e)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, body(EventState)))
	f.Add(encode(f, streamOwnerEvent{Event: body(EventAccept)}))
	f.Add(encode(f, streamCloseEvent{Event: body(EventState)}))
	f.Add(encode(f, streamRowEvent{Event: body(EventRow)}))
	f.Add(encode(f, head(EventMiniGone)))
	f.Add(encode(f, streamProcessEvent{Kind: uint8(EventProcess), CmdlineLen: 4}))
	table := newTable(newProcesses(10, func(uint32) {}), func(*Change) {})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e Event
		if err := decode(raw, &e); err != nil {
			return
		}
		if e.Kind != EventProcess && (!e.Local.Addr().IsValid()) != (len(raw) == sizeHead || e.Kind == EventRowsEnd) {
			t.Errorf("a record of %d bytes has the address %v", len(raw), e.Local)
		}
		table.apply(&e) // must not panic, whatever the order
	})
}

func TestDecodeAllocatesNothing(t *testing.T) {
	raw := encode(t, streamCloseEvent{Event: body(EventState)})
	var e Event
	if n := testing.AllocsPerRun(100, func() {
		if err := decode(raw, &e); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each event", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	raw := encode(b, streamCloseEvent{Event: body(EventState)})
	var e Event
	for b.Loop() {
		if err := decode(raw, &e); err != nil {
			b.Fatal(err)
		}
	}
}
