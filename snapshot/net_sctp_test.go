package snapshot

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestParseSCTPEndpoints(t *testing.T) {
	file := []byte(" ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n" +
		"ffff0000 ffff0001 2   10  29   11212    7  17 10.0.0.1 10.0.0.2 \n" +
		"ffff0000 ffff0001 2   10  29   11212    7\n" +
		"ffff0000 ffff0001 2   12  29   -1    -2  0x1f 0000:0000:0000:0000:0000:ffff:0102:0304 300.0.0.1 1.2\n")
	want := []SCTPEndpoint{
		{State: 10, Port: 11212, UID: 7, Inode: 17, Local: addrs("10.0.0.1", "10.0.0.2")},
		{State: 12, Port: 65535, UID: 1<<32 - 2, Inode: 31, Local: addrs("::ffff:1.2.3.4", "255.255.255.255", "1.0.0.2")},
	}
	var got []SCTPEndpoint
	bogus := 0
	for e, err := range ParseSCTPEndpoints(file) {
		if errors.Is(err, ErrBogus) {
			bogus++
			continue
		}
		got = append(got, e)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || bogus != 1 {
		t.Errorf("%d bogus lines; rows (-want +got):\n%s", bogus, diff)
	}
}

func TestParseSCTPAssociations(t *testing.T) {
	file := []byte(" ASSOC …\n" +
		"f f 2 1 3 12345 1 5 6 7 17 11212 5000 10.0.0.1 *10.0.0.2 <-> *10.0.0.3 10.0.0.4 \t    7500    10    10\n" +
		"f f 2 1 3 12345 1 5 6 7 17 11212\n" +
		"f f 2 1 3 12345 1 5 6 7 17 11212 5000 10.0.0.1\n")
	want := []SCTPAssociation{{
		State: 1, SendQ: 5, RecvQ: 6, UID: 7, Inode: 17, LPort: 11212, RPort: 5000,
		Local: addrs("10.0.0.1", "10.0.0.2"), Remote: addrs("10.0.0.3", "10.0.0.4"),
	}}
	var got []SCTPAssociation
	bogus := 0
	for a, err := range ParseSCTPAssociations(file) {
		if errors.Is(err, ErrBogus) {
			bogus++
			continue
		}
		got = append(got, a)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || bogus != 2 {
		t.Errorf("%d bogus lines; rows (-want +got):\n%s", bogus, diff)
	}
}

func TestInetAton(t *testing.T) {
	tests := map[string]string{
		"10.0.0.1": "10.0.0.1", "1": "0.0.0.1", "1.2": "1.0.0.2", "1.2.3": "1.2.0.3", "010.1": "8.0.0.1", "0x7f.1": "127.0.0.1",
		"256.0.0.1": "255.255.255.255", "1.2.3.4.5": "255.255.255.255", "": "255.255.255.255", "1_0": "255.255.255.255",
		"09": "255.255.255.255", "0b1": "255.255.255.255", "+1": "255.255.255.255", "4294967295": "255.255.255.255", "16909060": "1.2.3.4",
	}
	for text, want := range tests {
		if got := inetAton([]byte(text)).String(); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// FuzzParseSCTP checks that any file yields rows with valid addresses, or ErrBogus.
func FuzzParseSCTP(f *testing.F) {
	f.Add([]byte("\nf f 2 10 29 11212 7 17 10.0.0.1 10.0.0.2 \n"))
	f.Add([]byte("\nf f 2 1 3 12345 1 5 6 7 17 11212 5000 10.0.0.1 <-> *1:2:3 \t 7500\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		check := func(err error, lists ...[]netip.Addr) {
			if err != nil && !errors.Is(err, ErrBogus) {
				t.Fatal(err)
			}
			for _, list := range lists {
				for _, a := range list {
					if !a.IsValid() {
						t.Error("an address without a family")
					}
				}
			}
		}
		for e, err := range ParseSCTPEndpoints(file) {
			check(err, e.Local)
		}
		for a, err := range ParseSCTPAssociations(file) {
			check(err, a.Local, a.Remote)
		}
	})
}
