package names

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// TestHostNames asks for a name while the resolver hangs. Asking must not block, and
// after the resolver's answer the name must be there.
func TestHostNames(t *testing.T) {
	answer := make(chan struct{})
	asked := make(chan string, 2*lookups)
	h := newHostNames(func(_ context.Context, addr string) ([]string, error) {
		asked <- addr
		<-answer
		if addr == "192.0.2.1" {
			return []string{"one.example.", "other.example."}, nil
		}
		return nil, errors.New("no such host")
	})
	one := netip.MustParseAddr("192.0.2.1")
	for range 3 {
		if name := h.Name(one); name != "" {
			t.Errorf("%q before there was an answer", name)
		}
	}
	if name := h.Name(netip.IPv6Unspecified()); name != "" {
		t.Errorf("%q for no address", name)
	}
	for a := netip.MustParseAddr("192.0.2.2"); a.Compare(netip.MustParseAddr("192.0.2.99")) < 0; a = a.Next() {
		h.Name(a) // more names than it looks up at a time
	}
	close(answer)
	for h.Name(netip.MustParseAddr("::ffff:192.0.2.1")) != "one.example" {
		time.Sleep(time.Millisecond)
	}
	for len(h.tokens) > 0 {
		time.Sleep(time.Millisecond)
	}
	if n := len(asked); n != lookups {
		t.Errorf("%d lookups, want each of %d addresses once", n, lookups)
	}
	if a := netip.MustParseAddr("192.0.2.2"); h.Name(a) != "" || len(h.tokens) > 0 {
		t.Errorf("%v is asked for again", a)
	}
}
