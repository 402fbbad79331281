package snapshot

import (
	"errors"
	"iter"
	"strings"
	"testing"
)

// The fuzz targets check what the views rely on, whatever a file holds: no panic;
// only errors of the documented types; valid addresses; device names that the kernel
// could have; at most one row for each line, or for each piece of a line.

// checkRows walks a sequence of rows. good reports whether a row is valid, known
// whether an error is a documented one.
func checkRows[T any](t *testing.T, file []byte, rows iter.Seq2[T, error], good func(T) bool, known func(error) bool) {
	t.Helper()
	n := 0
	for row, err := range rows {
		n++
		if err != nil && !known(err) {
			t.Fatalf("unexpected error %v", err)
		}
		if err == nil && !good(row) {
			t.Fatalf("bad row %+v", row)
		}
	}
	if n > len(file) {
		t.Fatalf("%d rows of %d bytes", n, len(file))
	}
}

// each makes a sequence from a slice.
func each[T any](rows []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

func isA[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func noError(error) bool { return false }

func always[T any](T) bool { return true }

func FuzzParseRoutes(f *testing.F) {
	const header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	f.Add([]byte(header + "eth0\t0002000A\t0100000A\t0003\t1\t2\t3\t00FFFFFF\t1440\t8192\t40\n"))
	f.Add([]byte("x|" + header + "y * 1 2 -3 4 0x5 99999999999999999999 7 8\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		rows, err := ParseRoutes(file)
		if err != nil && !isA[*ColumnError](err) {
			t.Fatal(err)
		}
		checkRows(t, file, each(rows), func(r Route) bool {
			return r.Dest.Is4() && r.Gateway.Is4() && r.Mask.Is4() && len(r.Iface) <= 15 && r.Iface != ""
		}, noError)
	})
}

func FuzzParseCachedRoutes(f *testing.F) {
	f.Add([]byte("Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst\n" +
		"lo\t0100007F\t0200007F\t80000200\t1\t2\t3\t0300007F\t16436\t5\t6\t8\t-1\t1\t0400007F\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		rows, err := ParseCachedRoutes(file)
		if err != nil && !isA[*ColumnError](err) {
			t.Fatal(err)
		}
		checkRows(t, file, each(rows), func(r CachedRoute) bool {
			return r.Dest.Is4() && r.Gateway.Is4() && r.Source.Is4() && r.SpecDst.Is4() && len(r.Iface) <= 15
		}, noError)
	})
}

func FuzzParseRoutes6(f *testing.F) {
	f.Add([]byte("20010db8000000000000000000000000 40 20010db8000000000000000000000001 80 fe800000000000000000000000000001 ffffffff 00000002 00000003 01450003     eth0\n"))
	f.Add([]byte("20010db8 1:2 ::1 fe80%1 1.2.3.4\n\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		checkRows(t, file, each(ParseRoutes6(file)), func(r Route6) bool {
			return r.Dest.Is6() && r.Source.Is6() && r.NextHop.Is6() && r.Dest.Zone()+r.NextHop.Zone() == "" && len(r.Iface) <= 15
		}, noError)
	})
}

func FuzzParseGroups(f *testing.F) {
	f.Add([]byte("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"))
	f.Add([]byte("\t\n7\n\x00\n\t1 2"))
	f.Fuzz(func(t *testing.T, file []byte) {
		checkRows(t, file, ParseGroups(file), func(g Group) bool { return g.Addr.Is4() && len(g.Iface) <= 15 }, isA[*GroupLineError])
	})
}

func FuzzParseGroups6(f *testing.F) {
	f.Add([]byte("1    lo              ff020000000000000000000000000001     1 0000000C 0\nx\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		checkRows(t, file, ParseGroups6(file), func(g Group) bool { return g.Addr.Is6() && len(g.Iface) <= 15 }, isA[*GroupLineError])
	})
}

func FuzzParseStatistics(f *testing.F) {
	f.Add([]byte("Ip: Forwarding DefaultTTL\nIp: 2 64\nTcp: MaxConn\nTcp: -1\n"))
	f.Add([]byte("\n\nbad\nbad\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		ended := false
		for section, ok := range ParseStatistics(file) {
			if ended {
				t.Fatal("a section after the end")
			}
			ended = !ok
			checkCounters(t, section, false)
		}
	})
}

// checkCounters checks that names are words.
func checkCounters(t *testing.T, section StatSection, unnamed bool) {
	t.Helper()
	for _, c := range section.Counters {
		if strings.ContainsAny(c.Name, " \t\n") || c.Name == "" && !unnamed {
			t.Fatalf("bad name %q", c.Name)
		}
	}
}

func FuzzParseStatistics6(f *testing.F) {
	f.Add([]byte("Ip6InReceives                   \t1\nIcmp6InMsgs\nUdp6 x\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, section := range ParseStatistics6(file) {
			if !strings.Contains(section.Counters[0].Name, section.Title) {
				t.Fatalf("title %q above %q", section.Title, section.Counters[0].Name)
			}
			checkCounters(t, section, true)
		}
	})
}

func FuzzParseSCTPStatistics(f *testing.F) {
	f.Add([]byte("SctpCurrEstab                   \t1\nSctp\n x\n"))
	f.Fuzz(func(t *testing.T, file []byte) { checkCounters(t, ParseSCTPStatistics(file), true) })
}

func FuzzParseMasquerades(f *testing.F) {
	f.Add([]byte("Prc PDelta\nTCP 0A000001:1234 0A000002:0050 EA60 000000FF     -5      6  123456\n"))
	f.Add([]byte("Prc\nIP 1:1 1:1 1 1 1 1 XXX 1"))
	f.Fuzz(func(t *testing.T, file []byte) {
		rows, err := ParseMasquerades(file)
		if err != nil && !errors.Is(err, ErrMasqueradeEmpty) && !errors.Is(err, ErrMasqueradeFormat) && !errors.Is(err, ErrMasqueradeProtocol) {
			t.Fatal(err)
		}
		checkRows(t, file, each(rows), func(m Masquerade) bool {
			return m.Source.Addr().Is4() && m.Dest.Addr().Is4() && m.Protocol != ""
		}, noError)
	})
}

func FuzzParseInterfaceCounters(f *testing.F) {
	f.Add([]byte("Inter-|\n face |\n    lo:    1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\neth0:17\nbad\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		for name, c := range ParseInterfaceCounters(file) {
			// After a colon there is the number of an alias, nothing else.
			_, number, _ := strings.Cut(name, ":")
			if c == nil || strings.Trim(number, "0123456789") != "" {
				t.Fatalf("%q: %v", name, c)
			}
		}
	})
}

func FuzzParseInterfaceAddrs6(f *testing.F) {
	f.Add([]byte("00000000000000000000000000000001 01 80 10 80       lo\n1:2:3 4\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		for name, addrs := range ParseInterfaceAddrs6(file) {
			checkRows(t, file, each(addrs), func(a InterfaceAddr6) bool { return a.Addr.Is6() && name != "" }, noError)
		}
	})
}

func FuzzParseLegacySockets(f *testing.F) {
	f.Add([]byte("00000000abcdef01 ax0 CALL-1 DEST-2,DIGI-1 3 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19\n"))
	f.Add([]byte("header\n1234       *          x25tap0 001  3  1  2  3   0   3   1  18  18    10    20 456\n"))
	f.Add([]byte("header\nCALLXX-15 DEST-2    NODE-1    nr0 01/A2 03/04  3   1   2   3   0/120  0/05   0/180   0/000  0/03   4     5     6 123\n"))
	f.Add([]byte("header\n*          DEST-2    1234567890 CALL-1    rose0 012 00001  3  1\n"))
	f.Add([]byte("header\n00000001:000000000001:4000  Not_Connected  0000000A  0000000B  07     033\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		line := isA[*SocketLineError]
		checkRows(t, file, ParseAX25Sockets(file), always[AX25Socket], line)
		checkRows(t, file, ParseX25Sockets(file), always[X25Socket], noError)
		checkRows(t, file, ParseNetROMSockets(file), func(s NetROMSocket) bool { return s.Device != "" }, line)
		checkRows(t, file, ParseROSESockets(file), func(s ROSESocket) bool { return s.Device != "" }, line)
		checkRows(t, file, ParseIPXSockets(file), always[IPXSocket], func(err error) bool {
			return errors.Is(err, ErrIPXSourcePort) || errors.Is(err, ErrIPXDestPort)
		})
	})
}

func FuzzParseLegacyRoutes(f *testing.F) {
	f.Add([]byte("header\nNODE-1    ABC      2 2  192   6 00001  100   5 00002\n"), []byte("header\n00001 CALL-1    ax0   192\n"))
	f.Add([]byte("header\n1234567890 0010 2 00009 00001\n"), []byte("header\n00001 CALL-1    ax0      1\n"))
	f.Add([]byte("header\ndefault   ax0   *\n"), []byte("header\n1234             4       lapb0\n"))
	f.Fuzz(func(t *testing.T, nodes, neighbours []byte) {
		checkRows(t, nodes, each(ParseAX25Routes(nodes)), func(r AX25Route) bool { return len(r.Device) <= 4 }, noError)
		checkRows(t, neighbours, each(ParseX25Routes(neighbours)), func(r X25Route) bool { return len(r.Device) <= 10 }, noError)
		checkRows(t, nodes, each(ParseNetROMRoutes(nodes, neighbours)), func(r NetROMRoute) bool { return len(r.Device) <= 4 }, noError)
		checkRows(t, nodes, each(ParseROSERoutes(nodes, neighbours)), func(r ROSERoute) bool { return len(r.Neighbours) <= 3 }, noError)
	})
}
