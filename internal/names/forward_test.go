package names_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

func TestForward(t *testing.T) {
	r, _ := testResolver(t)
	for _, tt := range []struct {
		service string
		want    []uint16
	}{
		{"http", []uint16{80}},
		{"www", []uint16{80}},
		{"domain", []uint16{53}},
		{"first", []uint16{4000}},
		{"odd", nil},
		{"sctp-only", nil},
		{"x", nil},
		{"", nil},
	} {
		if got := r.Ports(tt.service); !slices.Equal(got, tt.want) {
			t.Errorf("service %q: %v, want %v", tt.service, got, tt.want)
		}
	}
	if all := r.Services(); !slices.Contains(all, "www") || slices.Contains(all, "sctp-only") {
		t.Errorf("services are %q", all)
	}
	for name, want := range map[string]uint32{"root": 0, "first": 1000, "second": 1000, "high": 4294967295} {
		if got, ok := r.UID(name); !ok || got != want {
			t.Errorf("user %s: %d, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", "bad", "# comment", "nobody-there"} {
		if uid, ok := r.UID(name); ok {
			t.Errorf("user %q: %d", name, uid)
		}
	}
	if all := r.UserNames(); !slices.Contains(all, "second") {
		t.Errorf("users are %q", all)
	}
}

// TestAddrs checks that a name has all its addresses, each once and none of them v4-mapped.
func TestAddrs(t *testing.T) {
	r, _ := testResolver(t)
	r.LookupHost = func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "both" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{
			netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fe80::1%lo"),
		}, nil
	}
	want := []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("fe80::1")}
	if got := r.Addrs("both"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := r.Addrs("none"); got != nil {
		t.Errorf("%v of no host", got)
	}
}
