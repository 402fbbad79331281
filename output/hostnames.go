package output

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	lookups       = 8                // names asked for at a time
	lookupTimeout = 10 * time.Second // of one; the resolver's own limit may be shorter
	hostsKept     = 1 << 16          // names remembered before all are forgotten
)

// HostNames finds the names of hosts in the background: who asks for one never
// waits, and gets it from the next time on. Addresses without a name are asked
// for once, too. It may be used by several goroutines at once.
type HostNames struct {
	lookup func(ctx context.Context, addr string) ([]string, error)
	tokens chan struct{}

	mu    sync.Mutex
	names map[netip.Addr]string // empty: none, or not known yet
}

// NewHostNames gives a finder that uses the resolver of the system: /etc/hosts
// and DNS.
func NewHostNames() *HostNames {
	system := net.Resolver{PreferGo: true}
	return newHostNames(system.LookupAddr)
}

func newHostNames(lookup func(context.Context, string) ([]string, error)) *HostNames {
	return &HostNames{
		lookup: lookup,
		tokens: make(chan struct{}, lookups),
		names:  make(map[netip.Addr]string),
	}
}

// Name gives the name of a host, or nothing: it has none, or none that is known
// by now.
func (h *HostNames) Name(a netip.Addr) string {
	if a.IsUnspecified() {
		return ""
	}
	a = a.Unmap().WithZone("")
	h.mu.Lock()
	defer h.mu.Unlock()
	name, asked := h.names[a]
	if asked {
		return name
	}
	select {
	case h.tokens <- struct{}{}:
	default:
		return "" // enough are asked for: another time
	}
	if len(h.names) >= hostsKept {
		clear(h.names)
	}
	h.names[a] = ""
	go h.find(a)
	return ""
}

func (h *HostNames) find(a netip.Addr) {
	defer func() { <-h.tokens }()
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	names, err := h.lookup(ctx, a.String())
	if err != nil || len(names) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names[a] = strings.TrimSuffix(names[0], ".")
}
