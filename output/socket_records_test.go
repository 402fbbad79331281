package output

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
	"github.com/nettrace/nettrace/tracer/table"
)

// settleSocket makes a socket of any values one that there can be: a Unix socket has no
// addresses, and others have no more than these.
func settleSocket(t *rapid.T, s *table.Socket) {
	s.Protocol = snapshot.Protocol(rapid.IntRange(int(snapshot.UDP), int(snapshot.Unix)).Draw(t, "protocol"))
	if s.Protocol != snapshot.Unix {
		s.Unix = nil
		return
	}
	s.Local, s.Remote = netip.AddrPort{}, netip.AddrPort{}
}

// streamSockets draws sockets that are none of TCP.
func streamSockets() *rapid.Generator[*table.Socket] {
	return rapid.Custom(func(t *rapid.T) *table.Socket {
		c := conns().Draw(t, "head")
		s := &table.Socket{
			Head: c.Head, ID: c.ID, Start: c.Start, StartKnown: c.StartKnown, HasUID: c.HasUID,
			Type: rapid.Uint8Range(0, 6).Draw(t, "type"), Shown: rapid.Bool().Draw(t, "shown"),
			Unix: &table.UnixEnd{
				Name: names(108).Draw(t, "name"), HasSocket: rapid.Bool().Draw(t, "has a socket"),
				Peer: rapid.Uint64().Draw(t, "peer"), PeerInode: uint64(rapid.Uint32().Draw(t, "peer inode")),
				PeerPID: rapid.Uint32().Draw(t, "peer pid"), Listener: rapid.Uint64().Draw(t, "listener"),
				Backlog: rapid.Uint32().Draw(t, "backlog"),
			},
		}
		for _, k := range rapid.SliceOfN(rapid.IntRange(1, 8), 0, 20).Draw(t, "history") {
			s.History.Add(table.SocketChangeKind(k))
		}
		settleSocket(t, s)
		return s
	})
}

// socketChanges draws changes of such sockets.
func socketChanges() *rapid.Generator[*table.SocketChange] {
	return rapid.Custom(func(t *rapid.T) *table.SocketChange {
		c := &table.SocketChange{
			Kind:   table.SocketChangeKind(rapid.IntRange(0, int(table.SocketChangeKinds)-1).Draw(t, "kind")),
			Source: table.SocketSource(rapid.IntRange(0, 2).Draw(t, "source")),
			Auto:   rapid.Bool().Draw(t, "auto"),
			Time:   rapid.Uint64().Draw(t, "time"),
			Socket: streamSockets().Draw(t, "socket"),
			Old:    table.SocketBefore{State: states().Draw(t, "old state")},
		}
		if c.Socket.Unix == nil {
			c.Old.Head.Remote = addrPorts().Draw(t, "old peer")
		}
		if rapid.Bool().Draw(t, "an error") {
			c.Errno = unix.ECONNABORTED
		}
		if c.Kind == table.SocketClose {
			c.Closed = &table.SocketClosed{
				Reason: table.SocketReason(rapid.IntRange(0, int(table.ReasonKernel)).Draw(t, "reason")),
				Closer: processes().Draw(t, "closer"),
			}
		}
		return c
	})
}

// Whatever the values are, each line keeps both schemas, and its members come in the
// order of the list of fields.
func TestSocketRecordsKeepTheSchemas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := NDJSONOptions{
			Host: names(300).Draw(t, "host"), Cmdline: true, Poll: rapid.Bool().Draw(t, "poll"),
			Devices: deviceNames{3: names(15).Draw(t, "interface")},
		}
		var native, common bytes.Buffer
		n, e := NewNDJSON(&native, opts, offset(0)), NewECS(&common, opts, offset(0))
		for range 3 {
			c := socketChanges().Draw(t, "change")
			n.SocketChange(c)
			e.SocketChange(c)
			n.SocketRow(noon, c.Socket)
			e.SocketRow(noon, c.Socket)
		}
		if err := errors.Join(n.Flush(), e.Flush()); err != nil {
			t.Fatal(err)
		}
		if a, b := checkLines(t, native.Bytes()), checkECSLines(t, common.Bytes()); len(a) != 6 || len(b) != 6 {
			t.Errorf("%d and %d lines", len(a), len(b))
		}
		for line := range bytes.Lines(native.Bytes()) {
			checkOrder(t, SocketChangeRecords, line)
		}
	})
}

// A line of chosen fields has what the whole line has of them.
func TestSocketPick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOfDistinct(rapid.SampledFrom(RecordFields(SocketChangeRecords)), rapid.ID[string]).Draw(t, "fields")
		opts := NDJSONOptions{Host: "web1", Cmdline: true}
		var whole, picked bytes.Buffer
		full := NewNDJSON(&whole, opts, offset(0))
		opts.Fields = slices.Clone(fields)
		part := NewNDJSON(&picked, opts, offset(0))
		c := socketChanges().Draw(t, "change")
		for _, w := range []*NDJSON{full, part} {
			w.SocketChange(c)
			w.SocketChange(c) // its owner comes from the cache
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		wholes, parts := bytes.SplitAfter(whole.Bytes(), []byte("\n")), bytes.SplitAfter(picked.Bytes(), []byte("\n"))
		for i, line := range wholes[:len(wholes)-1] {
			record, got := decode(t, line), decode(t, parts[i])
			for _, key := range slices.Concat(keptFields, fields) {
				if _, has := record[key]; has != (got[key] != nil) && key != truncatedField {
					t.Errorf("%s in the whole line %v: %s%s", key, has, line, parts[i])
				}
			}
		}
	})
}

var client = &snapshot.Process{PID: 2033, Comm: "dig", Cmdline: "dig\x00x.org"}

// query is a UDP socket with a peer, and one that is bound alone.
func query(remote string) *table.Socket {
	s := &table.Socket{
		Head: snapshot.Head{
			Protocol: snapshot.UDP, State: snapshot.Close, UID: 1000, Netns: 4026531840, Inode: 70123, Cookie: 77,
			Local: netip.MustParseAddrPort("10.0.0.5:51464"), Remote: netip.MustParseAddrPort(remote),
			Owner: snapshot.Owner{Process: client, Source: snapshot.OwnerSocket},
		},
		ID: 0xc0ffee, Start: noonMono, StartKnown: true, HasUID: true, Shown: true, Type: unix.SOCK_DGRAM,
	}
	s.History.Add(table.SocketOpen)
	if remote != "0.0.0.0:0" {
		s.State = snapshot.Established
		s.History.Add(table.SocketConnect)
	}
	return s
}

// accepted is a Unix socket that accept() returned.
func accepted(name string) *table.Socket {
	return &table.Socket{
		Head: snapshot.Head{
			Protocol: snapshot.Unix, State: snapshot.Established, Netns: 4026531840, Inode: 70124,
			Owner: snapshot.Owner{Process: &snapshot.Process{PID: 812, Comm: "dbus-daemon"}, Source: snapshot.OwnerSocket},
		},
		ID: 0xbeef, Start: noonMono, HasUID: true, Shown: true, Type: unix.SOCK_STREAM,
		Unix: &table.UnixEnd{Name: name, Named: true, HasSocket: true, Peer: 0xfeed, PeerInode: 70123, PeerPID: 2033, Listener: 0xace},
	}
}

const queryIdentity = `,"conn_id":"0000000000c0ffee","cookie":"77","transport":"udp","family":"ipv4","local_addr":"10.0.0.5","local_port":51464`

const queryOwner = `,"uid":1000,"pid":2033,"comm":"dig","program":"dig","owner_src":"socket","inode":70123`

func TestSocketRecordLines(t *testing.T) {
	raw := &table.Socket{
		Head: snapshot.Head{Protocol: snapshot.Raw, State: snapshot.Close, Local: netip.MustParseAddrPort("0.0.0.0:1"), Remote: netip.MustParseAddrPort("0.0.0.0:0"), RecvQ: 3},
		ID:   1, Type: unix.SOCK_RAW, Shown: true,
	}
	listener := accepted("/run/x")
	listener.State, listener.Unix = snapshot.Listen, &table.UnixEnd{Name: "/run/x", HasSocket: true, Backlog: 128}
	before := func(remote string, state snapshot.State) table.SocketBefore {
		return table.SocketBefore{State: state, Head: snapshot.Head{Remote: netip.MustParseAddrPort(remote)}}
	}
	for _, tt := range []struct {
		name   string
		change *table.SocketChange
		want   string
	}{
		{
			"connect", &table.SocketChange{Kind: table.SocketConnect, Time: noonMono + 1000, Socket: query("10.9.4.1:53"), Old: before("0.0.0.0:0", snapshot.Close)},
			envelope("000001", "socket_change") + `,"mono_ns":5000001000` + queryIdentity + `,"remote_addr":"10.9.4.1","remote_port":53,"netns":4026531840` +
				`,"change":"connect","state":"ESTABLISHED"` + queryOwner + `}`,
		},
		{
			"another peer", &table.SocketChange{Kind: table.SocketConnect, Time: noonMono, Socket: query("10.9.4.1:53"), Old: before("10.9.4.2:54", snapshot.Established)},
			envelope("000000", "socket_change") + `,"mono_ns":5000000000` + queryIdentity + `,"remote_addr":"10.9.4.1","remote_port":53,"netns":4026531840` +
				`,"change":"connect","old_remote_addr":"10.9.4.2","old_remote_port":54,"state":"ESTABLISHED"` + queryOwner + `}`,
		},
		{
			"abort", &table.SocketChange{Kind: table.SocketDisconnect, Source: table.SocketInferred, Errno: unix.ECONNABORTED, Time: noonMono, Socket: query("0.0.0.0:0"), Old: before("10.9.4.2:54", snapshot.Established)},
			envelope("000000", "socket_change") + queryIdentity + `,"remote_addr":"0.0.0.0","netns":4026531840,"inferred":true` +
				`,"change":"disconnect","old_remote_addr":"10.9.4.2","old_remote_port":54,"old_state":"ESTABLISHED"` + queryOwner + `,"errno":"ECONNABORTED"}`,
		},
		{
			"autobind", &table.SocketChange{Kind: table.SocketBind, Auto: true, Time: noonMono, Socket: query("0.0.0.0:0")},
			envelope("000000", "socket_change") + `,"mono_ns":5000000000` + queryIdentity + `,"remote_addr":"0.0.0.0","netns":4026531840,"change":"bind","auto":true` + queryOwner + `}`,
		},
		{
			"close by another process", &table.SocketChange{
				Kind: table.SocketClose, Time: noonMono + 34_000_000, Socket: query("10.9.4.1:53"), Old: before("10.9.4.1:53", snapshot.Established),
				Closed: &table.SocketClosed{Reason: table.ReasonExit, Closer: &snapshot.Process{PID: 9}},
			},
			envelope("034000", "socket_close") + `,"mono_ns":5034000000` + queryIdentity + `,"remote_addr":"10.9.4.1","remote_port":53,"netns":4026531840,"state":"ESTABLISHED"` +
				queryOwner + `,"start":"2026-11-24T12:00:00.000000Z","duration_ns":34000000,"reason":"exit","history":"open>connect","closed_by_pid":9}`,
		},
		{
			"raw", &table.SocketChange{Kind: table.SocketOpen, Source: table.SocketPolled, Time: noonMono, Socket: raw},
			envelope("000000", "socket_change") + `,"conn_id":"0000000000000001","transport":"raw","family":"ipv4","local_addr":"0.0.0.0","remote_addr":"0.0.0.0","ip_protocol":1,"source":"poll","change":"open"}`,
		},
		{
			"owner", &table.SocketChange{Kind: table.SocketSeen, Time: noonMono, Socket: raw},
			envelope("000000", "socket") + `,"conn_id":"0000000000000001","transport":"raw","family":"ipv4","local_addr":"0.0.0.0","remote_addr":"0.0.0.0","ip_protocol":1,"recv_q":3,"send_q":0}`,
		},
		{
			"listen", &table.SocketChange{Kind: table.SocketListen, Time: noonMono, Socket: listener, Old: table.SocketBefore{State: snapshot.Close}},
			envelope("000000", "socket_change") + `,"mono_ns":5000000000,"conn_id":"000000000000beef","transport":"unix","type":"STREAM","path":"/run/x","netns":4026531840` +
				`,"change":"listen","backlog":128,"state":"LISTENING","uid":0,"pid":812,"comm":"dbus-daemon","program":"dbus-daemon","owner_src":"socket","inode":70124}`,
		},
		{
			"accept", &table.SocketChange{Kind: table.SocketAccept, Time: noonMono, Socket: accepted("\x00a\x00\"b"), Old: table.SocketBefore{State: snapshot.Established}},
			envelope("000000", "socket_change") + `,"mono_ns":5000000000,"conn_id":"000000000000beef","transport":"unix","type":"STREAM","path":"@a\u0000\"b","abstract":true` +
				`,"peer_id":"000000000000feed","peer_inode":70123,"peer_pid":2033,"listener_id":"0000000000000ace","netns":4026531840` +
				`,"change":"accept","state":"CONNECTED","old_state":"CONNECTING","uid":0,"pid":812,"comm":"dbus-daemon","program":"dbus-daemon","owner_src":"socket","inode":70124}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, ecs bytes.Buffer
			w, e := newWriter(&out, NDJSONOptions{}), newECSWriter(&ecs, NDJSONOptions{})
			w.SocketChange(tt.change)
			e.SocketChange(tt.change)
			if err := errors.Join(w.Flush(), e.Flush()); err != nil {
				t.Fatal(err)
			}
			checkLines(t, out.Bytes())
			checkECSLines(t, ecs.Bytes())
			if diff := cmp.Diff(tt.want, strings.TrimSuffix(out.String(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The same close in the words of ECS.
func TestSocketECSLine(t *testing.T) {
	var out bytes.Buffer
	w := newECSWriter(&out, NDJSONOptions{})
	w.SocketChange(&table.SocketChange{
		Kind: table.SocketClose, Time: noonMono + 34_000_000, Socket: query("10.9.4.1:53"), Closed: &table.SocketClosed{Reason: table.ReasonClose},
	})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	const want = `,"event.kind":"event","event.category":["network"],"event.type":["end"],"event.dataset":"nettrace.socket","event.sequence":1,"event.id":"0123456789abcdef-1",` +
		`"nettrace.run_id":"0123456789abcdef","host.name":"web1","nettrace.mono_ns":5034000000,"nettrace.conn_id":"0000000000c0ffee","nettrace.cookie":"77",` +
		`"network.transport":"udp","network.type":"ipv4","source.ip":"10.0.0.5","source.port":51464,"destination.ip":"10.9.4.1","destination.port":53,"nettrace.netns":4026531840,` +
		`"nettrace.state":"ESTABLISHED","user.id":"1000","process.pid":2033,"process.name":"dig","nettrace.program":"dig","nettrace.owner_src":"socket","nettrace.inode":70123,` +
		`"event.start":"2026-11-24T12:00:00.000000Z","event.duration":34000000,"event.reason":"close","nettrace.history":"open>connect","event.end":"2026-11-24T12:00:00.034000Z"}` + "\n"
	_, got, _ := strings.Cut(out.String(), `"event.action":"socket_close"`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The text has a line for each change. No name of a socket can forge one.
func TestStreamTextSockets(t *testing.T) {
	long := query("10.9.4.1:53")
	list := []*table.SocketChange{
		{Kind: table.SocketBind, Auto: true, Time: noonMono, Socket: query("0.0.0.0:0")},
		{Kind: table.SocketConnect, Time: noonMono + 1000, Socket: long, Old: table.SocketBefore{State: snapshot.Established, Head: snapshot.Head{Remote: netip.MustParseAddrPort("10.9.4.2:53")}}},
		{Kind: table.SocketSeen, Time: noonMono + 1000, Socket: long},
		{Kind: table.SocketClose, Time: noonMono + 34_000_000, Socket: long, Closed: &table.SocketClosed{Reason: table.ReasonClose, Closer: client}},
		{Kind: table.SocketAccept, Source: table.SocketPolled, Time: noonMono, Socket: accepted("\x00a\nb")},
		{Kind: table.SocketClose, Time: noonMono, Socket: accepted("")},
	}
	for _, tt := range []struct {
		style StreamStyle
		want  string
	}{
		{StreamStyle{}, `# 2026-11-24 (UTC, +00:00)
12:00:00.000000 udp   10.0.0.5:51464         0.0.0.0:*              bind                      2033/dig             (auto)
12:00:00.000001 udp   10.0.0.5:51464         10.9.4.1:53            connect                   2033/dig             was 10.9.4.2:53
12:00:00.034000 udp   10.0.0.5:51464         10.9.4.1:53            close                     2033/dig             closed 34.0 ms
12:00:00.000000 unix  @a\nb                  #70123 pid 2033        accept                    812/dbus-daemon      (poll)
12:00:00.000000 unix  #70124                 #70123 pid 2033        close                     812/dbus-daemon      ended
`},
		{StreamStyle{Width: 120}, `# 2026-11-24 (UTC, +00:00)
12:00:00.000 10.0.0.5:51464        0.0.0.0:*             udp bind    2033/dig         (auto)
12:00:00.000 10.0.0.5:51464        10.9.4.1:53           udp conn    2033/dig         was 10.9.4.2:53
12:00:00.034 10.0.0.5:51464        10.9.4.1:53           udp close   2033/dig         closed 34.0ms
12:00:00.000 @a\nb                 #70123 pid 2033       unix acpt   812/dbus-daemon  (poll)
12:00:00.000 #70124                #70123 pid 2033       unix close  812/dbus-daemon  ended
`},
	} {
		var out bytes.Buffer
		w := NewStreamText(&out, tt.style, fixedClock(noonMono, noon), time.UTC)
		for _, c := range list {
			w.Socket(c)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.style, diff)
		}
	}
}

func TestColumnTextSockets(t *testing.T) {
	var out bytes.Buffer
	columns := []string{
		"transport", "local", "remote", "transition", "old_state", "new_state", "outcome", "duration_ns", "history", "path", "peer_pid", "local_addr", "family",
	}
	w := NewColumnText(&out, StreamStyle{}, columns, fixedClock(noonMono, noon), time.UTC)
	w.Change(&table.Change{Time: noonMono, Conn: streamConn(), Old: snapshot.SynSent, New: snapshot.Established})
	w.Socket(&table.SocketChange{Kind: table.SocketAccept, Time: noonMono, Socket: accepted("/run/x"), Old: table.SocketBefore{State: snapshot.Established}})
	w.Socket(&table.SocketChange{Kind: table.SocketClose, Time: noonMono + 34_000_000, Socket: query("10.9.4.1:53"), Closed: &table.SocketClosed{Reason: table.ReasonExit}})
	w.Socket(&table.SocketChange{Kind: table.SocketSeen, Time: noonMono, Socket: query("10.9.4.1:53")})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"# 2026-11-24 (UTC, +00:00)",
		"12:00:00.000000 tcp 10.0.0.5:51464 10.9.4.1:443 SYN_SENT -> ESTABLISHED SYN_SENT ESTABLISHED - - - - - 10.0.0.5 ipv4",
		"12:00:00.000000 unix /run/x #70123 pid 2033 accept CONNECTING CONNECTED - - - /run/x 2033 - -",
		"12:00:00.034000 udp 10.0.0.5:51464 10.9.4.1:53 close - ESTABLISHED exit 34.0 ms open>connect - - 10.0.0.5 ipv4",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStreamTableSockets(t *testing.T) {
	w := NewStreamTable(StreamStyle{}, ServersAndEstablished, false)
	text := w.AppendSocket(w.AppendHeader(nil), query("10.9.4.1:53"))
	text = w.AppendUnix(w.AppendUnixHeader(text), accepted("\x00a\nb"))
	want := `Active Internet connections (servers and established)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
udp        0      0 10.0.0.5:51464          10.9.4.1:53             ESTABLISHED 2033/dig
Active UNIX domain sockets (servers and established)
Proto Flags       Type       State         I-Node   PID/Program name     Path
unix  [ ]         STREAM     CONNECTED     70124    812/dbus-daemon      @a\nb
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSocketLinesAllocateNothing(t *testing.T) {
	var out bytes.Buffer
	text := NewStreamText(&out, StreamStyle{Width: 80}, fixedClock(noonMono, noon), time.UTC)
	columns := newColumnText(&out, StreamStyle{}, ColumnNames())
	native, ecs := newWriter(&out, NDJSONOptions{Cmdline: true}), newECSWriter(&out, NDJSONOptions{})
	list := []*table.SocketChange{
		{Kind: table.SocketConnect, Time: noonMono, Socket: query("10.9.4.1:53")},
		{Kind: table.SocketAccept, Time: noonMono, Socket: accepted("\x00a\nb")},
		{Kind: table.SocketClose, Time: noonMono, Socket: accepted("/run/x"), Closed: &table.SocketClosed{Reason: table.ReasonClose}},
	}
	if n := testing.AllocsPerRun(100, func() {
		out.Reset()
		for _, c := range list {
			text.Socket(c)
			columns.Socket(c)
			native.SocketChange(c)
			ecs.SocketChange(c)
		}
		if err := errors.Join(text.Flush(), columns.Flush(), native.Flush(), ecs.Flush()); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each line", n)
	}
}

func BenchmarkSocketChange(b *testing.B) {
	for name, c := range map[string]*table.SocketChange{
		"udp":  {Kind: table.SocketConnect, Time: noonMono, Socket: query("10.9.4.1:53")},
		"unix": {Kind: table.SocketAccept, Time: noonMono, Socket: accepted("/run/dbus/system_bus_socket")},
	} {
		b.Run(name, func(b *testing.B) {
			w := newWriter(io.Discard, NDJSONOptions{})
			benchmarkLine(b, w, func() { w.SocketChange(c) })
		})
	}
}
