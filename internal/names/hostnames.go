package names

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	lookups       = 8                // lookups at a time
	lookupTimeout = 10 * time.Second // of one; the resolver's own limit may be shorter
	hostsKept     = 1 << 16          // names remembered before all are forgotten
)

// HostNames looks up the names of hosts in the background. Name never waits: it
// starts the lookup and returns the name in later calls. Addresses without a
// name are looked up once, too. Several goroutines may use a HostNames at once.
type HostNames struct {
	lookup func(ctx context.Context, addr string) ([]string, error)
	tokens chan struct{}

	mu    sync.Mutex
	names map[netip.Addr]string // empty: none, or not known yet
}

// NewHostNames returns a HostNames that uses the resolver of the system: /etc/hosts
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

// Name returns the name of a host. It is empty if the host has none, or if the
// lookup has not ended yet.
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
		return "" // enough lookups are under way: another time
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
