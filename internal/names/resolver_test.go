package names_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nettrace/nettrace/internal/names"
	"github.com/nettrace/nettrace/output"
	"github.com/nettrace/nettrace/snapshot"
)

// testResolver returns a resolver over files of names, and the addresses that it
// is asked for.
func testResolver(t *testing.T) (*names.Resolver, *[]string) {
	t.Helper()
	etc := t.TempDir()
	for name, content := range map[string]string{
		"services":  "# comment\nhttp 80/tcp www\nfirst 4000/tcp\nlast 4000/tcp # comment\ndomain 53/udp\nodd 99999/tcp\nx\nsctp-only 9/sctp\n" + strings.Repeat("n", 80) + " 1/tcp\n",
		"protocols": "icmp 1 ICMP\nfirst 253\nlast 253\n",
		"networks":  "loopback 127.0.0.0\nshort 10.1\nsecond 10.1.0.0\nzero 0.1\nbad x\n",
		"passwd":    "# comment\nroot:x:0:0::/:/bin/sh\nfirst:x:1000:1::/:\nsecond:x:1000:1::/:\nbad\nhigh:x:4294967295:1::/:\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	asked := new([]string)
	return &names.Resolver{Etc: etc, LookupAddr: func(addr string) ([]string, error) {
		*asked = append(*asked, addr)
		switch addr {
		case "127.0.0.1", "::1":
			return []string{"localhost", "later"}, nil
		case "10.0.0.1":
			return []string{"host.example.test."}, nil
		case "2001:db8::1":
			return []string{strings.Repeat("a", 128)}, nil
		}
		return nil, errors.New("no such host")
	}}, asked
}

func TestResolver(t *testing.T) {
	r, asked := testResolver(t)
	all := output.Names{Hosts: r, Services: r, Users: r}
	for addr, want := range map[string]string{
		"127.0.0.1": "localhost", "::1": "localhost", "10.0.0.1": "host.example.test", "10.0.0.2": "10.0.0.2",
		"0.0.0.0": "0.0.0.0", "::": "[::]", "0.1.0.0": "zero", "0.2.0.0": "0.2.0.0", "2001:db8::1": "2001:db8::1", "::ffff:10.9.9.9": "10.9.9.9",
	} {
		for range 2 {
			if got := string(all.AppendHost(nil, netip.MustParseAddr(addr))); got != want {
				t.Errorf("host %s: %s, want %s", addr, got, want)
			}
		}
	}
	counts := map[string]int{}
	for _, addr := range *asked {
		counts[addr]++
	}
	if counts["10.0.0.2"] != 1 || counts["::1"] != 2 || counts["0.1.0.0"] != 0 || counts["::"] != 0 {
		t.Errorf("asked %v: IPv4 addresses once, IPv6 ones each time, networks and zeros never", counts)
	}
	for _, tt := range []struct {
		protocol snapshot.Protocol
		port     uint16
		want     string
	}{
		{snapshot.TCP, 0, "*"},
		{snapshot.TCP, 80, "http"},
		{snapshot.TCP, 4000, "last"},
		{snapshot.TCP, 53, "53"},
		{snapshot.TCP, 9, "9"},
		{snapshot.UDP, 53, "domain"},
		{snapshot.UDPLite, 53, "domain"},
		{snapshot.Raw, 1, "icmp"},
		{snapshot.Raw, 253, "last"},
		{snapshot.Raw, 80, "80"},
		{snapshot.TCP, 1, strings.Repeat("n", 63)},
	} {
		if got := string(all.AppendPort(nil, tt.protocol, tt.port)); got != tt.want {
			t.Errorf("port %s/%d: %s, want %s", tt.protocol, tt.port, got, tt.want)
		}
	}
	for uid, want := range map[uint32]string{0: "root", 1000: "first", 7: "7", 4294967294: "-2", 4294967295: "high"} {
		if got := string(all.AppendUser(nil, uid)); got != want {
			t.Errorf("user %d: %s, want %s", uid, got, want)
		}
	}
	for addr, want := range map[string]string{"127.0.0.0": "loopback", "10.1.0.0": "short", "10.0.0.0": ""} {
		if got := r.Network(netip.MustParseAddr(addr)); got != want {
			t.Errorf("network %s: %q, want %q", addr, got, want)
		}
	}
}

func TestResolverNumeric(t *testing.T) {
	_, asked := testResolver(t)
	var all output.Names
	for addr, want := range map[string]string{"127.0.0.1": "127.0.0.1", "::": "::", "0.0.0.0": "0.0.0.0"} {
		if got := string(all.AppendHost(nil, netip.MustParseAddr(addr))); got != want {
			t.Errorf("host %s: %s, want %s", addr, got, want)
		}
	}
	if got := string(all.AppendUser(all.AppendPort(nil, snapshot.TCP, 80), 0)); got != "800" || len(*asked) != 0 {
		t.Errorf("port and user %s, asked %v", got, *asked)
	}
}

// FuzzFiles feeds any text as files of names: none may panic.
func FuzzFiles(f *testing.F) {
	f.Add("http 80/tcp\n1 2 3\n:::\nroot:x:0:0\n")
	f.Fuzz(func(t *testing.T, text string) {
		etc := t.TempDir()
		for _, name := range []string{"services", "protocols", "networks", "passwd"} {
			if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r := names.Resolver{Etc: etc}
		r.Service(1, "raw")
		r.User(0)
		r.Network(netip.IPv4Unspecified())
	})
}
