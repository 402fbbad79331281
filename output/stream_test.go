package output

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
)

func newStreamText(out *bytes.Buffer) *StreamText {
	w := NewStreamText(out, &Resolver{NumericPorts: true, NumericUsers: true}, time.UTC)
	w.SetClock(1_000_000_000, time.Date(2026, 11, 24, 12, 4, 5, 123_456_789, time.UTC))
	return w
}

func streamConn() *tracer.Conn {
	return &tracer.Conn{
		ID:    1,
		Local: netip.MustParseAddrPort("10.0.0.5:51464"), Remote: netip.MustParseAddrPort("10.9.4.1:443"),
		State: snapshot.Established, Direction: tracer.Outgoing, UID: 1000, Inode: 4242,
		Netns: 4026531840,
		Owner: tracer.Owner{Process: &tracer.Process{PID: 2033, Comm: "curl", Cmdline: "curl\x00-s\x00http://x"}},
		Start: 1_000_000_000, StartKnown: true,
	}
}

func TestStreamText(t *testing.T) {
	var out bytes.Buffer
	w := newStreamText(&out)
	c := streamConn()
	w.Header()
	c.Local = netip.MustParseAddrPort("10.0.0.5:0")
	w.Change(&tracer.Change{Time: 1_000_000_000, Conn: c, Old: snapshot.Close, New: snapshot.SynSent})
	c.Local = netip.MustParseAddrPort("10.0.0.5:51464")
	w.Change(&tracer.Change{Time: 1_000_250_000, Conn: c, Old: snapshot.SynSent, New: snapshot.Established})
	w.Change(&tracer.Change{Time: 2_034_400_000, Conn: c, Old: snapshot.FinWait2, New: snapshot.TimeWait, Inferred: true})
	w.Change(&tracer.Change{Kind: tracer.ChangeClose, Time: 2_034_400_000, Conn: c, Close: &tracer.Closed{
		Outcome: tracer.Finished, HasStats: true, BytesSent: 457, BytesReceived: 18_700,
	}})
	v6 := &tracer.Conn{
		ID: 2, Local: netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:1]:443"),
		Remote: netip.MustParseAddrPort("[::ffff:10.9.4.1]:50000"), State: snapshot.SynRecv,
	}
	w.Change(&tracer.Change{Time: 2_034_400_000, Conn: v6, Old: snapshot.Listen, New: snapshot.SynRecv})
	w.Change(&tracer.Change{Time: 2_034_400_000, Conn: c, Old: snapshot.TimeWait, New: snapshot.Close})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := `TIME            PROTO LOCAL ADDRESS          FOREIGN ADDRESS        STATE                     PID/PROGRAM
12:04:05.123456 tcp   10.0.0.5:*             10.9.4.1:443           CLOSE -> SYN_SENT         2033/curl
12:04:05.123706 tcp   10.0.0.5:51464         10.9.4.1:443           SYN_SENT -> ESTABLISHED   2033/curl            0.250 ms
12:04:06.157856 tcp   10.0.0.5:51464         10.9.4.1:443           FIN_WAIT2 -> TIME_WAIT    2033/curl            (inferred) closed 1034 ms  ↑457 B ↓18.7 KB
12:04:06.157856 tcp6  2001:db8:ffff:ffff:ffff:ffff:ffff:1:443 10.9.4.1:50000         LISTEN -> SYN_RECV        -
12:04:06.157856 tcp   10.0.0.5:51464                          10.9.4.1:443           TIME_WAIT -> CLOSE        2033/curl
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStreamTextColumns(t *testing.T) {
	var out bytes.Buffer
	w := newStreamText(&out)
	w.Extend, w.Cmdline, w.Netns = true, true, true
	w.Header()
	w.Change(&tracer.Change{Time: 1_000_000_000, Conn: streamConn(), Old: snapshot.Close, New: snapshot.SynSent})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := `TIME            PROTO LOCAL ADDRESS          FOREIGN ADDRESS        STATE                     USER       INODE      NETNS      PID/PROGRAM
12:04:05.123456 tcp   10.0.0.5:51464         10.9.4.1:443           CLOSE -> SYN_SENT         1000       4242       4026531840 2033/curl -s http://x
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A process calls itself what it likes; a line stays a line.
func TestStreamTextHostileNames(t *testing.T) {
	for name, want := range map[string]string{
		"a\nb":       `a\nb`,
		"\x1b[2J":    `\x1b[2J`,
		"\xff\xfe":   `\xff\xfe`,
		`back\slash`: `back\\slash`,
		"naïve 名":    "naïve 名",
		"\u202egnp":  `\u202egnp`,
		"\uFFFD":     "\uFFFD",
		"":           "",
	} {
		if got := string(appendPlain(nil, name)); got != want {
			t.Errorf("%q became %q, want %q", name, got, want)
		}
	}
}

func FuzzAppendPlain(f *testing.F) {
	f.Add("nginx: master")
	f.Add("a\nb\x1b\xff")
	f.Fuzz(func(t *testing.T, name string) {
		for _, r := range string(appendPlain(nil, name)) {
			if r < 0x20 || r >= 0x7f && r < 0xa0 {
				t.Errorf("%q leaves %q", name, r)
			}
		}
	})
}

func TestAppendBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 KB", 18_700: "18.7 KB", 999_949: "999.9 KB", 999_950: "1.0 MB",
		1_500_000_000: "1.5 GB", 1<<64 - 1: "18.4 EB",
	} {
		if got := string(appendBytes(nil, n)); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestStreamTextAllocatesNothing(t *testing.T) {
	var out bytes.Buffer
	w := newStreamText(&out)
	c := streamConn()
	ch := &tracer.Change{Time: 1_000_000_000, Conn: c, Old: snapshot.SynSent, New: snapshot.Established}
	if n := testing.AllocsPerRun(100, func() {
		w.Change(ch)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		out.Reset()
	}); n != 0 {
		t.Errorf("%v allocations for each line", n)
	}
	if strings.Contains(out.String(), "\x00") {
		t.Error("a NUL came out")
	}
}

// TestStreamTextNames has names for a host and a port; the name of the host, which
// others choose, would clear the screen.
func TestStreamTextNames(t *testing.T) {
	etc := t.TempDir()
	if err := os.WriteFile(filepath.Join(etc, "services"), []byte("https 443/tcp\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := newStreamText(&out)
	w.Names = &Resolver{NumericUsers: true, Etc: etc}
	w.Hosts = newHostNames(func(_ context.Context, addr string) ([]string, error) {
		if addr == "10.9.4.1" {
			return []string{"web\x1b[2J.example."}, nil
		}
		return nil, errors.New("no such host")
	})
	c := streamConn()
	for w.Hosts.Name(c.Remote.Addr()) == "" {
		time.Sleep(time.Millisecond)
	}
	w.Change(&tracer.Change{Time: 1_000_250_000, Conn: c, Old: snapshot.SynSent, New: snapshot.Established})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	const want = `12:04:05.123706 tcp   10.0.0.5:51464         web\x1b[2J.example:https SYN_SENT -> ESTABLISHED   2033/curl            0.250 ms` + "\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +written:\n%s", diff)
	}
}
