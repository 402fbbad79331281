package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
	"github.com/nettrace/nettrace/tracer/table"
)

// names draws strings of at most most bytes as a hostile user would choose them: any
// bytes, any characters, nothing, or the full length.
func names(most int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		switch rapid.IntRange(0, 2).Draw(t, "kind of name") {
		case 0:
			return string(rapid.SliceOfN(rapid.Byte(), 0, min(most, 64)).Draw(t, "bytes"))
		case 1:
			return rapid.StringN(-1, -1, most).Draw(t, "characters")
		default:
			units := []string{"x", "\x01", "\n", "\xff", "\"", "é", "漢", "🦀", "a\x00", "\u2028"}
			return strings.Repeat(rapid.SampledFrom(units).Draw(t, "unit"), most)[:most]
		}
	})
}

func addrPorts() *rapid.Generator[netip.AddrPort] {
	return rapid.Custom(func(t *rapid.T) netip.AddrPort {
		var a [16]byte
		copy(a[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))
		var addr netip.Addr
		switch rapid.IntRange(0, 3).Draw(t, "kind of address") {
		case 0:
			addr = netip.AddrFrom4([4]byte(a[:]))
		case 1:
			addr = netip.AddrFrom16(a)
		case 2:
			addr = netip.AddrFrom16(netip.AddrFrom4([4]byte(a[:])).As16())
		case 3:
			a[0], a[1] = 0xfe, 0x80
			addr = netip.AddrFrom16(a).WithZone(names(15).Draw(t, "zone"))
		}
		return netip.AddrPortFrom(addr, rapid.Uint16().Draw(t, "port"))
	})
}

func states() *rapid.Generator[snapshot.State] {
	return rapid.Map(rapid.IntRange(int(snapshot.Established), int(snapshot.Closing)),
		func(n int) snapshot.State { return snapshot.State(n) })
}

func sockets() *rapid.Generator[snapshot.Socket] {
	return rapid.Custom(func(t *rapid.T) snapshot.Socket {
		return snapshot.Socket{
			Head: snapshot.Head{
				Protocol: snapshot.Protocol(rapid.IntRange(int(snapshot.TCP), int(snapshot.Raw)).Draw(t, "protocol")),
				Local:    addrPorts().Draw(t, "local"),
				Remote:   addrPorts().Draw(t, "remote"),
				State:    snapshot.State(rapid.Uint8().Draw(t, "state")),
				RecvQ:    rapid.Uint64().Draw(t, "recv-q"),
				SendQ:    rapid.Uint64().Draw(t, "send-q"),
				UID:      rapid.Uint32().Draw(t, "uid"),
				Inode:    rapid.Uint64().Draw(t, "inode"),
			},
			Timer:   rapid.Uint8().Draw(t, "timer"),
			Expires: rapid.Uint64().Draw(t, "expires"),
			Retrans: rapid.Uint32().Draw(t, "retransmits"),
			Timeout: rapid.Uint32().Draw(t, "probes"),
		}
	})
}

func processes() *rapid.Generator[*snapshot.Process] {
	return rapid.Custom(func(t *rapid.T) *snapshot.Process {
		if rapid.Bool().Draw(t, "nobody") {
			return nil
		}
		return &snapshot.Process{
			PID:     int(rapid.Uint32().Draw(t, "pid")),
			Comm:    names(15).Draw(t, "comm"),
			Cmdline: names(4096).Draw(t, "cmdline"),
			Exe:     names(4096).Draw(t, "exe"),
		}
	})
}

func workloads() *rapid.Generator[*snapshot.Workload] {
	return rapid.Custom(func(t *rapid.T) *snapshot.Workload {
		if rapid.Bool().Draw(t, "nowhere") {
			return nil
		}
		return &snapshot.Workload{
			ContainerID: names(64).Draw(t, "container"), ContainerName: names(300).Draw(t, "container name"),
			Pod: names(300).Draw(t, "pod"), Namespace: names(64).Draw(t, "namespace"), PodContainer: names(64).Draw(t, "pod container"),
			PodUID: names(64).Draw(t, "pod uid"), Unit: names(256).Draw(t, "unit"), Slice: names(256).Draw(t, "slice"),
		}
	})
}

func conns() *rapid.Generator[*table.Conn] {
	return rapid.Custom(func(t *rapid.T) *table.Conn {
		c := &table.Conn{
			Head: snapshot.Head{
				Netns:    rapid.Uint32().Draw(t, "netns"),
				Device:   rapid.Uint32Range(0, 3).Draw(t, "device"),
				Local:    addrPorts().Draw(t, "local"),
				Remote:   addrPorts().Draw(t, "remote"),
				State:    states().Draw(t, "state"),
				UID:      rapid.Uint32().Draw(t, "uid"),
				Inode:    rapid.Uint64().Draw(t, "inode"),
				CgroupID: rapid.Uint64().Draw(t, "cgroup"),
				RecvQ:    rapid.Uint64().Draw(t, "recv-q"),
				SendQ:    rapid.Uint64().Draw(t, "send-q"),
			},
			ID:          rapid.Uint64().Draw(t, "id"),
			Direction:   table.Direction(rapid.IntRange(0, 2).Draw(t, "direction")),
			Start:       rapid.Uint64().Draw(t, "start"),
			StartKnown:  rapid.Bool().Draw(t, "start known"),
			HasUID:      rapid.Bool().Draw(t, "uid known"),
			Established: rapid.Uint64().Draw(t, "established"),
		}
		c.Owner = snapshot.Owner{
			Process: processes().Draw(t, "process"),
			TID:     rapid.Uint32().Draw(t, "tid"),
			Source:  snapshot.OwnerSource(rapid.IntRange(0, 4).Draw(t, "owner source")),
		}
		c.Workload = workloads().Draw(t, "workload")
		copy(c.Owner.Thread[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "thread"))
		for _, s := range rapid.SliceOfN(states(), 0, 20).Draw(t, "history") {
			c.History.Add(s)
		}
		return c
	})
}

func changes() *rapid.Generator[*table.Change] {
	return rapid.Custom(func(t *rapid.T) *table.Change {
		c := &table.Change{
			Kind:     table.ChangeKind(rapid.IntRange(0, 2).Draw(t, "kind")),
			Time:     rapid.Uint64().Draw(t, "time"),
			Old:      rapid.OneOf(states(), rapid.Just(snapshot.State(0))).Draw(t, "old"),
			New:      states().Draw(t, "new"),
			Inferred: rapid.Bool().Draw(t, "inferred"),
			Conn:     conns().Draw(t, "conn"),
		}
		if c.Kind == table.ChangeClose {
			closed := rapid.Make[table.Closed]().Draw(t, "closed")
			closed.Errno = syscall.Errno(rapid.IntRange(0, 600).Draw(t, "errno"))
			c.Close = &closed
		}
		return c
	})
}

func starts() *rapid.Generator[*Start] {
	return rapid.Custom(func(t *rapid.T) *Start {
		text := func(label string) string {
			return rapid.Map(names(4096), func(s string) string { return "x" + s }).Draw(t, label)
		}
		return &Start{
			Version: text("version"), Commit: text("commit"), Kernel: text("kernel"), Arch: text("arch"),
			BootID:  text("boot id"),
			Mode:    rapid.SampledFrom([]string{"bpf", "poll"}).Draw(t, "mode"),
			Closes:  rapid.SampledFrom([]string{"", "kernel", "user"}).Draw(t, "closes"),
			Hooks:   rapid.SliceOf(names(300)).Draw(t, "hooks"),
			Inexact: rapid.SliceOf(names(300)).Draw(t, "inexact"),
			Filter:  text("filter"),
			Reason:  rapid.SampledFrom([]string{"start", "reopen", "rotate", "reconnect"}).Draw(t, "reason"),
			FileSeq: rapid.Uint64().Draw(t, "file"),
		}
	})
}

func losses() *rapid.Generator[*tracer.Lost] {
	return rapid.Custom(func(t *rapid.T) *tracer.Lost {
		l := rapid.Make[tracer.Lost]().Draw(t, "lost")
		l.Stage = "ringbuf"
		return &l
	})
}

func drops() *rapid.Generator[*Dropped] {
	return rapid.Custom(func(t *rapid.T) *Dropped {
		return &Dropped{
			Stage:   rapid.SampledFrom([]string{"queue", "output"}).Draw(t, "stage"),
			Records: rapid.Uint64().Draw(t, "records"), States: rapid.Uint64().Draw(t, "states"), Closes: rapid.Uint64().Draw(t, "closes"),
			Total: rapid.Uint64().Draw(t, "total"), Since: times().Draw(t, "since"), Until: times().Draw(t, "until"),
		}
	})
}

func times() *rapid.Generator[time.Time] {
	return rapid.Map(rapid.Int64(), func(ns int64) time.Time { return time.Unix(0, ns) })
}

// numbered puts the number of each line where it was left out, and checks that the
// longest one has room.
func numbered(t reporter, text []byte) []byte {
	var out []byte
	seq := 0
	for line := range bytes.Lines(text) {
		seq++
		if at := bytes.IndexByte(line, 0); at >= 0 {
			if n := len(line) - 1 + seqMax; n > lineMax {
				t.Errorf("a line of %d bytes", n)
			}
			line = fmt.Appendf(nil, "%s%d%s", line[:at], seq, line[at+1:])
		}
		out = append(out, line...)
	}
	return out
}

// Whatever the values are, each line is complete, not longer than the limit, and
// valid by the schema.
func TestNDJSONKeepsTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		user := names(300).Draw(t, "user")
		var out bytes.Buffer
		w := NewNDJSON(&out, NDJSONOptions{
			Host:  names(300).Draw(t, "host"),
			RunID: rapid.Uint64().Draw(t, "run id"),
			Poll:  rapid.Bool().Draw(t, "poll"),

			DeferSeq:   rapid.Bool().Draw(t, "defer seq"),
			SampleRate: rapid.Uint32().Draw(t, "sample rate"),
			Cmdline:    rapid.Bool().Draw(t, "cmdline"),
			Users:      userNames(func(uint32) string { return user }),
		}, fixedClock(rapid.Uint64().Draw(t, "mono"), times().Draw(t, "wall")))
		at := times().Draw(t, "at")
		totals := rapid.Make[Totals]().Draw(t, "totals")
		socket := sockets().Draw(t, "socket")
		w.Start(at, starts().Draw(t, "start"))
		w.Conn(at, conns().Draw(t, "conn"))
		rowRecords(&w.encoder).Socket(at, &socket, nil)
		w.SnapshotEnd(at, rapid.Int().Draw(t, "rows"), time.Duration(rapid.Int64().Draw(t, "took")))
		w.Change(changes().Draw(t, "change"))
		w.Lost(at, losses().Draw(t, "lost"))
		w.Dropped(at, drops().Draw(t, "dropped"))
		w.Resync(at, rapid.Make[table.Resync]().Draw(t, "resync"))
		w.Stats(at, &totals)
		w.Stop(at, &totals, rapid.SampledFrom([]string{"signal", "duration", "count", "epipe", "error"}).Draw(t, "why"))
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		records := checkLines(t, numbered(t, out.Bytes()))
		if len(records) != 10 {
			t.Fatalf("%d lines, want 10: %q", len(records), out.Bytes())
		}
		for i, record := range records {
			if record["seq"] != float64(i+1) {
				t.Errorf("seq %v in line %d", record["seq"], i+1)
			}
		}
	})
}

// A reader of a change's line gets the values of the change back.
func TestNDJSONTellsTheChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		change := changes().Filter(func(c *table.Change) bool { return c.Kind != table.ChangeOwner }).Draw(t, "change")
		var out bytes.Buffer
		w := NewNDJSON(&out, NDJSONOptions{Host: "web1", Cmdline: true}, offset(0))
		w.Change(change)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		var got struct {
			ConnID     string     `json:"conn_id"`
			MonoNS     *uint64    `json:"mono_ns"`
			LocalAddr  netip.Addr `json:"local_addr"`
			LocalPort  uint16     `json:"local_port"`
			RemoteAddr netip.Addr `json:"remote_addr"`
			RemotePort uint16     `json:"remote_port"`
			PID        *uint32    `json:"pid"`
			Comm       string     `json:"comm"`
			Program    string     `json:"program"`
			Exe        string     `json:"exe"`
			Cmdline    string     `json:"cmdline"`
			CgroupID   uint64     `json:"cgroup_id,string"`
			Truncated  bool       `json:"truncated"`
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s", err, out.Bytes())
		}
		conn := change.Conn
		if id, err := strconv.ParseUint(got.ConnID, 16, 64); err != nil || id != conn.ID {
			t.Errorf("conn_id %s, want %x", got.ConnID, conn.ID)
		}
		if (got.MonoNS == nil) != change.Inferred || got.MonoNS != nil && *got.MonoNS != change.Time {
			t.Errorf("mono_ns %v, want %d unless inferred (%v)", got.MonoNS, change.Time, change.Inferred)
		}
		if got.LocalAddr.WithZone("") != conn.Local.Addr().WithZone("") || got.LocalPort != conn.Local.Port() ||
			got.RemoteAddr.WithZone("") != conn.Remote.Addr().WithZone("") || got.RemotePort != conn.Remote.Port() {
			t.Errorf("addresses %v %d, %v %d; want %v, %v", got.LocalAddr, got.LocalPort,
				got.RemoteAddr, got.RemotePort, conn.Local, conn.Remote)
		}
		if got.CgroupID != conn.CgroupID {
			t.Errorf("cgroup_id %d, want %d", got.CgroupID, conn.CgroupID)
		}
		p := conn.Owner.Process
		if (got.PID == nil) != (p == nil || p.PID == 0) {
			t.Fatalf("pid %v of process %v", got.PID, p)
		}
		if p == nil {
			return
		}
		if got.PID != nil && int(*got.PID) != p.PID || got.Comm != readable(p.Comm) {
			t.Errorf("process %v %q, want %d %q", got.PID, got.Comm, p.PID, p.Comm)
		}
		if program := readable(processName(p)); got.Program != program && !(got.Truncated && strings.HasPrefix(program, got.Program)) {
			t.Errorf("program %q, want %q", got.Program, program)
		}
		cmdline := readable(strings.ReplaceAll(strings.TrimRight(p.Cmdline, "\x00"), "\x00", " "))
		if got.Truncated {
			if !strings.HasPrefix(readable(p.Exe), got.Exe) || !strings.HasPrefix(cmdline, got.Cmdline) {
				t.Errorf("%q and %q are not how %q and %q begin", got.Exe, got.Cmdline, p.Exe, cmdline)
			}
		} else if got.Exe != readable(p.Exe) || got.Cmdline != cmdline {
			t.Errorf("got %q and %q, want %q and %q", got.Exe, got.Cmdline, p.Exe, cmdline)
		}
	})
}

// readable is s with each byte that is not UTF-8 replaced by U+FFFD.
func readable(s string) string { return string([]rune(s)) }

// The cache must not show: a writer that has written a connection before writes the
// same line as one that has not.
func TestNDJSONKeepsNothingStale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := NDJSONOptions{Host: names(300).Draw(t, "host"), Cmdline: true}
		var got, want bytes.Buffer
		w := NewNDJSON(&got, opts, offset(0))
		c := conns().Draw(t, "conn")
		for range rapid.IntRange(2, 10).Draw(t, "changes") {
			other := conns().Draw(t, "other")
			switch rapid.IntRange(0, 10).Draw(t, "what changes") {
			case 10: // its container is found, or gets another name
				c.Workload = other.Workload
			case 9:
				c.Device = other.Device
			case 0:
				c.Local = other.Local
			case 1:
				c.Direction = other.Direction
			case 2:
				c.UID, c.HasUID = other.UID, other.HasUID
			case 3:
				c.CgroupID = other.CgroupID
			case 4:
				c.Owner = other.Owner
			case 5:
				c.Owner.Thread = other.Owner.Thread
			case 6: // another one, which has its place
				other.ID = c.ID + connsKept
				c = other
			}
			change := changes().Draw(t, "change")
			change.Conn = c
			fresh := NewNDJSON(&want, opts, offset(0))
			fresh.seq = w.seq
			w.Change(change)
			fresh.Change(change)
			if err := errors.Join(w.Flush(), fresh.Flush()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Errorf("-fresh +kept:\n%s", diff)
		}
	})
}
