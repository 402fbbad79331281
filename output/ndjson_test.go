package output

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer"
)

// The records of these tests happen in the second that begins at noon.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const noonMono = 5_000_000_000 // CLOCK_MONOTONIC at noon, ns

// newWriter gives a writer with the identity that the golden lines have.
func newWriter(out io.Writer, opts NDJSONOptions) *NDJSON {
	if opts.Host == "" {
		opts.Host = "web1"
	}
	opts.RunID = 0x0123456789abcdef
	w := NewNDJSON(out, opts)
	w.SetClock(noonMono, noon)
	return w
}

func outgoing() *tracer.Conn {
	c := &tracer.Conn{
		ID:        0xc0ffee,
		Netns:     4026531840,
		Local:     netip.MustParseAddrPort("10.0.0.5:51464"),
		Remote:    netip.MustParseAddrPort("10.9.4.1:443"),
		State:     snapshot.Established,
		Direction: tracer.Outgoing,
		UID:       1000,
		Inode:     70123,
		CgroupID:  1<<53 + 1,
		Owner: tracer.Owner{
			Process: &tracer.Process{
				PID: 2033, Comm: "curl", Exe: "/usr/bin/curl",
				Cmdline: "curl\x00-H\x00a: \"b\"\x00https://example.org/\x00",
			},
			TID:    2034,
			Thread: [16]byte{'d', 'n', 's', '\n', '1'},
			Source: tracer.OwnerSocket,
		},
		Start:       noonMono + 123_456_789,
		StartKnown:  true,
		Established: noonMono + 123_706_789,
	}
	for _, s := range []snapshot.State{
		snapshot.SynSent, snapshot.Established, snapshot.FinWait1,
		snapshot.FinWait2, snapshot.TimeWait,
	} {
		c.History.Add(s)
	}
	return c
}

func listener() *tracer.Conn {
	return &tracer.Conn{
		ID:     0xfedcba9876543210,
		Local:  netip.MustParseAddrPort("[::]:22"),
		Remote: netip.MustParseAddrPort("[::]:0"),
		State:  snapshot.Listen,
		Inode:  81,
		RecvQ:  2,
	}
}

// envelope is how a golden line begins.
func envelope(fraction, event string) string {
	return `{"timestamp":"2026-11-24T12:00:00.` + fraction + `Z","v":1,"event":"` + event +
		`","seq":1,"run_id":"0123456789abcdef","host":"web1"`
}

const outgoingIdentity = `,"conn_id":"0000000000c0ffee","transport":"tcp","family":"ipv4",` +
	`"local_addr":"10.0.0.5","local_port":51464,"remote_addr":"10.9.4.1","remote_port":443,` +
	`"direction":"outgoing","netns":4026531840`

const outgoingOwner = `,"uid":1000,"pid":2033,"tid":2034,"comm":"curl","thread":"dns\n1","owner_src":"socket",` +
	`"cgroup_id":"9007199254740993"`

func TestNDJSONLines(t *testing.T) {
	allOptions := NDJSONOptions{Cmdline: true, UserName: func(uid uint32) string {
		if uid == 1000 {
			return "alice"
		}
		return ""
	}}
	opened := noonMono + uint64(123_706_789)
	for _, tt := range []struct {
		name  string
		opts  NDJSONOptions
		write func(w *NDJSON)
		want  string
	}{
		{"transition", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&tracer.Change{Time: opened, Old: snapshot.SynSent, New: snapshot.Established, Conn: outgoing()})
		}, envelope("123706", "tcp_state") + `,"mono_ns":5123706789` + outgoingIdentity +
			`,"old_state":"SYN_SENT","new_state":"ESTABLISHED"` + outgoingOwner + `,"exe":"/usr/bin/curl"}`},

		{"transition with user and command line", allOptions, func(w *NDJSON) {
			w.Change(&tracer.Change{Time: opened, Old: snapshot.SynSent, New: snapshot.Established, Conn: outgoing()})
		}, envelope("123706", "tcp_state") + `,"mono_ns":5123706789` + outgoingIdentity +
			`,"old_state":"SYN_SENT","new_state":"ESTABLISHED"` +
			strings.Replace(outgoingOwner, `1000,`, `1000,"user":"alice",`, 1) +
			`,"exe":"/usr/bin/curl","cmdline":"curl -H a: \"b\" https://example.org/"}`},

		{"inferred transition of a connection of nobody", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&tracer.Change{
				Time: noonMono, Old: snapshot.Established, New: snapshot.Close, Inferred: true,
				Conn: &tracer.Conn{
					ID: 1, Local: netip.MustParseAddrPort("[::ffff:127.0.0.1]:80"),
					Remote: netip.MustParseAddrPort("[::ffff:127.0.0.1]:40000"), Direction: tracer.Incoming,
				},
			})
		}, envelope("000000", "tcp_state") + `,"conn_id":"0000000000000001","transport":"tcp","family":"ipv6",` +
			`"local_addr":"::ffff:127.0.0.1","local_port":80,"remote_addr":"::ffff:127.0.0.1","remote_port":40000,` +
			`"direction":"incoming","inferred":true,"old_state":"ESTABLISHED","new_state":"CLOSE"}`},

		{"transition found by polling, port not known yet", NDJSONOptions{Poll: true}, func(w *NDJSON) {
			w.Change(&tracer.Change{
				Time: noonMono, Old: snapshot.Close, New: snapshot.SynSent,
				Conn: &tracer.Conn{
					ID: 1, Local: netip.MustParseAddrPort("[fe80::1%a\"b]:0"),
					Remote: netip.MustParseAddrPort("[fe80::2%a\"b]:1"),
				},
			})
		}, envelope("000000", "tcp_state") + `,"conn_id":"0000000000000001","transport":"tcp","family":"ipv6",` +
			`"local_addr":"fe80::1%a\"b","remote_addr":"fe80::2%a\"b","remote_port":1,` +
			`"source":"poll","old_state":"CLOSE","new_state":"SYN_SENT"}`},

		{"close", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&tracer.Change{
				Kind: tracer.ChangeClose, Time: noonMono + 157_810_000, Conn: outgoing(),
				Close: &tracer.Closed{
					Outcome: tracer.Finished, ClosedBy: tracer.Local, HasStats: true,
					BytesSent: 457, BytesReceived: 19149, SegsOut: 12, SegsIn: 14, Retrans: 1, RTT: 210, MinRTT: 180,
				},
			})
		}, envelope("157810", "tcp_close") + `,"mono_ns":5157810000` + outgoingIdentity + outgoingOwner +
			`,"start":"2026-11-24T12:00:00.123456Z","duration_ns":34353211,"established_ns":250000,` +
			`"outcome":"closed","closed_by":"local",` +
			`"history":"SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT",` +
			`"bytes_sent":457,"bytes_received":19149,"segs_out":12,"segs_in":14,"retrans":1,` +
			`"rtt_us":210,"rtt_min_us":180,"exe":"/usr/bin/curl"}`},

		{"close of what was there before, not measured", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&tracer.Change{
				Kind: tracer.ChangeClose, Time: noonMono + 1000,
				Conn: &tracer.Conn{
					ID: 1, Start: noonMono - 1_000_000, Established: noonMono, Inode: 3,
					Local: netip.MustParseAddrPort("0.0.0.0:80"), Remote: netip.MustParseAddrPort("0.0.0.0:0"),
				},
				Close: &tracer.Closed{
					Outcome: tracer.ResetRemote, Errno: unix.ECONNRESET,
					ClosedBy: tracer.Remote, HasStats: true, MinRTT: ^uint32(0),
				},
			})
		}, envelope("000001", "tcp_close") + `,"mono_ns":5000001000,"conn_id":"0000000000000001","transport":"tcp",` +
			`"family":"ipv4","local_addr":"0.0.0.0","local_port":80,"remote_addr":"0.0.0.0","uid":0,"start":"2026-11-24T11:59:59.999000Z","start_known":false,"duration_ns":1001000,` +
			`"outcome":"reset_remote","errno":"ECONNRESET","closed_by":"remote",` +
			`"bytes_sent":0,"bytes_received":0,"segs_out":0,"segs_in":0,"retrans":0}`},

		{"close of which nothing is known, clocks of two CPUs", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&tracer.Change{
				Kind: tracer.ChangeClose, Time: noonMono,
				Conn: &tracer.Conn{
					ID: 1, Start: noonMono + 5, StartKnown: true,
					Local: netip.MustParseAddrPort("0.0.0.0:80"), Remote: netip.MustParseAddrPort("0.0.0.0:0"),
				},
				Close: &tracer.Closed{Errno: 512},
			})
		}, envelope("000000", "tcp_close") + `,"mono_ns":5000000000,"conn_id":"0000000000000001","transport":"tcp",` +
			`"family":"ipv4","local_addr":"0.0.0.0","local_port":80,"remote_addr":"0.0.0.0","start":"2026-11-24T12:00:00.000000Z","duration_ns":0,"outcome":"unknown","errno":"512"}`},

		{
			"socket of the stream",
			NDJSONOptions{},
			func(w *NDJSON) { w.Conn(noon, listener()) },
			envelope("000000", "socket") + `,"conn_id":"fedcba9876543210","transport":"tcp","family":"ipv6",` +
				`"local_addr":"::","local_port":22,"remote_addr":"::","state":"LISTEN","uid":0,` +
				`"recv_q":2,"send_q":0,"inode":81}`,
		},

		{"start", NDJSONOptions{}, func(w *NDJSON) {
			w.Start(noon, &Start{
				Version: "0.1.0", Commit: "f482296", Kernel: "6.12.0", Arch: "x86_64",
				BootID: "8e3b7c1e-0000-4000-8000-000000000000", Mode: "bpf", Hooks: []string{"transitions=tp_btf A+B"},
				Inexact: []string{"acceptor", "orphans"}, Filter: `port == "https"`, Reason: "start", FileSeq: 1,
			})
		}, envelope("000000", "start") + `,"version":"0.1.0","commit":"f482296","kernel":"6.12.0","arch":"x86_64",` +
			`"boot_id":"8e3b7c1e-0000-4000-8000-000000000000","clock":"CLOCK_MONOTONIC","mode":"bpf","reason":"start",` +
			`"file_seq":1,"hooks":["transitions=tp_btf A+B"],"inexact":["acceptor","orphans"],"filter":"port == \"https\""}`},

		{
			"snapshot end",
			NDJSONOptions{},
			func(w *NDJSON) { w.SnapshotEnd(noon, 812, 43*time.Millisecond) },
			envelope("000000", "snapshot_end") + `,"rows":812,"took_ns":43000000}`,
		},

		{"lost", NDJSONOptions{}, func(w *NDJSON) {
			w.Lost(noon, &tracer.Lost{Stage: "ringbuf", Count: 7, Total: 9, Since: noonMono - 1_000_000_000})
		}, envelope("000000", "lost") + `,"stage":"ringbuf","lost":7,"lost_total":9,"since":"2026-11-24T11:59:59.000000Z"}`},

		{
			"resync",
			NDJSONOptions{},
			func(w *NDJSON) { w.Resync(noon, tracer.Resync{Added: 1, Removed: 2, Changed: 3}) },
			envelope("000000", "resync") + `,"added":1,"removed":2,"changed":3}`,
		},

		{
			"stats",
			NDJSONOptions{},
			func(w *NDJSON) { w.Stats(noon, &Totals{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}) },
			envelope("000000", "stats") + `,"events_in":1,"events_out":2,"filtered":3,"lost_ringbuf":4,"lost_queue":5,` +
				`"lost_output":6,"open":7,"opened":8,"closed":9,"failed":10,"queue_bytes":11,"memory_bytes":12}`,
		},

		{
			"stop",
			NDJSONOptions{},
			func(w *NDJSON) { w.Stop(noon, &Totals{EventsIn: 5}, "signal") },
			envelope("000000", "stop") + `,"reason":"signal","events_in":5,"events_out":0,"filtered":0,"lost_ringbuf":0,` +
				`"lost_queue":0,"lost_output":0,"open":0,"opened":0,"closed":0,"failed":0,"queue_bytes":0,"memory_bytes":0}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) { checkGolden(t, tt.opts, tt.write, tt.want) })
	}
}

// checkGolden compares the line that write makes with the one that is wanted.
func checkGolden(t *testing.T, opts NDJSONOptions, write func(*NDJSON), want string) {
	t.Helper()
	var out bytes.Buffer
	w := newWriter(&out, opts)
	write(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != want+"\n" {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	checkLines(t, out.Bytes())
}

// Only strings are cut, and everything else stands in the line.
func TestNDJSONCut(t *testing.T) {
	conn := outgoing()
	conn.Owner.Process = &tracer.Process{
		PID: 2033, Comm: strings.Repeat("\x01", 15),
		Exe: strings.Repeat("\xff", 4096), Cmdline: strings.Repeat("漢\x00", 4096),
	}
	var out bytes.Buffer
	w := newWriter(&out, NDJSONOptions{Host: strings.Repeat("\n", 255), Cmdline: true})
	w.Change(&tracer.Change{
		Kind: tracer.ChangeClose, Time: noonMono, Conn: conn,
		Close: &tracer.Closed{Outcome: tracer.Finished, HasStats: true, RTT: 1},
	})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	record := checkLines(t, out.Bytes())[0]
	if n := out.Len(); n > lineMax || n < lineMax-len(`漢 `) {
		t.Errorf("a line of %d bytes does not fill %d", n, lineMax)
	}
	if record["truncated"] != true {
		t.Errorf("no truncated in %v", record)
	}
	if comm := record["comm"]; comm != conn.Owner.Process.Comm {
		t.Errorf("comm %q was cut", comm)
	}
	for _, key := range []string{"seq", "host", "conn_id", "history", "bytes_received", "rtt_us", "exe", "cmdline"} {
		if record[key] == nil {
			t.Errorf("no %s in %v", key, record)
		}
	}
}

// choked takes so many bytes and then fails.
type choked struct {
	bytes.Buffer
	calls, room int
}

var errChoked = errors.New("no space left on device")

func (c *choked) Write(b []byte) (int, error) {
	c.calls++
	if len(b) <= c.room {
		c.room -= len(b)
		return c.Buffer.Write(b)
	}
	n, _ := c.Buffer.Write(b[:c.room])
	c.room = 0
	return n, errChoked
}

func TestNDJSONFlush(t *testing.T) {
	out := &choked{room: 1000}
	w := newWriter(out, NDJSONOptions{})
	if err := w.Flush(); err != nil || out.calls != 0 {
		t.Errorf("flushing nothing: %d calls of Write, error %v", out.calls, err)
	}
	const records = 20
	for range records {
		w.Conn(noon, listener())
	}
	size := w.Buffered()
	if err := w.Flush(); !errors.Is(err, errChoked) {
		t.Fatalf("error %v, want %v", err, errChoked)
	}
	if w.Buffered() != size-1000 {
		t.Errorf("%d bytes are kept, want %d", w.Buffered(), size-1000)
	}
	out.room = 1 << 20
	w.Conn(noon, listener())
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if w.Buffered() != 0 || out.calls != 2 {
		t.Errorf("%d bytes are kept after %d calls of Write", w.Buffered(), out.calls)
	}
	for i, record := range checkLines(t, out.Bytes()) {
		if record["seq"] != float64(i+1) {
			t.Errorf("seq %v in line %d", record["seq"], i+1)
		}
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != records+1 {
		t.Errorf("%d lines, want %d", n, records+1)
	}
}

// shortWriter breaks the contract of io.Writer.
type shortWriter struct{}

func (shortWriter) Write(b []byte) (int, error) { return len(b) / 2, nil }

func TestNDJSONFlushShort(t *testing.T) {
	w := newWriter(shortWriter{}, NDJSONOptions{})
	w.Resync(noon, tracer.Resync{})
	if err := w.Flush(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v, want %v", err, io.ErrShortWrite)
	}
}

func TestNDJSONSetClock(t *testing.T) {
	var out bytes.Buffer
	w := newWriter(&out, NDJSONOptions{})
	change := tracer.Change{Time: noonMono, New: snapshot.Close, Conn: outgoing()}
	w.Change(&change)
	w.SetClock(noonMono, noon.Add(-90*time.Minute))
	w.Change(&change)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	records := checkLines(t, out.Bytes())
	for i, want := range []string{"2026-11-24T12:00:00.000000Z", "2026-11-24T10:30:00.000000Z"} {
		if got := records[i]["timestamp"]; got != want {
			t.Errorf("timestamp %v, want %s", got, want)
		}
	}
}

func TestNDJSONAllocatesNothing(t *testing.T) {
	w := newWriter(io.Discard, NDJSONOptions{Cmdline: true, UserName: func(uint32) string { return "alice" }})
	conn := outgoing()
	conn.Local = netip.MustParseAddrPort("[fe80::1%eth0]:51464")
	state := &tracer.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: conn}
	ended := &tracer.Change{
		Kind: tracer.ChangeClose, Time: noonMono, Conn: conn,
		Close: &tracer.Closed{Outcome: tracer.Finished, Errno: unix.EPIPE, HasStats: true, RTT: 1},
	}
	row := &snapshot.Socket{Local: conn.Local, Remote: conn.Remote, State: snapshot.Established, Timer: 2, Inode: 5}
	for _, tt := range []struct {
		name  string
		write func()
	}{
		{"tcp_state", func() { w.Change(state) }},
		{"tcp_close", func() { w.Change(ended) }},
		{"socket of the stream", func() { w.Conn(noon, conn) }},
		{"socket", func() { w.Socket(noon, row, nil) }},
	} {
		allocs := testing.AllocsPerRun(1000, func() {
			state.Time += 1e9 // into another second each time
			tt.write()
			if w.Buffered() >= 64<<10 {
				_ = w.Flush()
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", tt.name, allocs)
		}
	}
}

func BenchmarkNDJSONState(b *testing.B) {
	w := newWriter(io.Discard, NDJSONOptions{})
	change := &tracer.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: outgoing()}
	benchmarkLine(b, w, func() { w.Change(change) })
}

func BenchmarkNDJSONClose(b *testing.B) {
	w := newWriter(io.Discard, NDJSONOptions{})
	change := &tracer.Change{
		Kind: tracer.ChangeClose, Time: noonMono, Conn: outgoing(),
		Close: &tracer.Closed{Outcome: tracer.Finished, HasStats: true, RTT: 1},
	}
	benchmarkLine(b, w, func() { w.Change(change) })
}

func BenchmarkNDJSONSocket(b *testing.B) {
	w := newWriter(io.Discard, NDJSONOptions{})
	row := &snapshot.Socket{
		Local:  netip.MustParseAddrPort("10.0.0.5:22"),
		Remote: netip.MustParseAddrPort("10.0.0.6:1024"), State: snapshot.Established, Inode: 5,
	}
	benchmarkLine(b, w, func() { w.Socket(noon, row, nil) })
}

func benchmarkLine(b *testing.B, w *NDJSON, write func()) {
	write()
	b.SetBytes(int64(w.Buffered()))
	b.ReportAllocs()
	for b.Loop() {
		if write(); w.Buffered() >= 64<<10 {
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
