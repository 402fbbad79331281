package snapshot

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const inetHeader = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func TestParseSockets(t *testing.T) {
	full := Socket{
		Head: Head{
			Protocol: TCP,
			Local:    netip.MustParseAddrPort("127.0.0.1:8080"), Remote: netip.MustParseAddrPort("10.0.0.2:443"),
			State: CloseWait, SendQ: 1, RecvQ: 2, UID: 1000, Inode: 77,
		}, Timer: 2, Expires: 0x1234, Retrans: 3, Timeout: 4,
	}
	with := func(change func(*Socket)) Socket {
		s := full
		change(&s)
		return s
	}
	const line = "   0: 0100007F:1F90 0200000A:01BB 08 00000001:00000002 02:00001234 00000003  1000        4 77 1 ffff\n"
	tests := []struct {
		name     string
		protocol Protocol
		ipv6     bool
		rows     string
		want     []Socket
		bogus    int
	}{
		{name: "row", rows: line, want: []Socket{full}},
		{name: "no newline", rows: line[:len(line)-1], want: []Socket{full}},
		{name: "not a row", rows: "x\n" + line, want: []Socket{full}, bogus: 1},
		{name: "TCP needs the retransmits", rows: "0: 0100007F:1F90 0200000A:01BB 08 1:2 2:1234\n", bogus: 1},
		{
			name: "UDP does not", protocol: UDP, rows: "0: 0100007F:1F90 0200000A:01BB 08 1:2 2:1234\n",
			want: []Socket{{Head: Head{Protocol: UDP, Local: full.Local, Remote: full.Remote, State: CloseWait, SendQ: 1, RecvQ: 2}, Timer: 2, Expires: 0x1234}},
		},
		{
			name: "what a row lacks is as in the row before", rows: line + "0: 0100007F:1 0200000A:2 01 5:6 0:0 9\n",
			want: []Socket{full, with(func(s *Socket) {
				s.Local, s.Remote = netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2")
				s.State, s.SendQ, s.RecvQ, s.Timer, s.Expires, s.Retrans = Established, 5, 6, 0, 0, 9
			})},
		},
		{
			name: "IPv6", protocol: Raw, ipv6: true,
			rows: "0: B80D0120000000000000000001000000:003A 0000000000000000FFFF00000100007F:0000 07 0:0 0:0 0 0 0 5\n",
			want: []Socket{{Head: Head{Protocol: Raw, Local: netip.MustParseAddrPort("[2001:db8::1]:58"), Remote: netip.MustParseAddrPort("[::ffff:127.0.0.1]:0"), State: Close, Inode: 5}}},
		},
		{
			name: "numbers too large", rows: "0: 0100007F:12345 0200000A:10000 101 FFFFFFFFFFFFFFFFFF:0 105:0 100000000 4294967294 -1 5\n",
			want: []Socket{{
				Head: Head{
					Local: netip.MustParseAddrPort("127.0.0.1:9029"), Remote: netip.MustParseAddrPort("10.0.0.2:0"), State: 255,
					SendQ: 1<<64 - 1, UID: 1<<32 - 2, Inode: 5,
				}, Timer: 255, Retrans: 1<<32 - 1, Timeout: 1<<32 - 1,
				Odd: &OddNumbers{LocalPort: 0x12345, RemotePort: 0x10000, State: 0x101, Timer: 0x105, Retrans: 1 << 32},
			}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []Socket
			bogus := 0
			for s, err := range ParseSockets([]byte(inetHeader+tt.rows), tt.protocol, tt.ipv6) {
				switch {
				case errors.Is(err, ErrBogus):
					bogus++
				case err != nil:
					t.Fatal(err)
				default:
					got = append(got, s)
				}
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" || bogus != tt.bogus {
				t.Errorf("%d bogus lines, want %d; rows (-want +got):\n%s", bogus, tt.bogus, diff)
			}
		})
	}
}

func TestConnected(t *testing.T) {
	tests := []struct {
		protocol Protocol
		remote   string
		want     bool
	}{
		{TCP, "0.0.0.0:0", false},
		{TCP, "0.0.0.0:1", true},
		{TCP, "10.0.0.1:0", false},
		{UDP, "0.0.0.0:1", false},
		{UDP, "10.0.0.1:0", true},
		{Raw, "[::]:0", false},
		{Raw, "[::1]:0", true},
		{UDPLite, "[::ffff:0.0.0.0]:0", true},
	}
	for _, tt := range tests {
		s := Socket{Head: Head{Protocol: tt.protocol, Remote: netip.MustParseAddrPort(tt.remote)}}
		if got := s.Connected(); got != tt.want {
			t.Errorf("%s to %s: connected %t, want %t", tt.protocol, tt.remote, got, tt.want)
		}
	}
}

// FuzzParseSockets checks that any file yields rows or ErrBogus, and that a row's
// addresses are of one family.
func FuzzParseSockets(f *testing.F) {
	f.Add([]byte(inetHeader+"   0: 0100007F:1F90 0200000A:01BB 08 00000001:00000002 02:00001234 00000003  1000        4 77 1 ffff\n"), uint8(TCP), false)
	f.Add([]byte(inetHeader+"0: B80D0120000000000000000001000000:003A 0000000000000000FFFF00000100007F:0000 07 0:0 0:0 0 0 0 5\n"), uint8(Raw), true)
	f.Add([]byte("x\n0: 0100007F1:0x 1:-1 +1 1:1 1:1 0x"), uint8(UDP), false)
	f.Fuzz(func(t *testing.T, file []byte, p uint8, ipv6 bool) {
		for s, err := range ParseSockets(file, Protocol(p%4), ipv6) {
			if err != nil {
				if !errors.Is(err, ErrBogus) {
					t.Fatal(err)
				}
				continue
			}
			if s.Local.Addr().BitLen() != s.Remote.Addr().BitLen() {
				t.Errorf("addresses %v and %v of two families", s.Local, s.Remote)
			}
			if n := s.Numbers(); s.Odd == nil && (n.State != uint32(s.State) || n.IPv6File != s.Local.Addr().Is6()) {
				t.Errorf("numbers %+v are not those of %+v", n, s)
			}
		}
	})
}

func BenchmarkParseSockets(b *testing.B) {
	file := []byte(inetHeader)
	for range 1000 {
		file = append(file, "   0: 0100007F:1F90 0200000A:01BB 01 00000001:00000002 02:00001234 00000003  1000        4 77 1 ffff8881234567 20 4 30 10 -1\n"...)
	}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range ParseSockets(file, TCP, false) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
