package output

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
)

// owners makes a proc root with processes that have the socket with inode 70 open, and
// returns the owners read from it. The processes are command lines by pid.
func owners(t testing.TB, cmdlines map[int]string) *snapshot.Owners {
	t.Helper()
	root := t.TempDir()
	for pid, cmdline := range cmdlines {
		dir := filepath.Join(root, strconv.Itoa(pid))
		if err := os.MkdirAll(filepath.Join(dir, "fd"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("socket:[70]", filepath.Join(dir, "fd", "3")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cmdline"), []byte(cmdline), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o, err := snapshot.ReadOwners(root, false)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestNDJSONSockets(t *testing.T) {
	nginx := owners(t, map[int]string{812: "/usr/sbin/nginx\x00-g\x00daemon off;\x00"})
	dns := &snapshot.Socket{
		Head: snapshot.Head{
			Protocol: snapshot.UDP, Local: netip.MustParseAddrPort("10.0.0.5:40000"),
			Remote: netip.MustParseAddrPort("10.0.0.1:53"), State: snapshot.Established, UID: 101, Inode: 70,
		},
	}
	const dnsLine = `,"transport":"udp","family":"ipv4","local_addr":"10.0.0.5","local_port":40000,` +
		`"remote_addr":"10.0.0.1","remote_port":53,"state":"ESTABLISHED",` +
		`"recv_q":0,"send_q":0,"retransmits":0,"probes":0,"uid":101,"inode":70`
	for _, tt := range []struct {
		name  string
		write func(w *RowRecords)
		want  string
	}{
		{"TCP row with a timer", func(w *RowRecords) {
			w.Socket(noon, &snapshot.Socket{
				Head: snapshot.Head{
					Local:  netip.MustParseAddrPort("10.0.0.5:22"),
					Remote: netip.MustParseAddrPort("10.0.0.6:1024"), State: snapshot.Established, SendQ: 36, UID: 0, Inode: 12,
				},
				Timer: 1, Expires: 25, Retrans: 3,
			}, nil)
		}, envelope("000000", "socket") + `,"transport":"tcp","family":"ipv4","local_addr":"10.0.0.5",` +
			`"local_port":22,"remote_addr":"10.0.0.6","remote_port":1024,"state":"ESTABLISHED",` +
			`"recv_q":0,"send_q":36,"timer":"on","timer_ms":250,"retransmits":3,"probes":0,"uid":0,"inode":12}`},

		{"TIME_WAIT row", func(w *RowRecords) {
			w.Socket(noon, &snapshot.Socket{
				Head: snapshot.Head{
					Local:  netip.MustParseAddrPort("10.0.0.5:22"),
					Remote: netip.MustParseAddrPort("10.0.0.6:1024"), State: snapshot.TimeWait,
				}, Timer: 3, Expires: 5999,
			}, nil)
		}, envelope("000000", "socket") + `,"transport":"tcp","family":"ipv4","local_addr":"10.0.0.5",` +
			`"local_port":22,"remote_addr":"10.0.0.6","remote_port":1024,"state":"TIME_WAIT",` +
			`"recv_q":0,"send_q":0,"timer":"timewait","timer_ms":59990,"retransmits":0,"probes":0}`},

		{"unconnected UDP row", func(w *RowRecords) {
			w.Socket(noon, &snapshot.Socket{
				Head: snapshot.Head{
					Protocol: snapshot.UDP, Local: netip.MustParseAddrPort("0.0.0.0:53"),
					Remote: netip.MustParseAddrPort("0.0.0.0:0"), State: snapshot.Close, UID: 101, Inode: 13,
				},
			}, nil)
		}, envelope("000000", "socket") + `,"transport":"udp","family":"ipv4","local_addr":"0.0.0.0",` +
			`"local_port":53,"remote_addr":"0.0.0.0",` +
			`"recv_q":0,"send_q":0,"retransmits":0,"probes":0,"uid":101,"inode":13}`},

		{"raw row", func(w *RowRecords) {
			w.Socket(noon, &snapshot.Socket{
				Head: snapshot.Head{
					Protocol: snapshot.Raw, Local: netip.MustParseAddrPort("[::]:58"),
					Remote: netip.MustParseAddrPort("[::]:0"), State: snapshot.Close, Inode: 13,
				},
			}, nil)
		}, envelope("000000", "socket") + `,"transport":"raw","family":"ipv6","local_addr":"::",` +
			`"remote_addr":"::","ip_protocol":58,` +
			`"recv_q":0,"send_q":0,"retransmits":0,"probes":0,"uid":0,"inode":13}`},

		{
			"connected UDP row with its owner", func(w *RowRecords) { w.Socket(noon, dns, nginx) },
			envelope("000000", "socket") + dnsLine +
				`,"pid":812,"program":"nginx","owner_src":"files","cmdline":"/usr/sbin/nginx -g daemon off;"}`,
		},

		{"listening Unix socket", func(w *RowRecords) {
			w.Unix(noon, &snapshot.UnixSocket{
				RefCount: 2, Flags: snapshot.UnixAccepting, Type: 1, State: 1, Inode: 70,
				HasInode: true, Path: "@/tmp/\xff\n",
			}, nginx)
		}, envelope("000000", "socket") + `,"transport":"unix","type":"STREAM","state":"LISTENING","refcnt":2,` +
			`"flag_bits":65536,"path":"@/tmp/�\n","inode":70,` +
			`"pid":812,"program":"nginx","owner_src":"files","cmdline":"/usr/sbin/nginx -g daemon off;"}`},

		{"Unix socket in an accept queue", func(w *RowRecords) {
			w.Unix(noon, &snapshot.UnixSocket{State: 2, HasInode: true}, nginx)
		}, envelope("000000", "socket") + `,"transport":"unix","state":"CONNECTING","refcnt":0,"flag_bits":0}`},

		{"SCTP endpoint without address", func(w *RowRecords) {
			w.SCTPEndpoint(noon, &snapshot.SCTPEndpoint{State: 10, Port: 3868, Inode: 71}, nginx)
		}, envelope("000000", "socket") + `,"transport":"sctp","local_port":3868,"state":"LISTEN","uid":0,"inode":71}`},

		{"SCTP association over two paths", func(w *RowRecords) {
			w.SCTPAssociation(noon, &snapshot.SCTPAssociation{
				State: 1, SendQ: 5, RecvQ: 6, UID: 1, Inode: 71,
				LPort: 3868, RPort: 40000,
				Local:  []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.1.0.5")},
				Remote: []netip.Addr{netip.MustParseAddr("10.0.0.6")},
			}, nil)
		}, envelope("000000", "socket") + `,"transport":"sctp","family":"ipv4","local_addr":"10.0.0.5",` +
			`"remote_addr":"10.0.0.6","local_addrs":["10.0.0.5","10.1.0.5"],"local_port":3868,"remote_port":40000,` +
			`"state":"ESTABLISHED","recv_q":6,"send_q":5,"uid":1,"inode":71}`},
	} {
		t.Run(tt.name, func(t *testing.T) { checkGolden(t, NDJSONOptions{Cmdline: true}, newRowWriter, tt.write, tt.want) })
	}
}

// If several processes have a socket open, the record names the first one as its
// owner, as the text does, and lists them all.
func TestNDJSONSeveralOwners(t *testing.T) {
	shared := owners(t, map[int]string{7: "master", 8: "/a/worker", 9: "\x00"})
	var out bytes.Buffer
	w := newRowWriter(&out, NDJSONOptions{})
	w.Unix(noon, &snapshot.UnixSocket{Inode: 70}, shared)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	record := checkLines(t, out.Bytes())[0]
	if record["pid"] != float64(shared.First(70).PID) {
		t.Errorf("pid %v, want %d", record["pid"], shared.First(70).PID)
	}
	want := map[float64]string{7: "master", 8: "worker", 9: ""}
	pids, _ := record["pids"].([]any)
	programs, _ := record["programs"].([]any)
	if len(pids) != len(want) || len(programs) != len(want) {
		t.Fatalf("pids %v and programs %v, want those of %v", pids, programs, want)
	}
	for i, pid := range pids {
		number, _ := pid.(float64)
		if programs[i] != want[number] {
			t.Errorf("program %q of %v, want %q", programs[i], pid, want[number])
		}
	}
}

func TestNDJSONSocketsKeepTheSchema(t *testing.T) {
	many := map[int]string{}
	for pid := range 200 {
		many[1000000+pid] = strings.Repeat("\n", 4096)
	}
	crowds := []*snapshot.Owners{nil, owners(t, many), owners(t, map[int]string{1: strings.Repeat("\xff\x00", 2048)})}
	rapid.Check(t, func(t *rapid.T) {
		var out bytes.Buffer
		w := NewRowRecords(&out, NDJSONOptions{
			Host:    names(300).Draw(t, "host"),
			Cmdline: rapid.Bool().Draw(t, "cmdline"),
		})
		holders := rapid.SampledFrom(crowds).Draw(t, "owners")
		inode := rapid.SampledFrom([]uint64{0, 70, 1 << 63}).Draw(t, "inode")
		socket := sockets().Draw(t, "socket")
		socket.Inode = inode
		w.Socket(noon, &socket, holders)
		w.Unix(noon, &snapshot.UnixSocket{
			RefCount: rapid.Uint64().Draw(t, "refcnt"),
			Flags:    rapid.Uint64().Draw(t, "flags"),
			Type:     rapid.Uint32Range(0, 8).Draw(t, "type"),
			State:    rapid.Uint32Range(0, 8).Draw(t, "state"),
			Path:     names(4096).Draw(t, "path"),
			Inode:    inode,
		}, holders)
		local := rapid.SliceOf(addrs()).Draw(t, "local")
		w.SCTPEndpoint(noon, &snapshot.SCTPEndpoint{
			State: rapid.Int32().Draw(t, "state"), Port: rapid.Uint16().Draw(t, "port"), Local: local, Inode: inode,
		}, holders)
		w.SCTPAssociation(noon, &snapshot.SCTPAssociation{
			State: rapid.Int32Range(-1, 20).Draw(t, "state"), UID: rapid.Uint32().Draw(t, "uid"), Inode: inode,
			Local: local, Remote: rapid.SliceOf(addrs()).Draw(t, "remote"), RPort: 7,
		}, holders)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if n := len(checkLines(t, out.Bytes())); n != 4 {
			t.Errorf("%d lines, want 4: %q", n, out.Bytes())
		}
	})
}

// addrs draws addresses as a socket table has them, without zone.
func addrs() *rapid.Generator[netip.Addr] {
	return rapid.Map(addrPorts(), func(a netip.AddrPort) netip.Addr { return a.Addr().WithZone("") })
}
