package output

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/nettrace/nettrace/snapshot"
)

func TestNDJSONTables(t *testing.T) {
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		name  string
		write func(w *RowRecords)
		want  string
	}{
		{"default route", func(w *RowRecords) {
			w.Route(noon, &snapshot.Route{
				Iface: "eth0", Dest: addr("0.0.0.0"), Gateway: addr("10.0.0.1"),
				Mask: addr("0.0.0.0"), Flags: snapshot.RouteUp | snapshot.RouteGateway, Metric: 100, MTU: 1500,
			})
		}, envelope("000000", "route") + `,"family":"ipv4","destination":"0.0.0.0","genmask":"0.0.0.0","prefix_len":0,` +
			`"gateway":"10.0.0.1","flags":"UG","flag_bits":3,"metric":100,"ref":0,"use":0,"mss_bytes":1500,"iface":"eth0"}`},
		{"blackhole with a metric beyond 31 bits", func(w *RowRecords) {
			w.Route(noon, &snapshot.Route{
				Iface: "*", Dest: addr("10.9.0.0"), Gateway: addr("0.0.0.0"),
				Mask: addr("255.255.192.0"), Flags: snapshot.RouteUp, Metric: -1, Window: 4096, IRTT: 300,
			})
		}, envelope("000000", "route") + `,"family":"ipv4","destination":"10.9.0.0","genmask":"255.255.192.0",` +
			`"prefix_len":18,"flags":"U","flag_bits":1,"metric":4294967295,"ref":0,"use":0,"window_bytes":4096,"irtt_ms":300}`},
		{"netmask with a hole", func(w *RowRecords) {
			w.Route(noon, &snapshot.Route{
				Iface: "eth0", Dest: addr("10.0.0.9"), Gateway: addr("0.0.0.0"),
				Mask: addr("255.0.255.0"), Flags: snapshot.RouteUp,
			})
		}, envelope("000000", "route") + `,"family":"ipv4","destination":"10.0.0.9","genmask":"255.0.255.0",` +
			`"flags":"U","flag_bits":1,"metric":0,"ref":0,"use":0,"iface":"eth0"}`},
		{"cached route", func(w *RowRecords) {
			w.CachedRoute(noon, &snapshot.CachedRoute{
				Route: snapshot.Route{
					Iface: "eth0", Dest: addr("10.0.0.9"),
					Gateway: addr("0.0.0.0"), Mask: addr("255.255.255.255"),
				}, Source: addr("10.0.0.1"), TOS: 8, HHRef: 2,
				HHUp: 1, SpecDst: addr("10.0.0.1"),
			})
		}, envelope("000000", "route") + `,"cached":true,"family":"ipv4","destination":"10.0.0.9",` +
			`"genmask":"255.255.255.255","prefix_len":32,"flags":"","flag_bits":0,"metric":0,"ref":0,"use":0,"iface":"eth0",` +
			`"source_addr":"10.0.0.1","tos":8,"hh_ref":2,"hh_uptod":1,"spec_dst":"10.0.0.1"}`},
		{"IPv6 route from a source", func(w *RowRecords) {
			w.Route6(noon, &snapshot.Route6{
				Iface: "eth0", Dest: addr("2001:db8::"), DestLen: 32,
				Source: addr("2001:db8:1::"), SourceLen: 48, NextHop: addr("fe80::1"), Metric: 1024, RefCnt: 1, Use: 7,
				Flags: snapshot.RouteUp | snapshot.RouteGateway | snapshot.RouteCached,
			})
		}, envelope("000000", "route") + `,"cached":true,"family":"ipv6","destination":"2001:db8::","prefix_len":32,` +
			`"gateway":"fe80::1","source_addr":"2001:db8:1::","source_prefix_len":48,"flags":"UGC","flag_bits":16777219,"metric":1024,` +
			`"ref":1,"use":7,"iface":"eth0"}`},
		{
			"AX.25 route", func(w *RowRecords) { w.AX25Route(noon, &snapshot.AX25Route{Dest: "default", Device: "ax0"}) },
			envelope("000000", "route") + `,"family":"ax25","destination":"default","iface":"ax0"}`,
		},
		{
			"X.25 route to anywhere", func(w *RowRecords) { w.X25Route(noon, &snapshot.X25Route{Device: "x25tap0"}) },
			envelope("000000", "route") + `,"family":"x25","prefix_len":0,"iface":"x25tap0"}`,
		},
		{"NET/ROM node", func(w *RowRecords) {
			w.NetROMRoute(noon, &snapshot.NetROMRoute{
				Dest: "DL1ABC", Mnemonic: "*", Quality: 192, Neighbour: "DL2ABC", Device: "ax0",
			})
		}, envelope("000000", "route") + `,"family":"netrom","destination":"DL1ABC","gateway":"DL2ABC","quality":192,"iface":"ax0"}`},
		{"ROSE node", func(w *RowRecords) {
			w.ROSERoute(noon, &snapshot.ROSERoute{Dest: "2080175520", Neighbours: []snapshot.ROSENeighbour{{Number: 1, Call: "DL2ABC", Device: "ax0"}}})
		}, envelope("000000", "route") + `,"family":"rose","destination":"2080175520","neighbour":1,"gateway":"DL2ABC","iface":"ax0"}`},
		{"interface", func(w *RowRecords) {
			w.Interface(noon, &snapshot.Interface{
				Name: "eth0", MTU: 1500, HWType: 1, TxQueueLen: 1000,
				Flags:  snapshot.InterfaceUp | snapshot.InterfaceBroadcast | snapshot.InterfaceRunning | snapshot.InterfaceMulticast,
				HWAddr: [14]byte{2, 0x42, 0xac, 0x11, 0, 2}, Addr: addr("172.17.0.2"), Netmask: addr("255.255.0.0"),
				Broadcast: addr("172.17.255.255"), Map: snapshot.InterfaceMap{IRQ: 11},
				Addrs4:   []netip.Prefix{netip.MustParsePrefix("172.17.0.2/16"), netip.MustParsePrefix("172.17.0.3/32")},
				Addrs6:   []snapshot.InterfaceAddr6{{Addr: addr("fe80::42"), PrefixLen: 64}, {Addr: addr("2001:db8::1"), PrefixLen: 128}},
				Counters: &snapshot.InterfaceCounters{RxBytes: 1, RxPackets: 2, RxErrors: 3, RxDropped: 4, RxFIFO: 5, RxFrame: 6, RxCompressed: 7, RxMulti: 8, TxBytes: 9, TxPackets: 10, TxErrors: 11, TxDropped: 12, TxFIFO: 13, Collisions: 14, TxCarrier: 15, TxCompressed: 16},
			})
		}, envelope("000000", "interface") + `,"iface":"eth0","flag_bits":4163,"flags":"UP,BROADCAST,RUNNING,MULTICAST",` +
			`"mtu_bytes":1500,"hw_type":1,"hw_name":"ether","hw_addr":"02:42:ac:11:00:02","tx_queue_len":1000,"addr":"172.17.0.2",` +
			`"netmask":"255.255.0.0","broadcast":"172.17.255.255","irq":11,"rx_packets":2,"rx_bytes":1,"rx_errors":3,` +
			`"rx_dropped":4,"rx_overruns":5,"rx_frame":6,"rx_compressed":7,"rx_multicast":8,"tx_packets":10,"tx_bytes":9,` +
			`"tx_errors":11,"tx_dropped":12,"tx_overruns":13,"tx_carrier":15,"tx_collisions":14,"tx_compressed":16,` +
			`"addrs4":["172.17.0.2/16","172.17.0.3/32"],"addrs6":["fe80::42/64","2001:db8::1/128"]}`},
		{"alias of an interface of a kind without address", func(w *RowRecords) {
			w.Interface(noon, &snapshot.Interface{
				Name: "tun0:1", TxQueueLen: -1, HWType: 65534,
				Addr: addr("10.8.0.1"), PeerAddr: addr("10.8.0.2"),
			})
		}, envelope("000000", "interface") + `,"iface":"tun0:1","flag_bits":0,"flags":"","mtu_bytes":0,"hw_type":65534,"hw_name":"unspec",` +
			`"addr":"10.8.0.1","peer_addr":"10.8.0.2"}`},
		{
			"group", func(w *RowRecords) { w.Group(noon, &snapshot.Group{Iface: "lo", Users: 1, Addr: addr("ff02::1")}) },
			envelope("000000", "group") + `,"family":"ipv6","iface":"lo","refcnt":1,"group":"ff02::1"}`,
		},
		{
			"statistic", func(w *RowRecords) {
				w.Statistic(noon, "TcpExt", snapshot.Counter{Name: "TCPTimeouts", Value: 1 << 63})
			},
			envelope("000000", "statistic") + `,"section":"TcpExt","name":"TCPTimeouts","value":9223372036854775808}`,
		},
		{
			"negative statistic", func(w *RowRecords) {
				w.Statistic(noon, "Tcp", snapshot.Counter{Name: "MaxConn", Value: 1<<64 - 1, Negative: true})
			},
			envelope("000000", "statistic") + `,"section":"Tcp","name":"MaxConn","value":-1}`,
		},
		{"queue that is shorter than nothing", func(w *RowRecords) {
			w.Socket(noon, &snapshot.Socket{Head: snapshot.Head{
				Protocol: snapshot.UDP, Local: netip.MustParseAddrPort("10.0.0.1:53"), Remote: netip.MustParseAddrPort("0.0.0.0:0"),
				RecvQ: 0xffffff00, SendQ: 5,
			}}, nil)
		}, envelope("000000", "socket") + `,"transport":"udp","family":"ipv4","local_addr":"10.0.0.1","local_port":53,` +
			`"remote_addr":"0.0.0.0","recv_q":-256,"send_q":5,"retransmits":0,"probes":0}`},
		{"AX.25 socket without peer", func(w *RowRecords) {
			w.AX25(noon, &snapshot.AX25Socket{Device: "???", Source: "DL1ABC-1", Dest: "*"})
		}, envelope("000000", "socket") + `,"transport":"ax25","source_addr":"DL1ABC-1","state":"LISTENING","vr":0,"vs":0,` +
			`"recv_q":0,"send_q":0}`},
		{"X.25 socket", func(w *RowRecords) {
			w.X25(noon, &snapshot.X25Socket{
				Dest: "1234", Source: "5678", Device: "x25tap0", LCI: 4, State: 3, VS: 1, VR: 2,
				SendQ: 3, RecvQ: 4,
			})
		}, envelope("000000", "socket") + `,"transport":"x25","dest_addr":"1234","source_addr":"5678","device":"x25tap0","lci":4,` +
			`"state":"ESTABLISHED","vr":2,"vs":1,"recv_q":4,"send_q":3}`},
		{"NET/ROM socket", func(w *RowRecords) {
			w.NetROM(noon, &snapshot.NetROMSocket{User: "DL1ABC", Dest: "DL2ABC", Source: "DL3ABC", Device: "nr0", State: 9})
		}, envelope("000000", "socket") + `,"transport":"netrom","dest_addr":"DL2ABC","source_addr":"DL3ABC","device":"nr0",` +
			`"user_call":"DL1ABC","vr":0,"vs":0,"recv_q":0,"send_q":0}`},
		{"ROSE socket", func(w *RowRecords) {
			w.ROSE(noon, &snapshot.ROSESocket{
				DestAddr: "2080175520", DestCall: "*", SrcAddr: "2080175521",
				SrcCall: "DL1ABC", Device: "rose0", LCI: 1, Neighbour: 2, State: 1,
			})
		}, envelope("000000", "socket") + `,"transport":"rose","dest_addr":"2080175520","source_addr":"2080175521","device":"rose0",` +
			`"source_call":"DL1ABC","lci":1,"neighbour":2,"state":"CONN SENT"}`},
		{"IPX socket", func(w *RowRecords) {
			w.IPX(noon, &snapshot.IPXSocket{Local: snapshot.IPXAddr{Network: 1, Port: 0x5104}, State: 7, RecvQ: 1})
		}, envelope("000000", "socket") + `,"transport":"ipx","source_addr":"00000001:0451","recv_q":1,"send_q":0,"uid":0}`},
		{"masquerade", func(w *RowRecords) {
			w.Masquerade(noon, &snapshot.Masquerade{
				Protocol: "tcp", Source: netip.MustParseAddrPort("10.0.0.2:1025"),
				Dest: netip.MustParseAddrPort("192.0.2.1:21"), Port: 61000, InitSeq: 7, Delta: -2, PreviousDelta: 1,
				HasPrevious: true, Expires: 90000,
			})
		}, envelope("000000", "masquerade") + `,"transport":"tcp","source_addr":"10.0.0.2","source_port":1025,` +
			`"dest_addr":"192.0.2.1","dest_port":21,"port":61000,"init_seq":7,"delta":-2,"previous_delta":1,` +
			`"expires_ms":900000}`},
	} {
		t.Run(tt.name, func(t *testing.T) { checkGolden(t, NDJSONOptions{}, newRowWriter, tt.write, tt.want) })
	}
}

func interfaces() *rapid.Generator[*snapshot.Interface] {
	return rapid.Custom(func(t *rapid.T) *snapshot.Interface {
		i := &snapshot.Interface{
			Name:       "x" + names(14).Draw(t, "name"),
			Flags:      snapshot.InterfaceFlags(rapid.Uint16().Draw(t, "flags")),
			MTU:        rapid.Int32().Draw(t, "mtu"),
			HWType:     rapid.Uint16Range(0, 800).Draw(t, "type"),
			TxQueueLen: rapid.Int32().Draw(t, "queue"),
			Map:        rapid.Make[snapshot.InterfaceMap]().Draw(t, "map"),
			SLIP:       rapid.Make[snapshot.SLIP]().Draw(t, "SLIP"),
			Addr:       addrs().Draw(t, "addr"),
		}
		for range rapid.IntRange(0, 100).Draw(t, "addresses") {
			i.Addrs6 = append(i.Addrs6, snapshot.InterfaceAddr6{Addr: addrs().Draw(t, "addr6"), PrefixLen: rapid.Uint8().Draw(t, "prefix")})
		}
		if rapid.Bool().Draw(t, "has counters") {
			counters := rapid.Make[snapshot.InterfaceCounters]().Draw(t, "counters")
			i.Counters = &counters
		}
		return i
	})
}

func routes() *rapid.Generator[snapshot.Route] {
	return rapid.Custom(func(t *rapid.T) snapshot.Route {
		return snapshot.Route{
			Iface:   names(15).Draw(t, "iface"),
			Dest:    addrs().Draw(t, "dest"),
			Gateway: addrs().Draw(t, "gateway"),
			Mask:    addrs().Draw(t, "mask"),
			Flags:   snapshot.RouteFlags(rapid.Uint32().Draw(t, "flags")),
			RefCnt:  rapid.Int32().Draw(t, "ref"),
			Use:     rapid.Int32().Draw(t, "use"),
			Metric:  rapid.Int32().Draw(t, "metric"),
			MTU:     rapid.Int32().Draw(t, "mtu"),
			Window:  rapid.Int32().Draw(t, "window"),
			IRTT:    rapid.Int32().Draw(t, "irtt"),
		}
	})
}

func TestNDJSONTablesKeepTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var out bytes.Buffer
		w := NewRowRecords(&out, NDJSONOptions{Host: names(300).Draw(t, "host")})
		route := routes().Draw(t, "route")
		w.Route(noon, &route)
		w.CachedRoute(noon, &snapshot.CachedRoute{
			Route: route, Source: addrs().Draw(t, "source"),
			SpecDst: addrs().Draw(t, "spec"), TOS: route.Use, HHRef: route.IRTT, HHUp: route.Window,
		})
		w.Route6(noon, &snapshot.Route6{
			Iface: route.Iface, Dest: route.Dest, DestLen: rapid.Uint8().Draw(t, "length"),
			Source: route.Mask, SourceLen: rapid.Uint8().Draw(t, "source length"), NextHop: route.Gateway,
			Metric: route.Metric, RefCnt: route.RefCnt, Use: route.Use, Flags: route.Flags,
		})
		w.Interface(noon, interfaces().Draw(t, "interface"))
		w.Group(noon, &snapshot.Group{
			Iface: names(15).Draw(t, "device"), Users: rapid.Int32().Draw(t, "users"),
			Addr: addrs().Draw(t, "group"),
		})
		w.Statistic(noon, "x"+names(4096).Draw(t, "title"),
			snapshot.Counter{Name: "x" + names(4096).Draw(t, "counter"), Value: rapid.Uint64().Draw(t, "value")})
		w.Masquerade(noon, &snapshot.Masquerade{
			Protocol: "gre", Source: addrPorts().Draw(t, "from"),
			Dest: addrPorts().Draw(t, "to"), Port: rapid.Uint16().Draw(t, "port"), InitSeq: rapid.Uint64().Draw(t, "seq"),
			Delta: rapid.Int16().Draw(t, "delta"), Expires: rapid.Uint64().Draw(t, "expires"),
		})
		call := names(9)
		w.AX25(noon, &snapshot.AX25Socket{
			Device: call.Draw(t, "device"), Source: call.Draw(t, "source"),
			Dest: call.Draw(t, "dest"), State: rapid.Int32().Draw(t, "state"), VS: route.Use, SendQ: route.MTU,
		})
		w.ROSE(noon, &snapshot.ROSESocket{
			Device: call.Draw(t, "device"), SrcAddr: call.Draw(t, "source"),
			DestCall: call.Draw(t, "dest"), State: rapid.Int32Range(-1, 9).Draw(t, "state"), LCI: route.Use,
		})
		w.IPX(noon, &snapshot.IPXSocket{
			Local:     snapshot.IPXAddr{Network: rapid.Uint32().Draw(t, "network"), Node: [6]byte{1}},
			Connected: rapid.Bool().Draw(t, "connected"), SendQ: rapid.Uint64().Draw(t, "queue"), UID: rapid.Uint32().Draw(t, "uid"),
		})
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if n := len(checkLines(t, out.Bytes())); n != 10 {
			t.Errorf("%d lines, want 10: %q", n, out.Bytes())
		}
	})
}
