package snapshot

import (
	"errors"
	"io/fs"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// collect returns the rows of a sequence and its errors.
func collect[T any](seq iter.Seq2[T, error]) (rows []T, errs []error) {
	for row, err := range seq {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rows = append(rows, row)
	}
	return rows, errs
}

var compareAddrs = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}), cmpopts.EquateEmpty()}

// diff reports the difference between the wanted and the parsed rows.
func diff(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, compareAddrs); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

var addr = netip.MustParseAddr

func TestParseRoutes(t *testing.T) {
	const header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	const row = "eth0\t0002000A\t0100000A\t0003\t1\t2\t3\t00FFFFFF\t1440\t8192\t40\n"
	route := Route{
		Iface: "eth0", Dest: addr("10.0.2.0"), Gateway: addr("10.0.0.1"), Mask: addr("255.255.255.0"),
		Flags: RouteUp | RouteGateway, RefCnt: 1, Use: 2, Metric: 3, MTU: 1440, Window: 8192, IRTT: 40,
	}
	short := route
	short.Iface = "eth1"
	tests := []struct {
		name, file string
		want       []Route
		column     string
	}{
		{name: "header only", file: header},
		{name: "row", file: header + row, want: []Route{route}},
		{name: "other columns first", file: "x|" + header + "y\t" + row, want: []Route{route}},
		{name: "last column missing", file: header + row + "eth1\t0002000A\t0100000A\t0003\t1\t2\t3\t00FFFFFF\t1440\t8192\n", want: []Route{route, short}},
		{name: "too short", file: header + "eth0\t0002000A\t0100000A\t0003\t1\t2\t3\t00FFFFFF\t1440\n"},
		{name: "no header", file: row, column: "Iface"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRoutes([]byte(tt.file))
			var column *ColumnError
			if errors.As(err, &column) != (tt.column != "") || column != nil && column.Column != tt.column {
				t.Fatalf("error %v, want one about %q", err, tt.column)
			}
			diff(t, tt.want, got)
		})
	}
}

func TestParseCachedRoutes(t *testing.T) {
	got, err := ParseCachedRoutes([]byte("Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst\n" +
		"lo\t0100007F\t0200007F\t80000200\t1\t2\t3\t0300007F\t16436\t5\t6\t8\t-1\t1\t0400007F\n"))
	if err != nil {
		t.Fatal(err)
	}
	diff(t, []CachedRoute{{
		Route: Route{
			Iface: "lo", Dest: addr("127.0.0.1"), Gateway: addr("127.0.0.2"), Mask: addr("0.0.0.0"), Flags: 0x80000200,
			RefCnt: 1, Use: 2, Metric: 3, MTU: 16436, Window: 5, IRTT: 6,
		},
		Source: addr("127.0.0.3"), TOS: 8, HHRef: -1, HHUp: 1, SpecDst: addr("127.0.0.4"),
	}}, got)
}

func TestParseRoutes6(t *testing.T) {
	got := ParseRoutes6([]byte("20010db8000000000000000000000000 40 20010db8000000000000000000000001 80 fe800000000000000000000000000001 ffffffff 00000002 00000003 01450003     eth0\n"))
	diff(t, []Route6{{
		Iface: "eth0", Dest: addr("2001:db8::"), DestLen: 64, Source: addr("2001:db8::1"), SourceLen: 128, NextHop: addr("fe80::1"),
		Metric: -1, RefCnt: 2, Use: 3, Flags: 0x01450003,
	}}, got)
	if !got[0].Cached() {
		t.Error("a row with the flag of the cache is not of the cache")
	}
}

func TestParseGroups(t *testing.T) {
	rows, errs := collect(ParseGroups([]byte("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n" +
		"1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
		"bad\n2\tabcdefghijklmno:     1      V3\n\t\t\t\tFB0000E0     2 0:00000000\t\t0\n")))
	diff(t, []Group{{"lo", 1, addr("224.0.0.1")}, {"abcdefghijklmno", 2, addr("224.0.0.251")}}, rows)
	diff(t, []error{&GroupLineError{"igmp", 3}}, errs)

	rows, errs = collect(ParseGroups6([]byte("1    lo              ff020000000000000000000000000001     1 0000000C 0\nx\n")))
	diff(t, []Group{{"lo", 1, addr("ff02::1")}}, rows)
	diff(t, []error{&GroupLineError{"igmp6", 1}}, errs)
}

func TestStatistics(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"net/snmp":      "Ip: Forwarding DefaultTTL\nIp: 2 64\nTcp: MaxConn InSegs Lost\nTcp: -1 5\nbad\nbad\nUdp: X\nUdp: 1\n",
		"net/netstat":   "TcpExt: TW\nTcpExt: 18446744073709551615\n",
		"net/sctp/snmp": "SctpCurrEstab                   \t7\nSctpShort\n",
		"net/snmp6":     "Ip6InReceives\t1\nIp6OutRequests\t2\nUdp6InErrors\t3\n",
	})
	rows, errs := collect(Statistics(dir))
	diff(t, []StatSection{
		{"net/snmp", "Ip", []Counter{{Name: "Forwarding", Value: 2}, {Name: "DefaultTTL", Value: 64}}},
		{"net/snmp", "Tcp", []Counter{{"MaxConn", 1<<64 - 1, true}, {Name: "InSegs", Value: 5}, {Name: "Lost"}}},
		{"net/netstat", "TcpExt", []Counter{{Name: "TW", Value: 1<<64 - 1}}},
		{"net/sctp/snmp", "Sctp", []Counter{{Name: "SctpCurrEstab", Value: 7}}},
	}, rows)
	diff(t, []error{&StatFormatError{"net/snmp"}}, errs)

	rows, errs = collect(Statistics6(dir))
	diff(t, []StatSection{
		{"net/snmp6", "Ip6", []Counter{{Name: "Ip6InReceives", Value: 1}, {Name: "Ip6OutRequests", Value: 2}}},
		{"net/snmp6", "Udp6", []Counter{{Name: "Udp6InErrors", Value: 3}}},
		{"net/snmp", "Tcp", []Counter{{"MaxConn", 1<<64 - 1, true}, {Name: "InSegs", Value: 5}, {Name: "Lost"}}},
	}, rows)
	if len(errs) > 0 {
		t.Error(errs)
	}

	_, errs = collect(Statistics(t.TempDir()))
	if len(errs) != 1 || !errors.Is(errs[0], fs.ErrNotExist) {
		t.Errorf("without files: errors %v, want one that says so", errs)
	}
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestParseMasquerades(t *testing.T) {
	const header = "Prc FromIP   FPrt ToIP     TPrt Masq Init-seq  Delta PDelta Expires (free=1,2,3)\n"
	got, err := ParseMasquerades([]byte(header + "TCP 0A000001:1234 0A000002:0050 EA60 000000FF     -5      6  123456\n"))
	if err != nil {
		t.Fatal(err)
	}
	diff(t, []Masquerade{{
		Protocol: "tcp", Source: netip.MustParseAddrPort("10.0.0.1:4660"), Dest: netip.MustParseAddrPort("10.0.0.2:80"), Port: 60000,
		InitSeq: 255, Delta: -5, PreviousDelta: 6, HasPrevious: true, Expires: 123456,
	}}, got)
	for file, want := range map[string]error{
		"":                                  ErrMasqueradeEmpty,
		header + "TCP 1:":                   ErrMasqueradeFormat,
		header + "SCTP 1:1 1:1 1 1 1 1 1\n": ErrMasqueradeProtocol,
	} {
		if _, err := ParseMasquerades([]byte(file)); !errors.Is(err, want) {
			t.Errorf("%q: error %v, want %v", file, err, want)
		}
	}
}

func TestParseInterfaceCounters(t *testing.T) {
	got := ParseInterfaceCounters([]byte("Inter-|\n face |\n    lo:    1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\neth0:17\nbad\n  lo:1: 18\n lo:2:3: 19\n lo:x: 20\n"))
	diff(t, map[string]*InterfaceCounters{
		"lo": {
			RxBytes: 1, RxPackets: 2, RxErrors: 3, RxDropped: 4, RxFIFO: 5, RxFrame: 6, RxCompressed: 7, RxMulti: 8,
			TxBytes: 9, TxPackets: 10, TxErrors: 11, TxDropped: 12, TxFIFO: 13, Collisions: 14, TxCarrier: 15, TxCompressed: 16,
		},
		"eth0": {RxBytes: 17},
		"lo:1": {RxBytes: 18},
		"lo:2": {RxBytes: 3},
	}, got)
}

func TestParseInterfaceAddrs6(t *testing.T) {
	got := ParseInterfaceAddrs6([]byte("00000000000000000000000000000001 01 80 10 80       lo\nfe800000000000000000000000000001 0a 40 20 80 abcdefghijklmno\nbad\n"))
	diff(t, map[string][]InterfaceAddr6{
		"lo":              {{Addr: addr("::1"), PrefixLen: 128, Scope: ScopeHost, Flags: 0x80, Index: 1}},
		"abcdefghijklmno": {{Addr: addr("fe80::1"), PrefixLen: 64, Scope: ScopeLink, Flags: 0x80, Index: 10}},
	}, got)
}

func TestCompareInterfaceNames(t *testing.T) {
	sorted := []string{
		"9", "9:1", "10", "1a", "a", "a:1", "a0", "a0:01", "a0:1", "a0:2", "a0:10", "a1", "a02", "a2", "a10", "a10:1",
		"a-1", "a0:", "a0:5:6", "a0:+4", "a0:1x", "a0:7:x", "a0:X", "a0:x", "a0:x:7", "eth", "eth01", "eth1", "eth2",
		"eth10", "eth:-3", "eth:b", "lo", "x10y2", "x10y10", "x9y3",
	}
	for i, a := range sorted {
		for j, b := range sorted {
			want := 0
			switch {
			case i < j:
				want = -1
			case i > j:
				want = 1
			}
			if got := compareInterfaceNames(a, b); got != want {
				t.Errorf("%q, %q: got %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestParseLegacySockets(t *testing.T) {
	ax25, errs := collect(ParseAX25Sockets([]byte("00000000abcdef01 ax0 CALL-1 DEST-2,DIGI-1 3 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19\nx\n" +
		"00000000abcdef02 ax1 CALL-1* * 0 5 6 0 0 0 0 0 0 0 0 0 0 0 0 0 0 * * *\n")))
	diff(t, []AX25Socket{{"ax0", "CALL-1", "DEST-2", 3, 1, 2, 17, 18}, {"ax1", "CALL-1*", "*", 0, 5, 6, 0, 0}}, ax25)
	diff(t, []error{&SocketLineError{"net/ax25", 1}}, errs)

	x25, _ := collect(ParseX25Sockets([]byte("header\n1234       *          x25tap0 001  3  1  2  3   0   3   1  18  18    10    20 456\n")))
	diff(t, []X25Socket{{"1234", "*", "x25tap0", 1, 3, 1, 2, 10, 20}}, x25)

	nr, errs := collect(ParseNetROMSockets([]byte("header\nCALLXX-15 DEST-2    NODE-1    nr0 01/A2 03/04  3   1   2   3   0/120  0/05   0/180   0/000  0/03   4     5     6 123\nshort\n")))
	diff(t, []NetROMSocket{{"CALLXX-15", "DEST-2", "NODE-1", "nr0", 3, 1, 2, 5, 6}}, nr)
	diff(t, []error{&SocketLineError{"net/nr", 2}}, errs)

	rose, errs := collect(ParseROSESockets([]byte("header\n*          DEST-2    1234567890 CALL-1    rose0 012 00001  3  1\n1 2 3\n")))
	diff(t, []ROSESocket{{"*", "DEST-2", "1234567890", "CALL-1", "rose0", 12, 1, 3}}, rose)
	diff(t, []error{&SocketLineError{"net/rose", 2}}, errs)

	ipx, errs := collect(ParseIPXSockets([]byte("header\n00000001:000000000001:4000  Not_Connected  0000000A  0000000B  07     033\n1 2 3\n")))
	diff(t, []IPXSocket{{Local: IPXAddr{1, [6]byte{5: 1}, 0x4000}, SendQ: 10, RecvQ: 11, State: 7, UID: 33}}, ipx)
	if len(errs) != 1 || !errors.Is(errs[0], ErrIPXSourcePort) {
		t.Errorf("errors %v, want %v", errs, ErrIPXSourcePort)
	}
}

func TestParseLegacyRoutes(t *testing.T) {
	diff(t, []AX25Route{{"default", "ax0"}, {"CALL-1", "ax10"}}, ParseAX25Routes([]byte("header\ndefault   ax0   *\nCALL-1    ax1000 v\n")))
	diff(t, []X25Route{{"1234", 4, "lapb0"}}, ParseX25Routes([]byte("header\n1234             4       lapb0\n")))
	diff(t, []NetROMRoute{{"NODE-1", "ABC", 100, "CALL-2", "ax1"}, {Dest: "NODE-2", Mnemonic: "*"}}, ParseNetROMRoutes(
		[]byte("header\nNODE-1    ABC      2 2  192   6 00001  100   5 00002\nNODE-2    *        0 0\n"),
		[]byte("header\n00001 CALL-1    ax0   192\n00002 CALL-2    ax1   192\n")))
	diff(t, []ROSERoute{{"1234567890", []ROSENeighbour{{9, "", ""}, {1, "CALL-1", "ax0"}}}}, ParseROSERoutes(
		[]byte("header\n1234567890 0010 2 00009 00001\n"), []byte("header\n00001 CALL-1    ax0      1\n")))
}

// TestParseRoutesEmpty checks that a file without a header is told from a table
// without rows. A namespace without a main table has such a file.
func TestParseRoutesEmpty(t *testing.T) {
	var column *ColumnError
	if _, err := ParseRoutes(nil); !errors.As(err, &column) || column.Column != "" {
		t.Errorf("error %v, want one of no column", err)
	}
}
