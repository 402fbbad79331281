package output

import (
	"bytes"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// life writes a connection that is made, and ends as a test says.
func life(t *testing.T, style StreamStyle, c *table.Conn, closed *table.Closed) string {
	t.Helper()
	var out bytes.Buffer
	w := newStreamText(&out, style)
	w.Header(testNow)
	w.Change(&table.Change{Time: 1_000_000_000, Conn: c, Old: snapshot.Close, New: snapshot.SynSent})
	w.Change(&table.Change{Time: 1_000_250_000, Conn: c, Old: snapshot.SynSent, New: snapshot.Established})
	w.Change(&table.Change{Time: 1_034_400_000, Conn: c, Old: snapshot.FinWait1, New: snapshot.FinWait2})
	w.Change(&table.Change{Kind: table.ChangeClose, Time: 1_034_400_000, Conn: c, Close: closed})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func finished() *table.Closed {
	return &table.Closed{Outcome: table.Finished, HasStats: true, BytesSent: 457, BytesReceived: 18_700}
}

// TestStreamTextTerminals has the forms of one connection.
func TestStreamTextTerminals(t *testing.T) {
	for _, c := range []struct {
		name  string
		style StreamStyle
		want  string
	}{
		{"80 columns", StreamStyle{Width: 80, Cmdline: true}, `# 2026-11-24 (UTC, +00:00)
TIME         LOCAL ADDRESS         FOREIGN ADDRESS       STATE       PID/PROGRAM
12:04:05.123 10.0.0.5:51464        10.9.4.1:443          CLOSE>SYNS  2033/curl
12:04:05.123 10.0.0.5:51464        10.9.4.1:443          SYNS>ESTAB  2033/curl
12:04:05.157 10.0.0.5:51464        10.9.4.1:443          FINW1>FINW2 2033/curl
             closed 34.4ms ↑457B ↓18.7KB curl -s http://x
`},
		{"120 columns, ASCII", StreamStyle{Width: 120, ASCII: true}, `# 2026-11-24 (UTC, +00:00)
TIME         LOCAL ADDRESS         FOREIGN ADDRESS       STATE       PID/PROGRAM
12:04:05.123 10.0.0.5:51464        10.9.4.1:443          CLOSE>SYNS  2033/curl
12:04:05.123 10.0.0.5:51464        10.9.4.1:443          SYNS>ESTAB  2033/curl        0.250ms
12:04:05.157 10.0.0.5:51464        10.9.4.1:443          FINW1>FINW2 2033/curl        closed 34.4ms out 457B in 18.7KB
`},
		{"130 columns", StreamStyle{Width: 130, Cmdline: true}, `# 2026-11-24 (UTC, +00:00)
TIME            LOCAL ADDRESS         FOREIGN ADDRESS       STATE       PID/PROGRAM
12:04:05.123456 10.0.0.5:51464        10.9.4.1:443          CLOSE>SYNS  2033/curl        curl -s http://x
12:04:05.123706 10.0.0.5:51464        10.9.4.1:443          SYNS>ESTAB  2033/curl        0.250ms curl -s http://x
12:04:05.157856 10.0.0.5:51464        10.9.4.1:443          FINW1>FINW2 2033/curl        closed 34.4ms ↑457B ↓18.7KB curl -s http:
`},
		{"150 columns", StreamStyle{Width: 150}, `# 2026-11-24 (UTC, +00:00)
TIME            PROTO LOCAL ADDRESS          FOREIGN ADDRESS        STATE                     PID/PROGRAM
12:04:05.123456 tcp   10.0.0.5:51464         10.9.4.1:443           CLOSE -> SYN_SENT         2033/curl
12:04:05.123706 tcp   10.0.0.5:51464         10.9.4.1:443           SYN_SENT -> ESTABLISHED   2033/curl            0.250 ms
12:04:05.157856 tcp   10.0.0.5:51464         10.9.4.1:443           FIN_WAIT1 -> FIN_WAIT2    2033/curl            closed 34.4 ms ↑457 B ↓18.7 KB
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, life(t, c.style, streamConn(), finished())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// TestStreamTextFits writes the longest IPv4 lines: each outcome, a long name in
// wide characters, inferred or not. None may be wider than the terminal, and the
// outcome must be there, whole.
func TestStreamTextFits(t *testing.T) {
	c := streamConn()
	c.Local = netip.MustParseAddrPort("192.168.100.200:65535")
	c.Remote = netip.MustParseAddrPort("[::ffff:255.255.255.255]:65535")
	c.Owner.Process = &snapshot.Process{PID: 4194304, Cmdline: "/opt/名前/" + strings.Repeat("名", 40) + "\x00" + strings.Repeat("long ", 50)}
	copy(c.Owner.Thread[:], "worker")
	for _, width := range []int{80, 81, 84, 85, 100, 119, 120, 123, 124, 149, 150, 151, 170, 200} {
		for outcome := range outcomes {
			for _, style := range []StreamStyle{{Width: width}, {Width: width, Color: true, Cmdline: true}, {Width: width, ASCII: true}} {
				text := life(t, style, c, &table.Closed{
					Outcome: table.Outcome(outcome), HasStats: true, BytesSent: 1<<64 - 1, BytesReceived: 999_949,
				})
				plain := escapes.ReplaceAllString(text, "")
				for line := range strings.Lines(plain) {
					if n := cellsOf([]byte(strings.TrimSuffix(line, "\n"))); n > width {
						t.Fatalf("%d cells on %d columns: %s", n, width, line)
					}
				}
				if !strings.Contains(plain, outcomes[outcome].text+" ") || strings.Count(plain, "255.255.255.255:65535 ") != 3 {
					t.Fatalf("%d columns, %s: %s", width, outcomes[outcome].word, plain)
				}
			}
		}
	}
}

// TestStreamTextInferred checks that on a narrow terminal the mark of a change
// without an event is not what is left out.
func TestStreamTextInferred(t *testing.T) {
	var out bytes.Buffer
	w := newStreamText(&out, StreamStyle{Width: 80})
	w.Change(&table.Change{Time: 1_000_250_000, Conn: streamConn(), Old: snapshot.FinWait1, New: snapshot.FinWait2, Inferred: true})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	const want = `# 2026-11-24 (UTC, +00:00)
12:04:05.123 10.0.0.5:51464        10.9.4.1:443          FINW1>FINW2 2033/curl
             (inferred)
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestStreamTextLongAddresses checks that a long address is not cut, and moves no
// line but its own.
func TestStreamTextLongAddresses(t *testing.T) {
	const address = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
	long := streamConn()
	long.Local = netip.MustParseAddrPort("[" + address + "]:51464")
	long.Remote = netip.MustParseAddrPort("[" + address + "]:443")
	for _, width := range []int{0, 80, 130, 200} {
		want := life(t, StreamStyle{Width: width}, streamConn(), finished())
		var out bytes.Buffer
		w := newStreamText(&out, StreamStyle{Width: width})
		w.Change(&table.Change{Time: 1_000_000_000, Conn: long, Old: snapshot.Close, New: snapshot.SynSent})
		w.Change(&table.Change{Time: 1_000_000_000, Conn: streamConn(), Old: snapshot.Close, New: snapshot.SynSent})
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out.String(), "\n")
		if !strings.Contains(lines[1], address+":51464 ") || !strings.Contains(lines[1], address+":443 ") {
			t.Errorf("%d columns: the address is not whole: %s", width, lines[1])
		}
		if !strings.Contains(want, "\n"+lines[2]+"\n") {
			t.Errorf("%d columns: the line after it moved: %s", width, lines[2])
		}
	}
}

// TestStreamTextZones checks that link-local addresses, which every interface may
// have, say on which one they are.
func TestStreamTextZones(t *testing.T) {
	for _, c := range []struct {
		local  string
		device uint32
		want   string
	}{
		{"[fe80::5]:80", 0, "fe80::5:80 "},
		{"[fe80::5]:80", 2, `fe80::5%v\x1b0:80 `},
		{"[fe80::5]:80", 3, "fe80::5%3:80 "},
		{"[2001:db8::5]:80", 2, "2001:db8::5:80 "},
		{"169.254.0.1:80", 2, "169.254.0.1:80 "},
	} {
		conn := streamConn()
		conn.Local, conn.Device = netip.MustParseAddrPort(c.local), c.device
		if text := life(t, StreamStyle{Devices: deviceNames{2: "v\x1b0"}}, conn, finished()); strings.Count(text, " "+c.want) != 3 {
			t.Errorf("%s on %d: %s", c.local, c.device, text)
		}
	}
}

// TestStreamTextResize checks that the columns get a header when they move, and
// only then.
func TestStreamTextResize(t *testing.T) {
	var out bytes.Buffer
	w := newStreamText(&out, StreamStyle{Width: 80})
	w.Resize(130) // nothing is written yet
	w.Header(testNow)
	for _, width := range []int{130, 131, 90, 100, 300} {
		w.Resize(width)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, line[:min(len(line), 24)])
	}
	want := []string{"# 2026-11-24 (UTC, +00:0", "TIME            LOCAL AD", "TIME         LOCAL ADDRE", "TIME            PROTO LO"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestStreamTextColor checks which ends are colored, and that the text is the
// same without colors.
func TestStreamTextColor(t *testing.T) {
	for outcome, words := range outcomes {
		closed := &table.Closed{Outcome: table.Outcome(outcome)}
		plain := life(t, StreamStyle{Width: 80}, streamConn(), closed)
		colored := life(t, StreamStyle{Width: 80, Color: true}, streamConn(), closed)
		if escapes.ReplaceAllString(colored, "") != plain {
			t.Errorf("%s: %q is not %q in colors", words.word, colored, plain)
		}
		calm := words.word == "closed" || words.word == "unknown"
		if got := strings.Contains(colored, "\x1b[1;31m"+words.text); got == calm {
			t.Errorf("%s stands out: %v", words.word, got)
		}
	}
}

// TestStreamTextDates follows a clock over midnight, and over the hour that comes
// twice.
func TestStreamTextDates(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("needs the time zones of the system: ", err)
	}
	var out bytes.Buffer
	start := time.Date(2026, 10, 24, 23, 59, 59, 0, berlin)
	w := NewStreamText(&out, StreamStyle{Width: 80}, fixedClock(0, start), berlin)
	w.Header(start)
	for _, seconds := range []uint64{0, 1, 2, 3*3600 - 1, 3*3600 + 1} {
		w.Change(&table.Change{Time: seconds * 1e9, Conn: streamConn(), Old: snapshot.Close, New: snapshot.SynSent})
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"# 2026-10-24 (CEST, +02:00)", "TIME",
		"23:59:59.000", "# 2026-10-25 (CEST, +02:00)", "00:00:00.000", "00:00:01.000",
		"02:59:58.000", "# 2026-10-25 (CET, +01:00)", "02:00:00.000",
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		if word, _, _ := strings.Cut(line, " "); word != "#" {
			line = word
		}
		got = append(got, strings.TrimSpace(line))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A zone whose name is a number.
	c := streamClock{place: time.FixedZone("+0530", 5*3600+1800)}
	if got := string(c.appendDate(nil)); got != "# 1970-01-01 (+05:30)" {
		t.Errorf("date %q", got)
	}
}

// TestStreamNames checks that the table and the changes have one name for a
// process: netstat's, else the kernel's, and the thread beside it.
func TestStreamNames(t *testing.T) {
	for _, c := range []struct {
		process        snapshot.Process
		thread, want   string
		ascii, cmdline bool
	}{
		{snapshot.Process{PID: 1, Comm: "python3", Cmdline: "/usr/bin/gunicorn\x00-w4"}, "", "1/gunicorn", false, false},
		{snapshot.Process{PID: 1, Comm: "nginx", Cmdline: "nginx: master process /usr/sbin/nginx"}, "", "1/nginx: master process /usr/sbin/nginx", false, false},
		{snapshot.Process{PID: 1, Comm: "java", Cmdline: "./java\x00"}, "http-nio", "1/./java (http-nio)", false, false},
		{snapshot.Process{PID: 1, Comm: "kworker"}, "", "1/kworker", false, false},
		{snapshot.Process{PID: 1, Comm: "x", Cmdline: "é\x1b[2J\n"}, "\n", `1/é\x1b[2J\n (\n)`, false, false},
		{snapshot.Process{PID: 1, Comm: "x", Cmdline: "é"}, "", `1/\u00e9`, true, false},
		{snapshot.Process{PID: 1, Comm: "x", Cmdline: "/bin/é\x00-a\nb\x00"}, "", `1/\u00e9             /bin/\u00e9 -a\nb`, true, true},
	} {
		conn := streamConn()
		conn.Owner = snapshot.Owner{Process: &c.process}
		copy(conn.Owner.Thread[:], c.thread)
		style := StreamStyle{ASCII: c.ascii, Cmdline: c.cmdline}
		table := string(NewStreamTable(style, WithoutServers, false).AppendConn(nil, conn, nil))
		_, change, _ := strings.Cut(life(t, style, conn, finished()), "SYN_SENT ")
		change, _, _ = strings.Cut(strings.TrimLeft(change, " "), "\n")
		if !strings.HasSuffix(table, " "+c.want+"\n") || change != c.want {
			t.Errorf("want %q, the change has %q, the table %q", c.want, change, table)
		}
	}
}

// TestStreamTable has the initial table for a file and for terminals.
func TestStreamTable(t *testing.T) {
	conn := streamConn()
	conn.RecvQ = 7
	conn.Remote = netip.MustParseAddrPort("255.255.255.255:65535")
	nobody := streamConn()
	nobody.HasUID, nobody.Inode, nobody.Owner = false, 0, snapshot.Owner{}
	timer := &snapshot.Socket{Timer: 3, Expires: 100}
	for _, c := range []struct {
		style  StreamStyle
		timers bool
		want   string
	}{
		{StreamStyle{Extend: true}, false, `Active Internet connections (w/o servers)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       User       Inode      PID/Program name
tcp        7      0 10.0.0.5:51464          255.255.255.255:65535   ESTABLISHED 1000       4242       2033/curl
tcp        0      0 10.0.0.5:51464          10.9.4.1:443            ESTABLISHED -          0          -
`},
		{StreamStyle{Cmdline: true}, true, `Active Internet connections (w/o servers)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name     Timer
tcp        7      0 10.0.0.5:51464          255.255.255.255:65535   ESTABLISHED 2033/curl            timewait (1.00/0/0) curl -s http://x
tcp        0      0 10.0.0.5:51464          10.9.4.1:443            ESTABLISHED -                    off (0.00/0/0)
`},
		{StreamStyle{Width: 80, Cmdline: true}, false, `Active Internet connections (w/o servers)
Proto Local Address         Foreign Address       State       PID/Program name
tcp   10.0.0.5:51464        255.255.255.255:65535 ESTABLISHED 2033/curl
tcp   10.0.0.5:51464        10.9.4.1:443          ESTABLISHED -
`},
		{StreamStyle{Width: 110, Cmdline: true}, false, `Active Internet connections (w/o servers)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
tcp        7      0 10.0.0.5:51464          255.255.255.255:65535   ESTABLISHED 2033/curl            curl -s h
tcp        0      0 10.0.0.5:51464          10.9.4.1:443            ESTABLISHED -
`},
	} {
		w := NewStreamTable(c.style, WithoutServers, c.timers)
		text := w.AppendConn(w.AppendConn(w.AppendHeader(nil), conn, timer), nobody, nil)
		if diff := cmp.Diff(c.want, string(text)); diff != "" {
			t.Errorf("%d columns (-want +got):\n%s", c.style.Width, diff)
		}
	}
}
