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
	"github.com/nettrace/nettrace/tracer/table"
)

// The records of these tests happen in the second that begins at noon.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const noonMono = 5_000_000_000 // CLOCK_MONOTONIC at noon, ns

// newWriter returns a writer with the identity that the golden lines have.
func newWriter(out io.Writer, opts NDJSONOptions) *NDJSON {
	if opts.Host == "" {
		opts.Host = "web1"
	}
	opts.RunID = 0x0123456789abcdef
	return NewNDJSON(out, opts, fixedClock(noonMono, noon))
}

// offset is a clock that is set once: the wall clock less CLOCK_MONOTONIC, in ns.
type offset int64

func (o offset) At(mono uint64) int64 { return int64(mono) + int64(o) }

// fixedClock is the clock that shows wall when CLOCK_MONOTONIC shows mono.
func fixedClock(mono uint64, wall time.Time) Clock {
	return offset(wall.UnixNano() - int64(mono))
}

// newRowWriter is newWriter for the rows of views.
func newRowWriter(out io.Writer, opts NDJSONOptions) *RowRecords {
	return rowRecords(&newWriter(out, opts).encoder)
}

func outgoing() *table.Conn {
	c := &table.Conn{
		Head: snapshot.Head{
			Netns:    4026531840,
			Local:    netip.MustParseAddrPort("10.0.0.5:51464"),
			Remote:   netip.MustParseAddrPort("10.9.4.1:443"),
			State:    snapshot.Established,
			UID:      1000,
			Inode:    70123,
			Cookie:   1<<53 + 3,
			CgroupID: 1<<53 + 1,
			Owner: snapshot.Owner{
				Process: &snapshot.Process{
					PID: 2033, Comm: "curl", Exe: "/usr/bin/curl",
					Cmdline: "curl\x00-H\x00a: \"b\"\x00https://example.org/\x00",
				},
				TID:    2034,
				Thread: [16]byte{'d', 'n', 's', '\n', '1'},
				Source: snapshot.OwnerSocket,
			},
		},
		ID:          0xc0ffee,
		Direction:   table.Outgoing,
		Start:       noonMono + 123_456_789,
		StartKnown:  true,
		HasUID:      true,
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

func listener() *table.Conn {
	return &table.Conn{
		Head: snapshot.Head{
			Local:  netip.MustParseAddrPort("[::]:22"),
			Remote: netip.MustParseAddrPort("[::]:0"),
			State:  snapshot.Listen,
			Inode:  81,
			RecvQ:  2,
		},
		ID: 0xfedcba9876543210, HasUID: true,
	}
}

// envelope is how a golden line begins.
func envelope(fraction, event string) string {
	return `{"timestamp":"2026-11-24T12:00:00.` + fraction + `Z","v":1,"event":"` + event +
		`","seq":1,"run_id":"0123456789abcdef","host":"web1"`
}

const noQueue = `"ring_bytes":0,"queue_bytes":0,"queue_oldest_ns":0,"written_records":0,"written_bytes":0,"write_errors":0,"reopenings":0,"memory_bytes":0`

const outgoingIdentity = `,"conn_id":"0000000000c0ffee","cookie":"9007199254740995","transport":"tcp","family":"ipv4",` +
	`"local_addr":"10.0.0.5","local_port":51464,"remote_addr":"10.9.4.1","remote_port":443,` +
	`"direction":"outgoing","netns":4026531840`

const outgoingOwner = `,"uid":1000,"pid":2033,"tid":2034,"comm":"curl","program":"curl","thread":"dns\n1","owner_src":"socket",` +
	`"cgroup_id":"9007199254740993"`

// userNames has the names of users.
type userNames func(uid uint32) string

func (f userNames) User(uid uint32) string { return f(uid) }

func TestNDJSONLines(t *testing.T) {
	found := &table.Conn{
		Head: snapshot.Head{
			Local: netip.MustParseAddrPort("0.0.0.0:80"), Remote: netip.MustParseAddrPort("0.0.0.0:0"),
			State: snapshot.Listen, UID: 5,
			Owner: snapshot.Owner{Process: &snapshot.Process{PID: 7, Comm: "nginx"}, Source: snapshot.OwnerFiles},
		},
		ID: 1, HasUID: true,
	}
	allOptions := NDJSONOptions{Cmdline: true, Users: userNames(func(uid uint32) string {
		if uid == 1000 {
			return "alice"
		}
		return ""
	})}
	opened := noonMono + uint64(123_706_789)
	for _, tt := range []struct {
		name  string
		opts  NDJSONOptions
		write func(w *NDJSON)
		want  string
	}{
		{"transition", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&table.Change{Time: opened, Old: snapshot.SynSent, New: snapshot.Established, Conn: outgoing()})
		}, envelope("123706", "tcp_state") + `,"mono_ns":5123706789` + outgoingIdentity +
			`,"old_state":"SYN_SENT","new_state":"ESTABLISHED"` + outgoingOwner + `,"exe":"/usr/bin/curl"}`},

		{"transition with user and command line", allOptions, func(w *NDJSON) {
			w.Change(&table.Change{Time: opened, Old: snapshot.SynSent, New: snapshot.Established, Conn: outgoing()})
		}, envelope("123706", "tcp_state") + `,"mono_ns":5123706789` + outgoingIdentity +
			`,"old_state":"SYN_SENT","new_state":"ESTABLISHED"` +
			strings.Replace(outgoingOwner, `1000,`, `1000,"user":"alice",`, 1) +
			`,"exe":"/usr/bin/curl","cmdline":"curl -H a: \"b\" https://example.org/"}`},

		{"inferred transition of a connection of nobody", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&table.Change{
				Time: noonMono, Old: snapshot.Established, New: snapshot.Close, Inferred: true,
				Conn: &table.Conn{
					Head: snapshot.Head{
						Local:  netip.MustParseAddrPort("[::ffff:127.0.0.1]:80"),
						Remote: netip.MustParseAddrPort("[::ffff:127.0.0.1]:40000"),
					},
					ID: 1, Direction: table.Incoming,
				},
			})
		}, envelope("000000", "tcp_state") + `,"conn_id":"0000000000000001","transport":"tcp","family":"ipv6",` +
			`"local_addr":"::ffff:127.0.0.1","local_port":80,"remote_addr":"::ffff:127.0.0.1","remote_port":40000,` +
			`"direction":"incoming","inferred":true,"old_state":"ESTABLISHED","new_state":"CLOSE"}`},

		{"transition found by polling, port not known yet", NDJSONOptions{Poll: true}, func(w *NDJSON) {
			w.Change(&table.Change{
				Time: noonMono, Old: snapshot.Close, New: snapshot.SynSent,
				Conn: &table.Conn{
					Head: snapshot.Head{
						Local:  netip.MustParseAddrPort("[fe80::1%a\"b]:0"),
						Remote: netip.MustParseAddrPort("[fe80::2%a\"b]:1"),
					},
					ID: 1,
				},
			})
		}, envelope("000000", "tcp_state") + `,"conn_id":"0000000000000001","transport":"tcp","family":"ipv6",` +
			`"local_addr":"fe80::1%a\"b","remote_addr":"fe80::2%a\"b","remote_port":1,` +
			`"source":"poll","old_state":"CLOSE","new_state":"SYN_SENT"}`},

		{"close", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&table.Change{
				Kind: table.ChangeClose, Time: noonMono + 157_810_000, Conn: outgoing(),
				Close: &table.Closed{
					Outcome: table.Finished, ClosedBy: table.Local, HasStats: true,
					BytesSent: 457, BytesReceived: 19149, BytesRetrans: 40, SegsOut: 12, SegsIn: 14, Retrans: 1, RTT: 210, MinRTT: 180,
				},
			})
		}, envelope("157810", "tcp_close") + `,"mono_ns":5157810000` + outgoingIdentity + outgoingOwner +
			`,"start":"2026-11-24T12:00:00.123456Z","duration_ns":34353211,"established_ns":250000,` +
			`"outcome":"closed","closed_by":"local",` +
			`"history":"SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT",` +
			`"bytes_sent":457,"bytes_received":19149,"bytes_retrans":40,"segs_out":12,"segs_in":14,"retrans":1,` +
			`"rtt_us":210,"rtt_min_us":180,"exe":"/usr/bin/curl"}`},

		{"close of what was there before, not measured", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&table.Change{
				Kind: table.ChangeClose, Time: noonMono + 1000,
				Conn: &table.Conn{
					Head: snapshot.Head{
						Inode: 3,
						Local: netip.MustParseAddrPort("0.0.0.0:80"), Remote: netip.MustParseAddrPort("0.0.0.0:0"),
					},
					ID: 1, Start: noonMono - 1_000_000, Established: noonMono, HasUID: true,
				},
				Close: &table.Closed{
					Outcome: table.ResetRemote, Errno: unix.ECONNRESET,
					ClosedBy: table.Remote, HasStats: true, MinRTT: ^uint32(0),
				},
			})
		}, envelope("000001", "tcp_close") + `,"mono_ns":5000001000,"conn_id":"0000000000000001","transport":"tcp",` +
			`"family":"ipv4","local_addr":"0.0.0.0","local_port":80,"remote_addr":"0.0.0.0","uid":0,"start":"2026-11-24T11:59:59.999000Z","start_known":false,"duration_ns":1001000,` +
			`"outcome":"reset_remote","errno":"ECONNRESET","closed_by":"remote",` +
			`"bytes_sent":0,"bytes_received":0,"bytes_retrans":0,"segs_out":0,"segs_in":0,"retrans":0}`},

		{"transition by a process outside of the pid namespace", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&table.Change{
				Time: noonMono, Old: snapshot.Close, New: snapshot.Listen,
				Conn: &table.Conn{
					Head: snapshot.Head{
						Local: netip.MustParseAddrPort("0.0.0.0:80"), Remote: netip.MustParseAddrPort("0.0.0.0:0"),
						Owner: snapshot.Owner{Process: &snapshot.Process{Comm: "nginx", Exe: "/sbin/nginx"}, Source: snapshot.OwnerSocket},
					},
					ID: 1, HasUID: true,
				},
			})
		}, envelope("000000", "tcp_state") + `,"mono_ns":5000000000,"conn_id":"0000000000000001","transport":"tcp",` +
			`"family":"ipv4","local_addr":"0.0.0.0","local_port":80,"remote_addr":"0.0.0.0","old_state":"CLOSE","new_state":"LISTEN",` +
			`"uid":0,"comm":"nginx","program":"nginx","owner_src":"socket","exe":"/sbin/nginx"}`},

		{"close of which nothing is known, clocks of two CPUs", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&table.Change{
				Kind: table.ChangeClose, Time: noonMono,
				Conn: &table.Conn{
					Head: snapshot.Head{
						Local: netip.MustParseAddrPort("0.0.0.0:80"), Remote: netip.MustParseAddrPort("0.0.0.0:0"),
					},
					ID: 1, Start: noonMono + 5, StartKnown: true,
				},
				Close: &table.Closed{Errno: 512},
			})
		}, envelope("000000", "tcp_close") + `,"mono_ns":5000000000,"conn_id":"0000000000000001","transport":"tcp",` +
			`"family":"ipv4","local_addr":"0.0.0.0","local_port":80,"remote_addr":"0.0.0.0","start":"2026-11-24T12:00:00.000000Z","duration_ns":0,"outcome":"unknown","errno":"512"}`},

		{"close of a connect that never began", NDJSONOptions{}, func(w *NDJSON) {
			w.Change(&table.Change{
				Kind: table.ChangeClose, Time: noonMono,
				Conn: &table.Conn{
					Head: snapshot.Head{
						Inode: 3, State: snapshot.Close,
						Local: netip.MustParseAddrPort("0.0.0.0:0"), Remote: netip.MustParseAddrPort("10.9.4.1:443"),
					},
					ID: 1, Direction: table.Outgoing, HasUID: true, Start: noonMono, StartKnown: true,
				},
				Close: &table.Closed{Outcome: table.Unreachable, Errno: unix.ENETUNREACH},
			})
		}, envelope("000000", "tcp_close") + `,"mono_ns":5000000000,"conn_id":"0000000000000001","transport":"tcp",` +
			`"family":"ipv4","local_addr":"0.0.0.0","remote_addr":"10.9.4.1","remote_port":443,"direction":"outgoing","uid":0,` +
			`"start":"2026-11-24T12:00:00.000000Z","duration_ns":0,"outcome":"unreachable","errno":"ENETUNREACH"}`},

		{
			"socket whose owner was found late",
			NDJSONOptions{},
			func(w *NDJSON) { w.Change(&table.Change{Kind: table.ChangeOwner, Time: noonMono, Conn: found}) },
			envelope("000000", "socket") + `,"conn_id":"0000000000000001","transport":"tcp",` +
				`"family":"ipv4","local_addr":"0.0.0.0","local_port":80,"remote_addr":"0.0.0.0","state":"LISTEN",` +
				`"uid":5,"pid":7,"comm":"nginx","program":"nginx","owner_src":"files","recv_q":0,"send_q":0}`,
		},

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
				BootID: "8e3b7c1e-0000-4000-8000-000000000000", Mode: "bpf", Closes: "kernel", Hooks: []string{"transitions=tp_btf A+B"},
				Inexact: []string{"acceptor", "orphans"}, Filter: `port == "https"`, Reason: "start", FileSeq: 1,
			})
		}, envelope("000000", "start") + `,"version":"0.1.0","commit":"f482296","kernel":"6.12.0","arch":"x86_64",` +
			`"boot_id":"8e3b7c1e-0000-4000-8000-000000000000","clock":"CLOCK_MONOTONIC","mode":"bpf","closes":"kernel","reason":"start",` +
			`"file_seq":1,"hooks":["transitions=tp_btf A+B"],"inexact":["acceptor","orphans"],"filter":"port == \"https\""}`},

		{
			"snapshot end",
			NDJSONOptions{},
			func(w *NDJSON) { w.SnapshotEnd(noon, 812, 43*time.Millisecond) },
			envelope("000000", "snapshot_end") + `,"rows":812,"took_ns":43000000}`,
		},

		{"lost", NDJSONOptions{}, func(w *NDJSON) {
			w.Lost(noon, &tracer.Lost{Stage: "ringbuf", Count: 7, States: 5, Closes: 1, Total: 9, Since: noonMono - 1_000_000_000})
		}, envelope("000000", "lost") + `,"stage":"ringbuf","lost":7,"lost_states":5,"lost_closes":1,"lost_total":9,"since":"2026-11-24T11:59:59.000000Z"}`},

		{"records that were left out", NDJSONOptions{DeferSeq: true}, func(w *NDJSON) {
			w.Dropped(noon, &Dropped{
				Stage: "queue", Records: 7, States: 4, Closes: 2, Total: 9, Since: noon.Add(-time.Second), Until: noon.Add(-time.Millisecond),
			})
		}, strings.Replace(envelope("000000", "lost"), `"seq":1`, "\"seq\":\x00", 1) + `,"stage":"queue","lost":7,"lost_states":4,"lost_closes":2,` +
			`"lost_total":9,"since":"2026-11-24T11:59:59.000000Z","until":"2026-11-24T11:59:59.999000Z"}`},

		{
			"resync",
			NDJSONOptions{},
			func(w *NDJSON) { w.Resync(noon, table.Resync{Added: 1, Removed: 2, Changed: 3}) },
			envelope("000000", "resync") + `,"added":1,"removed":2,"changed":3}`,
		},

		{
			"stats",
			NDJSONOptions{},
			func(w *NDJSON) {
				w.Stats(noon, &Totals{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, Held{12, 13}, 14, QueueTotals{15, 16, 17, 18, 19, 20, 21}, SocketTotals{}})
			},
			envelope("000000", "stats") + `,"events_in":1,"events_out":2,"filtered":3,"lost_ringbuf":4,"lost_queue":5,` +
				`"lost_output":6,"open":7,"open_before":8,"opened":9,"closed":10,"failed":11,"ring_bytes":12,` +
				`"queue_bytes":15,"queue_oldest_ns":16,"written_records":17,"written_bytes":18,"write_errors":19,"reopenings":20,"memory_bytes":13}`,
		},
		{
			"a sample's stats",
			NDJSONOptions{SampleRate: 100},
			func(w *NDJSON) { w.Stats(noon, &Totals{SampledOut: 14}) },
			strings.Replace(envelope("000000", "stats"), `,"host"`, `,"sample_rate":100,"host"`, 1) +
				`,"events_in":0,"events_out":0,"filtered":0,"lost_ringbuf":0,"lost_queue":0,"lost_output":0,"open":0,"open_before":0,` +
				`"opened":0,"closed":0,"failed":0,` + noQueue + `,"sampled_out":14}`,
		},

		{
			"stop",
			NDJSONOptions{},
			func(w *NDJSON) { w.Stop(noon, &Totals{EventsIn: 5}, "signal") },
			envelope("000000", "stop") + `,"reason":"signal","events_in":5,"events_out":0,"filtered":0,"lost_ringbuf":0,` +
				`"lost_queue":0,"lost_output":0,"open":0,"open_before":0,"opened":0,"closed":0,"failed":0,` + noQueue + `}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) { checkGolden(t, tt.opts, newWriter, tt.write, tt.want) })
	}
}

// checkGolden compares the line that write makes with the one that is wanted.
func checkGolden[W flusher](t *testing.T, opts NDJSONOptions,
	writer func(io.Writer, NDJSONOptions) W, write func(W), want string,
) {
	t.Helper()
	var out bytes.Buffer
	w := writer(&out, opts)
	write(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != want+"\n" {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	checkLines(t, numbered(t, out.Bytes()))
}

// In a line that is too long only strings are shortened.
func TestNDJSONCut(t *testing.T) {
	conn := outgoing()
	conn.Owner.Process = &snapshot.Process{
		PID: 2033, Comm: strings.Repeat("\x01", 15),
		Exe: strings.Repeat("\xff", 4096), Cmdline: strings.Repeat("漢\x00", 4096),
	}
	var out bytes.Buffer
	w := newWriter(&out, NDJSONOptions{Host: strings.Repeat("\n", 255), Cmdline: true})
	w.Change(&table.Change{
		Kind: table.ChangeClose, Time: noonMono, Conn: conn,
		Close: &table.Closed{Outcome: table.Finished, HasStats: true, RTT: 1},
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

// choked is a writer that fails after a number of bytes.
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
	w.Resync(noon, table.Resync{})
	if err := w.Flush(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v, want %v", err, io.ErrShortWrite)
	}
}

// A record shows the time that the clock has for it.
func TestNDJSONClock(t *testing.T) {
	var out bytes.Buffer
	w := newWriter(&out, NDJSONOptions{})
	change := table.Change{Time: noonMono, New: snapshot.Close, Conn: outgoing()}
	w.Change(&change)
	w.wall = fixedClock(noonMono, noon.Add(-90*time.Minute))
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
	w := newWriter(io.Discard, NDJSONOptions{Cmdline: true, Users: userNames(func(uint32) string { return "alice" }), Devices: deviceNames{3: "eth0"}})
	rows := rowRecords(&w.encoder)
	conn := outgoing()
	conn.Local, conn.Device = netip.MustParseAddrPort("[fe80::1]:51464"), 3
	state := &table.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: conn}
	ended := &table.Change{
		Kind: table.ChangeClose, Time: noonMono, Conn: conn,
		Close: &table.Closed{Outcome: table.Finished, Errno: unix.EPIPE, HasStats: true, RTT: 1},
	}
	row := &snapshot.Socket{Head: snapshot.Head{Local: conn.Local, Remote: conn.Remote, Device: 3, State: snapshot.Established, Inode: 5}, Timer: 2}
	for _, tt := range []struct {
		name  string
		write func()
	}{
		{"tcp_state", func() { w.Change(state) }},
		{"tcp_close", func() { w.Change(ended) }},
		{"tcp_state of another connection and owner", func() { // with the same places in the cache
			conn.ID += connsKept
			conn.Owner.Source = snapshot.OwnerSocket + snapshot.OwnerFiles - conn.Owner.Source
			w.Change(state)
		}},
		{"socket of the stream", func() { w.Conn(noon, conn) }},
		{"socket", func() { rows.Socket(noon, row, nil) }},
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
	change := &table.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: outgoing()}
	benchmarkLine(b, w, func() { w.Change(change) })
}

func BenchmarkNDJSONClose(b *testing.B) {
	w := newWriter(io.Discard, NDJSONOptions{})
	change := &table.Change{
		Kind: table.ChangeClose, Time: noonMono, Conn: outgoing(),
		Close: &table.Closed{Outcome: table.Finished, HasStats: true, RTT: 1},
	}
	w.Change(&table.Change{Time: noonMono, Old: snapshot.TimeWait, New: snapshot.Close, Conn: change.Conn}) // is told before
	benchmarkLine(b, w, func() { w.Change(change) })
}

func BenchmarkNDJSONSocket(b *testing.B) {
	w := newRowWriter(io.Discard, NDJSONOptions{})
	row := &snapshot.Socket{
		Head: snapshot.Head{
			Local:  netip.MustParseAddrPort("10.0.0.5:22"),
			Remote: netip.MustParseAddrPort("10.0.0.6:1024"), State: snapshot.Established, Inode: 5,
		},
	}
	benchmarkLine(b, w, func() { w.Socket(noon, row, nil) })
}

type flusher interface {
	Buffered() int
	Flush() error
}

func benchmarkLine(b *testing.B, w flusher, write func()) {
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
