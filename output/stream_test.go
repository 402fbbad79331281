package output

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// testNow is when the tests' connections begin, at 1 s of CLOCK_MONOTONIC.
var testNow = time.Date(2026, 11, 24, 12, 4, 5, 123_456_789, time.UTC)

func newStreamText(out *bytes.Buffer, style StreamStyle) *StreamText {
	return NewStreamText(out, style, fixedClock(1_000_000_000, testNow), time.UTC)
}

func streamConn() *table.Conn {
	return &table.Conn{
		Head: snapshot.Head{
			Local: netip.MustParseAddrPort("10.0.0.5:51464"), Remote: netip.MustParseAddrPort("10.9.4.1:443"),
			State: snapshot.Established, UID: 1000, Inode: 4242,
			Netns: 4026531840,
			Owner: snapshot.Owner{Process: &snapshot.Process{PID: 2033, Comm: "curl", Cmdline: "curl\x00-s\x00http://x"}},
		},
		ID: 1, Direction: table.Outgoing, HasUID: true,
		Start: 1_000_000_000, StartKnown: true,
	}
}

func TestStreamText(t *testing.T) {
	var out bytes.Buffer
	w := newStreamText(&out, StreamStyle{})
	c := streamConn()
	w.Header(testNow)
	c.Local = netip.MustParseAddrPort("10.0.0.5:0")
	w.Change(&table.Change{Time: 1_000_000_000, Conn: c, Old: snapshot.Close, New: snapshot.SynSent})
	c.Local = netip.MustParseAddrPort("10.0.0.5:51464")
	w.Change(&table.Change{Time: 1_000_250_000, Conn: c, Old: snapshot.SynSent, New: snapshot.Established})
	w.Change(&table.Change{Time: 2_034_400_000, Conn: c, Old: snapshot.FinWait2, New: snapshot.TimeWait, Inferred: true})
	w.Change(&table.Change{Kind: table.ChangeClose, Time: 2_034_400_000, Conn: c, Close: &table.Closed{
		Outcome: table.Finished, HasStats: true, BytesSent: 457, BytesReceived: 18_700,
	}})
	v6 := &table.Conn{
		Head: snapshot.Head{
			Local:  netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:1]:443"),
			Remote: netip.MustParseAddrPort("[::ffff:10.9.4.1]:50000"), State: snapshot.SynRecv,
		},
		ID: 2,
	}
	w.Change(&table.Change{Time: 2_034_400_000, Conn: v6, Old: snapshot.Listen, New: snapshot.SynRecv})
	w.Change(&table.Change{Time: 2_034_400_000, Conn: c, Old: snapshot.TimeWait, New: snapshot.Close})
	c.ID, c.Local, c.State, c.Start = 3, netip.MustParseAddrPort("0.0.0.0:0"), snapshot.Close, 2_034_400_000
	w.Change(&table.Change{Kind: table.ChangeClose, Time: 2_034_400_000, Conn: c, Close: &table.Closed{Outcome: table.Unreachable}})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := `# 2026-11-24 (UTC, +00:00)
TIME            PROTO LOCAL ADDRESS          FOREIGN ADDRESS        STATE                     PID/PROGRAM
12:04:05.123456 tcp   10.0.0.5:*             10.9.4.1:443           CLOSE -> SYN_SENT         2033/curl
12:04:05.123706 tcp   10.0.0.5:51464         10.9.4.1:443           SYN_SENT -> ESTABLISHED   2033/curl            0.250 ms
12:04:06.157856 tcp   10.0.0.5:51464         10.9.4.1:443           FIN_WAIT2 -> TIME_WAIT    2033/curl            (inferred) closed 1034 ms ↑457 B ↓18.7 KB
12:04:06.157856 tcp6  2001:db8:ffff:ffff:ffff:ffff:ffff:1:443        10.9.4.1:50000         LISTEN -> SYN_RECV        -
12:04:06.157856 tcp   10.0.0.5:51464         10.9.4.1:443           TIME_WAIT -> CLOSE        2033/curl
12:04:06.157856 tcp   0.0.0.0:*              10.9.4.1:443           CLOSE                     2033/curl            unreachable 0.000 ms
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStreamTextColumns(t *testing.T) {
	var out bytes.Buffer
	w := newStreamText(&out, StreamStyle{Extend: true, Cmdline: true, Netns: true})
	w.Header(testNow)
	w.Change(&table.Change{Time: 1_000_000_000, Conn: streamConn(), Old: snapshot.Close, New: snapshot.SynSent})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := `# 2026-11-24 (UTC, +00:00)
TIME            PROTO LOCAL ADDRESS          FOREIGN ADDRESS        STATE                     USER       INODE      NETNS      PID/PROGRAM
12:04:05.123456 tcp   10.0.0.5:51464         10.9.4.1:443           CLOSE -> SYN_SENT         1000       4242       4026531840 2033/curl            curl -s http://x
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStreamTextAllocatesNothing(t *testing.T) {
	for _, style := range []StreamStyle{
		{},
		{Width: 80, Color: true, ASCII: true, Cmdline: true},
		{Width: 200, Cmdline: true, Extend: true},
	} {
		var out bytes.Buffer
		w := newStreamText(&out, style)
		c := streamConn()
		copy(c.Owner.Thread[:], "worker")
		changes := []*table.Change{
			{Time: 1_000_000_000, Conn: c, Old: snapshot.SynSent, New: snapshot.Established},
			{Time: 1_000_000_000, Conn: c, Kind: table.ChangeClose, Close: &table.Closed{Outcome: table.ResetRemote, HasStats: true}},
		}
		if n := testing.AllocsPerRun(100, func() {
			out.Reset()
			for _, change := range changes {
				w.Change(change)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%+v: %v allocations for each line", style, n)
		}
		if strings.Contains(out.String(), "\x00") {
			t.Error("a NUL came out")
		}
	}
}

// portNames and hostNames are names that are known at once.
type (
	portNames map[uint16]string
	hostNames map[netip.Addr]string
)

func (n portNames) Service(port uint16, _ string) string { return n[port] }

func (n hostNames) Name(a netip.Addr) string { return n[a] }

// TestStreamTextNames has names for a host and a port; the name of the host, which
// others choose, would clear the screen.
func TestStreamTextNames(t *testing.T) {
	var out bytes.Buffer
	w := newStreamText(&out, StreamStyle{
		Names: Names{Services: portNames{443: "https"}},
		Hosts: hostNames{netip.MustParseAddr("10.9.4.1"): "web\x1b[2J.example"},
	})
	c := streamConn()
	w.Change(&table.Change{Time: 1_000_250_000, Conn: c, Old: snapshot.SynSent, New: snapshot.Established})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	const want = `# 2026-11-24 (UTC, +00:00)
12:04:05.123706 tcp   10.0.0.5:51464         web\x1b[2J.example:https                       SYN_SENT -> ESTABLISHED   2033/curl            0.250 ms
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +written:\n%s", diff)
	}
}

// A process outside of the pid namespace that is shown has a name and no number, a
// socket may have no user, and an owner that was found late has no line.
func TestStreamTextUnknown(t *testing.T) {
	var out bytes.Buffer
	w := newStreamText(&out, StreamStyle{Extend: true, Cmdline: true})
	c := streamConn()
	c.HasUID, c.Inode = false, 0
	c.Owner.Process = &snapshot.Process{Comm: "nginx", Cmdline: "/bin/nginx\x00-x"}
	w.Change(&table.Change{Time: 1_000_000_000, Conn: c, Old: snapshot.Close, New: snapshot.Listen})
	w.Change(&table.Change{Kind: table.ChangeOwner, Time: 1_000_000_000, Conn: c})
	c.Owner.Process = &snapshot.Process{Comm: "nginx"}
	w.Change(&table.Change{Time: 1_000_000_000, Conn: c, Old: snapshot.Listen, New: snapshot.Close})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	const want = `# 2026-11-24 (UTC, +00:00)
12:04:05.123456 tcp   10.0.0.5:51464         10.9.4.1:443           CLOSE -> LISTEN           -          0          -/nginx              /bin/nginx -x
12:04:05.123456 tcp   10.0.0.5:51464         10.9.4.1:443           LISTEN -> CLOSE           -          0          -/nginx
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func BenchmarkStreamText(b *testing.B) {
	w := NewStreamText(io.Discard, StreamStyle{}, fixedClock(0, testNow), time.UTC)
	c := streamConn()
	ch := &table.Change{Time: 1_000_000_000, Conn: c, Old: snapshot.SynSent, New: snapshot.Established}
	for b.Loop() {
		w.Change(ch)
		if w.Buffered() > 64<<10 {
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
