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

// newECSWriter returns a writer with the identity that the golden lines have.
func newECSWriter(out io.Writer, opts NDJSONOptions) *ECS {
	if opts.Host == "" {
		opts.Host = "web1"
	}
	opts.RunID = 0x0123456789abcdef
	return NewECS(out, opts, fixedClock(noonMono, noon))
}

// ecsEnvelope is how a golden line begins.
func ecsEnvelope(fraction, action, class string) string {
	return `{"@timestamp":"2026-11-24T12:00:00.` + fraction + `Z","ecs.version":"9.4.0","event.action":"` + action + `",` + class +
		`,"event.sequence":1,"event.id":"0123456789abcdef-1","nettrace.run_id":"0123456789abcdef","host.name":"web1"`
}

// ofTCP is how golden lines classify an event of a connection.
func ofTCP(kind, types string) string {
	return `"event.kind":"` + kind + `","event.category":["network"],"event.type":[` + types + `],"event.dataset":"nettrace.tcp"`
}

const (
	ecsSummaryClass = `"event.kind":"metric","event.category":["network"],"event.type":["info"],"event.dataset":"nettrace.summary"`

	ecsRunClass = `"event.kind":"event","event.dataset":"nettrace.run"`

	ecsOutgoingIdentity = `,"nettrace.conn_id":"0000000000c0ffee","nettrace.cookie":"9007199254740995","network.transport":"tcp","network.type":"ipv4",` +
		`"network.direction":"egress","source.ip":"10.0.0.5","source.port":51464,"destination.ip":"10.9.4.1","destination.port":443,` +
		`"nettrace.netns":4026531840`

	ecsOutgoingOwner = `,"user.id":"1000","process.pid":2033,"process.thread.id":2034,"process.name":"curl",` +
		`"nettrace.program":"curl","process.thread.name":"dns\n1","nettrace.owner_src":"socket","nettrace.cgroup_id":"9007199254740993"`
)

func TestECSLines(t *testing.T) {
	incoming := outgoing()
	incoming.Direction, incoming.Owner = table.Incoming, snapshot.Owner{}
	begun := outgoing()
	begun.History, begun.Owner, begun.HasUID, begun.CgroupID = table.History{}, snapshot.Owner{}, false, 0
	begun.History.Add(snapshot.SynSent)
	stats := &table.Closed{
		Outcome: table.Finished, ClosedBy: table.Local, HasStats: true,
		BytesSent: 457, BytesReceived: 19149, BytesRetrans: 40, SegsOut: 12, SegsIn: 14, Retrans: 1, RTT: 210, MinRTT: 180,
	}
	users := NDJSONOptions{Cmdline: true, Users: userNames(func(uint32) string { return "alice" })}
	for _, tt := range []struct {
		name  string
		opts  NDJSONOptions
		write func(w *ECS)
		want  string
	}{
		{"first transition", NDJSONOptions{}, func(w *ECS) {
			w.Change(&table.Change{Time: noonMono, Old: snapshot.Close, New: snapshot.SynSent, Conn: begun})
		}, ecsEnvelope("000000", "tcp_state", ofTCP("event", `"connection","start"`)) + `,"nettrace.mono_ns":5000000000` +
			ecsOutgoingIdentity + `,"nettrace.old_state":"CLOSE","nettrace.new_state":"SYN_SENT"}`},

		{"transition with user and command line", users, func(w *ECS) {
			w.Change(&table.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: outgoing()})
		}, ecsEnvelope("000000", "tcp_state", ofTCP("event", `"connection","info"`)) + `,"nettrace.mono_ns":5000000000` +
			ecsOutgoingIdentity + `,"nettrace.old_state":"SYN_SENT","nettrace.new_state":"ESTABLISHED"` +
			strings.Replace(ecsOutgoingOwner, `"1000"`, `"1000","user.name":"alice"`, 1) +
			`,"process.executable":"/usr/bin/curl","process.command_line":"curl -H a: \"b\" https://example.org/"}`},

		{"inferred transition of an IPv6 socket with an IPv4 peer, polled", NDJSONOptions{Poll: true}, func(w *ECS) {
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
		}, ecsEnvelope("000000", "tcp_state", ofTCP("event", `"connection","info"`)) +
			`,"nettrace.conn_id":"0000000000000001","network.transport":"tcp","network.type":"ipv4","network.direction":"ingress",` +
			`"destination.ip":"127.0.0.1","destination.address":"::ffff:127.0.0.1","destination.port":80,` +
			`"source.ip":"127.0.0.1","source.address":"::ffff:127.0.0.1","source.port":40000,` +
			`"nettrace.source":"poll","nettrace.inferred":true,"nettrace.old_state":"ESTABLISHED","nettrace.new_state":"CLOSE"}`},

		{"link-local addresses, direction not known", NDJSONOptions{Devices: deviceNames{3: "eth0"}}, func(w *ECS) {
			w.Change(&table.Change{Time: noonMono, New: snapshot.SynRecv, Conn: &table.Conn{
				Head: snapshot.Head{
					Local:  netip.MustParseAddrPort("[fe80::1]:80"),
					Remote: netip.MustParseAddrPort("[fe80::2%a\"b]:0"), Device: 3,
				},
				ID: 1,
			}})
		}, ecsEnvelope("000000", "tcp_state", ofTCP("event", `"connection","info"`)) +
			`,"nettrace.mono_ns":5000000000,"nettrace.conn_id":"0000000000000001","network.transport":"tcp","network.type":"ipv6",` +
			`"source.ip":"fe80::1","source.address":"fe80::1%eth0","source.port":80,` +
			`"destination.ip":"fe80::2","destination.address":"fe80::2%a\"b","nettrace.iface":"eth0","nettrace.new_state":"SYN_RECV"}`},

		{"listener", NDJSONOptions{}, func(w *ECS) {
			w.Change(&table.Change{Time: noonMono, Old: snapshot.Close, New: snapshot.Listen, Conn: listener()})
		}, ecsEnvelope("000000", "tcp_state", ofTCP("event", `"info"`)) +
			`,"nettrace.mono_ns":5000000000,"nettrace.conn_id":"fedcba9876543210","network.transport":"tcp","network.type":"ipv6",` +
			`"source.ip":"::","source.port":22,"nettrace.old_state":"CLOSE","nettrace.new_state":"LISTEN","user.id":"0"}`},

		{"close of an outgoing connection", NDJSONOptions{}, func(w *ECS) {
			w.Change(&table.Change{Kind: table.ChangeClose, Time: noonMono + 157_810_000, Conn: outgoing(), Close: stats})
		}, ecsEnvelope("157810", "tcp_close", ofTCP("event", `"connection","end"`)) + `,"nettrace.mono_ns":5157810000` +
			ecsOutgoingIdentity + ecsOutgoingOwner +
			`,"event.start":"2026-11-24T12:00:00.123456Z","event.duration":34353211,"nettrace.established_ns":250000,` +
			`"event.end":"2026-11-24T12:00:00.157810Z","event.outcome":"success","event.reason":"closed","nettrace.closed_by":"local",` +
			`"nettrace.history":"SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT",` +
			`"source.bytes":457,"destination.bytes":19149,"nettrace.bytes_retrans":40,"source.packets":12,"destination.packets":14,` +
			`"nettrace.retrans":1,"nettrace.rtt_us":210,"nettrace.rtt_min_us":180,"process.executable":"/usr/bin/curl"}`},

		{"close of an incoming connection", NDJSONOptions{}, func(w *ECS) {
			w.Change(&table.Change{Kind: table.ChangeClose, Time: noonMono + 157_810_000, Conn: incoming, Close: stats})
		}, ecsEnvelope("157810", "tcp_close", ofTCP("event", `"connection","end"`)) + `,"nettrace.mono_ns":5157810000` +
			`,"nettrace.conn_id":"0000000000c0ffee","nettrace.cookie":"9007199254740995","network.transport":"tcp","network.type":"ipv4","network.direction":"ingress",` +
			`"destination.ip":"10.0.0.5","destination.port":51464,"source.ip":"10.9.4.1","source.port":443,"nettrace.netns":4026531840,` +
			`"user.id":"1000","nettrace.cgroup_id":"9007199254740993"` +
			`,"event.start":"2026-11-24T12:00:00.123456Z","event.duration":34353211,"nettrace.established_ns":250000,` +
			`"event.end":"2026-11-24T12:00:00.157810Z","event.outcome":"success","event.reason":"closed","nettrace.closed_by":"local",` +
			`"nettrace.history":"SYN_SENT>ESTABLISHED>FIN_WAIT1>FIN_WAIT2>TIME_WAIT",` +
			`"destination.bytes":457,"source.bytes":19149,"nettrace.bytes_retrans":40,"destination.packets":12,"source.packets":14,` +
			`"nettrace.retrans":1,"nettrace.rtt_us":210,"nettrace.rtt_min_us":180}`},

		{"close of a connect that was rejected before it began", NDJSONOptions{}, func(w *ECS) {
			w.Change(&table.Change{
				Kind: table.ChangeClose, Time: noonMono,
				Conn: &table.Conn{
					Head: snapshot.Head{
						State: snapshot.Close,
						Local: netip.MustParseAddrPort("0.0.0.0:0"), Remote: netip.MustParseAddrPort("10.9.4.1:443"),
					},
					ID: 1, Direction: table.Outgoing, Start: noonMono,
				},
				Close: &table.Closed{Outcome: table.Rejected, Errno: unix.EHOSTUNREACH},
			})
		}, ecsEnvelope("000000", "tcp_close", ofTCP("event", `"connection","end","denied"`)) +
			`,"nettrace.mono_ns":5000000000,"nettrace.conn_id":"0000000000000001","network.transport":"tcp","network.type":"ipv4",` +
			`"network.direction":"egress","destination.ip":"10.9.4.1","destination.port":443,` +
			`"event.start":"2026-11-24T12:00:00.000000Z","nettrace.start_known":false,"event.duration":0,` +
			`"event.end":"2026-11-24T12:00:00.000000Z","event.outcome":"failure","event.reason":"rejected","error.code":"EHOSTUNREACH"}`},

		{"close of which nothing is known", NDJSONOptions{}, func(w *ECS) {
			w.Change(&table.Change{Kind: table.ChangeClose, Time: noonMono, Conn: &table.Conn{
				Head: snapshot.Head{Local: netip.MustParseAddrPort("0.0.0.0:80"), Remote: netip.MustParseAddrPort("0.0.0.0:0")},
				ID:   1, Start: noonMono, StartKnown: true,
			}})
		}, ecsEnvelope("000000", "tcp_close", ofTCP("event", `"connection","end"`)) +
			`,"nettrace.mono_ns":5000000000,"nettrace.conn_id":"0000000000000001","network.transport":"tcp","network.type":"ipv4",` +
			`"source.ip":"0.0.0.0","source.port":80,"event.start":"2026-11-24T12:00:00.000000Z","event.duration":0,` +
			`"event.end":"2026-11-24T12:00:00.000000Z","event.outcome":"unknown","event.reason":"unknown"}`},

		{
			"socket of the stream",
			NDJSONOptions{},
			func(w *ECS) { w.Conn(noon, listener()) },
			ecsEnvelope("000000", "socket", ofTCP("state", `"info"`)) +
				`,"nettrace.conn_id":"fedcba9876543210","network.transport":"tcp","network.type":"ipv6",` +
				`"source.ip":"::","source.port":22,"nettrace.state":"LISTEN","user.id":"0",` +
				`"nettrace.recv_q":2,"nettrace.send_q":0,"nettrace.inode":81}`,
		},

		{"start", NDJSONOptions{}, func(w *ECS) {
			w.Start(noon, &Start{
				Version: "0.1.0", Commit: "f482296", Kernel: "6.12.0", Arch: "x86_64",
				BootID: "8e3b7c1e-0000-4000-8000-000000000000", Mode: "bpf", Closes: "kernel", Hooks: []string{"transitions=tp_btf A+B"},
				Inexact: []string{"acceptor", "orphans"}, Filter: `port == "https"`, Reason: "start", FileSeq: 1,
			})
		}, ecsEnvelope("000000", "start", ecsRunClass) + `,"nettrace.version":"0.1.0","nettrace.commit":"f482296",` +
			`"host.os.kernel":"6.12.0","host.architecture":"x86_64","host.boot.id":"8e3b7c1e-0000-4000-8000-000000000000",` +
			`"nettrace.clock":"CLOCK_MONOTONIC","nettrace.mode":"bpf","nettrace.closes":"kernel","event.reason":"start","nettrace.file_seq":1,` +
			`"nettrace.hooks":["transitions=tp_btf A+B"],"nettrace.inexact":["acceptor","orphans"],"nettrace.filter":"port == \"https\""}`},

		{
			"snapshot end",
			NDJSONOptions{},
			func(w *ECS) { w.SnapshotEnd(noon, 812, 43*time.Millisecond) },
			ecsEnvelope("000000", "snapshot_end", ecsRunClass) + `,"nettrace.rows":812,"nettrace.took_ns":43000000}`,
		},

		{
			"lost",
			NDJSONOptions{},
			func(w *ECS) {
				w.Lost(noon, &tracer.Lost{Stage: "ringbuf", Count: 7, Total: 9, Since: noonMono - 1_000_000_000})
			},
			ecsEnvelope("000000", "lost", `"event.kind":"pipeline_error","event.dataset":"nettrace.run"`) +
				`,"nettrace.stage":"ringbuf","nettrace.lost":7,"nettrace.lost_states":0,"nettrace.lost_closes":0,"nettrace.lost_total":9,"nettrace.since":"2026-11-24T11:59:59.000000Z"}`,
		},

		{
			"resync",
			NDJSONOptions{},
			func(w *ECS) { w.Resync(noon, table.Resync{Added: 1, Removed: 2, Changed: 3}) },
			ecsEnvelope("000000", "resync", ecsRunClass) + `,"nettrace.added":1,"nettrace.removed":2,"nettrace.changed":3}`,
		},

		{
			"a group of a summary",
			NDJSONOptions{},
			func(w *ECS) {
				w.Summary(noon, &Summary{
					Start: noon.Add(-time.Second), Window: time.Second,
					Columns: []SummaryColumn{{Name: "comm", Kind: SummaryString}, {Name: "remote_addr", Kind: SummaryString}, {Name: "bytes_sent_sum", Measure: true}},
					Rows:    []SummaryRow{{Count: 3, Cells: []SummaryCell{{Known: true, Text: "curl"}, {Known: true, Text: "10.0.0.0/8"}, {Known: true, Number: 5}}}},
					Total:   SummaryRow{Count: 3, Cells: []SummaryCell{{}, {}, {Known: true, Number: 5}}},
				})
			},
			ecsEnvelope("000000", "agg", ecsSummaryClass) +
				`,"nettrace.window_start":"2026-11-24T11:59:59.000000Z","nettrace.window_ns":1000000000,"nettrace.rank":1,"nettrace.count":3,` +
				`"process.name":"curl","nettrace.remote_addr":"10.0.0.0/8","nettrace.bytes_sent_sum":5}` + "\n" +
				strings.NewReplacer(`sequence":1`, `sequence":2`, `cdef-1`, `cdef-2`).Replace(ecsEnvelope("000000", "agg", ecsSummaryClass)) +
				`,"nettrace.window_start":"2026-11-24T11:59:59.000000Z","nettrace.window_ns":1000000000,` +
				`"nettrace.total":true,"nettrace.groups":1,"nettrace.count":3,"nettrace.bytes_sent_sum":5}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			w := newECSWriter(&out, tt.opts)
			tt.write(w)
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); got != tt.want+"\n" {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
			checkECSLines(t, out.Bytes())
		})
	}
}

// A number that the type long cannot hold is left out.
func TestECSLeavesOutLargeNumbers(t *testing.T) {
	var out bytes.Buffer
	w := newECSWriter(&out, NDJSONOptions{})
	c := outgoing()
	c.RecvQ, c.SendQ = 1<<63, 1<<63-1
	w.Conn(noon, c)
	w.Change(&table.Change{Kind: table.ChangeClose, Time: 1 << 63, Conn: c, Close: &table.Closed{HasStats: true, BytesSent: 1 << 63, BytesReceived: 1<<63 - 1}})
	w.Stats(noon, &Totals{EventsIn: 1 << 63, EventsOut: 1<<63 - 1})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	checkECSLines(t, out.Bytes())
	for _, key := range []string{"nettrace.recv_q", "nettrace.mono_ns", "source.bytes", "nettrace.events_in"} {
		if strings.Contains(out.String(), `"`+key+`"`) {
			t.Errorf("%s stands in %s", key, out.String())
		}
	}
	for _, member := range []string{`"nettrace.send_q":`, `"destination.bytes":`, `"nettrace.events_out":`} {
		if !strings.Contains(out.String(), member+"9223372036854775807") {
			t.Errorf("no %s in %s", member, out.String())
		}
	}
}

// In a line that is too long only strings are shortened.
func TestECSCut(t *testing.T) {
	conn := outgoing()
	conn.Owner.Process = &snapshot.Process{
		PID: 2033, Comm: strings.Repeat("\x01", 15),
		Exe: strings.Repeat("\xff", 4096), Cmdline: strings.Repeat("漢\x00", 4096),
	}
	var out bytes.Buffer
	w := newECSWriter(&out, NDJSONOptions{Host: strings.Repeat("\n", 255), Cmdline: true})
	w.Change(&table.Change{Kind: table.ChangeClose, Time: noonMono, Conn: conn, Close: &table.Closed{Outcome: table.Finished, HasStats: true, RTT: 1}})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	record := checkECSLines(t, out.Bytes())[0]
	if n := out.Len(); n > lineMax || n < lineMax-len(`漢 `) {
		t.Errorf("a line of %d bytes does not fill %d", n, lineMax)
	}
	if record["nettrace.truncated"] != true {
		t.Errorf("no nettrace.truncated in %v", record)
	}
	for _, key := range []string{"event.sequence", "host.name", "nettrace.conn_id", "nettrace.history", "destination.bytes", "nettrace.rtt_us", "process.executable", "process.command_line"} {
		if record[key] == nil {
			t.Errorf("no %s in %v", key, record)
		}
	}
}

// A line has room for its number wherever that goes.
func TestECSLeavesRoomForNumbers(t *testing.T) {
	conn := outgoing()
	conn.Owner.Process = &snapshot.Process{PID: 2033, Comm: "x", Exe: strings.Repeat("/e", 2048), Cmdline: strings.Repeat("a\x00", 4096)}
	var out bytes.Buffer
	w := newECSWriter(&out, NDJSONOptions{Cmdline: true, DeferSeq: true})
	w.Change(&table.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: conn})
	w.Start(noon, &Start{Version: "1", Kernel: "6", Arch: "x", Mode: "bpf", Reason: "start", FileSeq: 1, Filter: strings.Repeat("x", lineMax)})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out.Bytes(), []byte{0}); n != 4 {
		t.Errorf("%d places in two lines", n)
	}
	numbered := bytes.ReplaceAll(out.Bytes(), []byte{0}, []byte("9223372036854775807"))
	for i, record := range checkECSLines(t, numbered) {
		if record["event.id"] != "0123456789abcdef-9223372036854775807" || record["nettrace.truncated"] != true {
			t.Errorf("line %d: %v", i, record)
		}
	}
}

// However many keys and measures a summary has, its lines are not longer than others.
func TestSummaryLinesAreBounded(t *testing.T) {
	for columns := range 90 {
		s := &Summary{Start: noon, Window: time.Second, Rows: []SummaryRow{{Count: 1 << 62}}, Total: SummaryRow{Count: 1}}
		for i := range columns {
			c, cell := SummaryColumn{Name: "bytes_received_p99_9_ns", Measure: true}, SummaryCell{Known: true, Number: 1 << 62}
			if i%3 != 2 {
				c, cell = SummaryColumn{Name: "program", Kind: SummaryString}, SummaryCell{Known: true, Text: strings.Repeat("x", 300)}
			}
			s.Columns, s.Rows[0].Cells = append(s.Columns, c), append(s.Rows[0].Cells, cell)
			s.Total.Cells = append(s.Total.Cells, SummaryCell{})
		}
		var native, common bytes.Buffer
		opts := NDJSONOptions{Host: strings.Repeat("h", 300)}
		n, e := newWriter(&native, opts), newECSWriter(&common, opts)
		n.Summary(noon, s)
		e.Summary(noon, s)
		if err := errors.Join(n.Flush(), e.Flush()); err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(append(native.Bytes(), common.Bytes()...)) {
			if len(line) > lineMax || bytes.Contains(line, []byte(`""`)) {
				t.Errorf("%d columns: a line of %d bytes: %s", columns, len(line), line)
			}
		}
	}
}

func TestECSAllocatesNothing(t *testing.T) {
	for _, fields := range [][]string{nil, {"remote_addr", "pid", "outcome"}} {
		w := newECSWriter(io.Discard, NDJSONOptions{
			Cmdline: true, Fields: fields,
			Users: userNames(func(uint32) string { return "alice" }), Devices: deviceNames{3: "eth0"},
		})
		conn := outgoing()
		conn.Local, conn.Device = netip.MustParseAddrPort("[fe80::1]:51464"), 3
		state := &table.Change{Time: noonMono, Old: snapshot.SynSent, New: snapshot.Established, Conn: conn}
		ended := &table.Change{
			Kind: table.ChangeClose, Time: noonMono, Conn: conn,
			Close: &table.Closed{Outcome: table.Finished, Errno: unix.EPIPE, HasStats: true, RTT: 1},
		}
		for _, change := range []*table.Change{state, ended, {Kind: table.ChangeOwner, Time: noonMono, Conn: conn}} {
			if n := testing.AllocsPerRun(1000, func() {
				change.Time += 1e9 // into another second each time
				w.Change(change)
				if w.Full() {
					_ = w.Flush()
				}
			}); n != 0 {
				t.Errorf("fields %v, kind %d: %v allocations", fields, change.Kind, n)
			}
		}
	}
}
