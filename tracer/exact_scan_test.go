package tracer

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/nettrace/nettrace/internal/testnet"
)

// TestExactScan has connections where nothing listens, in a table of 16 buckets. Each
// bucket has some, so a scan that steps over one tells ends that did not happen. (The
// iterator of TCP sockets steps over the first bucket there, before Linux 6.17: in
// tcp_seek_last_pos, net/ipv4/tcp_ipv4.c, the count that ran down to -1 among the
// listeners goes on among the others.)
func TestExactScan(t *testing.T) {
	parent := testnet.New(t)
	testnet.Set(t, parent, "net/ipv4/tcp_child_ehash_entries", "16") // Linux 6.1
	netns := testnet.NewFrom(t, parent)
	const count = 100
	var ends []io.Closer
	testnet.In(t, netns, func() {
		var err error
		if ends, err = connectAll(count); err != nil {
			t.Error(err)
		}
	})
	w := startWatch(t, Options{NetnsPath: netns, Reconcile: -1})
	if n := w.compare(netns); n != 2*count {
		t.Errorf("%d rows compared, want %d", n, 2*count)
	}
	w.stop()
	if len(w.mended) > 0 {
		t.Errorf("scans found what did not happen: %+v, %q", w.mended, w.scanned)
	}
	for _, end := range ends {
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	}
}

// connectAll makes connections to a listener, which it closes, and returns both ends
// of each.
func connectAll(count int) (ends []io.Closer, err error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	for range count {
		client, err1 := net.Dial("tcp4", listener.Addr().String())
		server, err2 := listener.Accept()
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		ends = append(ends, client, server)
	}
	return ends, listener.Close()
}
