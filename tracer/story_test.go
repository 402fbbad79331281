package tracer

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// lifeRecord is a record of an accepted connection that went to a timewait socket.
func lifeRecord() streamLifeEvent {
	l := streamLifeEvent{Close: streamCloseEvent{Event: body(table.EventStory), BytesReceived: 7}}
	l.Close.Event.Head.NewState = uint8(snapshot.Close)
	l.Life.Start, l.Life.Established, l.Life.Moved, l.Life.UsedAt = 100, 200, 300, 400
	l.Life.Listener, l.Life.Timewait, l.Life.UsedKnown = 50, 60, 70
	l.Life.By.Cgroup, l.Life.By.Known, l.Life.By.Task, l.Life.By.Tid, l.Life.By.Thread[0] = 80, 81, 82, 83, 'x'
	l.Life.Used, l.Life.UsedTid, l.Life.Icmp = 90, 91, uint16(syscall.EHOSTUNREACH)
	l.Life.Flags = uint8(streamLifeFlagLIFE_INCOMING | streamLifeFlagLIFE_REQUEST | streamLifeFlagLIFE_ACCEPTED)
	l.Life.Substate, l.Life.Steps = uint8(snapshot.FinWait2), 2
	l.Life.Walk[0] = uint8(snapshot.SynRecv)<<4 | uint8(snapshot.Established)
	l.Life.Walk[1] = uint8(snapshot.Established)<<4 | uint8(snapshot.FinWait1)
	return l
}

func TestDecodeStory(t *testing.T) {
	raw := encode(t, lifeRecord())[:sizeLife] // without where it is
	var got table.Story
	if err := decodeStory(raw, &got); err != nil {
		t.Fatal(err)
	}
	want := table.Story{
		Start: 100, Established: 200, Moved: 300, Used: 400, Listener: 50, Timewait: 60,
		Substate: snapshot.FinWait2, ICMP: syscall.EHOSTUNREACH, StoryMarks: table.StoryMarks{Incoming: true, Request: true, Accepted: true},
		Caller: table.Event{CgroupID: 80, Known: 81, Task: 82, TID: 83, Thread: [16]byte{'x'}},
		Steps: []table.Step{
			{Old: snapshot.SynRecv, New: snapshot.Established}, {Old: snapshot.Established, New: snapshot.FinWait1},
		},
	}
	end := got.End
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(table.Story{}, "End"), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if end.Kind != table.EventState || end.New != snapshot.Close || end.Task != 90 || end.TID != 91 || end.Known != 70 ||
		end.BytesReceived != 7 || !end.Local.IsValid() {
		t.Errorf("the end is %+v", end)
	}
	if n := testing.AllocsPerRun(100, func() { _ = decodeStory(raw, &got) }); n != 0 {
		t.Errorf("%v allocations for each story", n)
	}
}

func TestDecodeUnended(t *testing.T) {
	l := lifeRecord().Life
	l.Family, l.Netns, l.Device, l.LocalPort, l.RemotePort = afInet, 4, 5, 443, 6000
	l.LocalAddr, l.RemoteAddr = [16]uint8{10, 0, 0, 1}, [16]uint8{10, 0, 0, 2}
	var got table.Story
	decodeUnended(9, &l, &got)
	want := table.Event{
		Kind: table.EventState, Cookie: 9, Netns: 4, Device: 5, Task: 90, TID: 91, Known: 70,
		Local: netip.MustParseAddrPort("10.0.0.1:443"), Remote: netip.MustParseAddrPort("10.0.0.2:6000"),
	}
	if diff := cmp.Diff(want, got.End, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" || len(got.Steps) != 2 {
		t.Errorf("%d steps (-want +got):\n%s", len(got.Steps), diff)
	}
}

func TestDecodeDropped(t *testing.T) {
	d := streamDroppedEvent{Request: streamRequestEvent{Event: body(table.EventDropped), Listener: 33}, Gone: 77}
	var e table.Event
	gone, err := decodeDropped(encode(t, d), &e)
	if err != nil || gone != 77 || e.Listener != 33 || e.Kind != table.EventMiniBorn || !e.Remote.IsValid() {
		t.Errorf("gone at %d: %+v, %v", gone, e, err)
	}
	if _, err := decodeDropped(make([]byte, sizeDropped-1), &e); err == nil {
		t.Error("a short record is no error")
	}
	if err := decodeStory(make([]byte, sizeLife+1), new(table.Story)); err == nil {
		t.Error("a long record is no error")
	}
}

// FuzzStory has any record applied: nothing may panic, and no more is open than before.
func FuzzStory(f *testing.F) {
	f.Add(encode(f, lifeRecord())[:sizeLife])
	cut := encode(f, lifeRecord())[:sizeLife]
	cut[offsetLife+int(unsafe.Offsetof(streamLife{}.Steps))] = 255
	f.Add(cut)
	f.Add(encode(f, streamDroppedEvent{Request: streamRequestEvent{Event: body(table.EventDropped)}, Gone: 1}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		procs := table.NewProcesses(10, startReader("/proc"), func(uint32) {})
		kept := func(uint64) bool { return false }
		sockets := table.New(table.Config{Resets: true, Connects: true, Keeping: table.Keeping{Kept: kept}}, procs, func(c *table.Change) {
			if c.Close == nil {
				t.Errorf("a change without a close: %+v", c)
			}
		})
		var s table.Story
		var e table.Event
		if gone, err := decodeDropped(raw, &e); err == nil {
			sockets.ApplyDropped(&e, gone)
		}
		if err := decodeStory(raw, &s); err == nil {
			sockets.ApplyStory(&s)
			sockets.ApplyUnended(&s, slices.Contains(raw, 1), 5)
		}
		sockets.Finish(^uint64(0) >> 1)
	})
}
