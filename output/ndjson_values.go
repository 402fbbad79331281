package output

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
)

// Devices returns the names of interfaces.
type Devices interface {
	// Device returns the name of the interface with an index in a network namespace,
	// or "" if it is not known. Namespace 0 is the one that is shown.
	Device(netns, index uint32) string
}

// device is the interface that a socket is bound to. Index 0 says that there is none,
// or that it is not known.
type device struct {
	index uint32
	name  string // empty: not known
}

func (w *encoder) device(netns, index uint32) device {
	if index == 0 || w.opts.Devices == nil {
		return device{index: index}
	}
	return device{index, w.opts.Devices.Device(netns, index)}
}

func (w *encoder) addresses(local, remote netip.AddrPort, d device) {
	w.family(local.Addr())
	if d.index == 0 {
		b := w.quoted(append(w.buf, `,"local_addr":"`...), local.Addr())
		if local.Port() != 0 {
			b = appendUint(append(b, `,"local_port":`...), uint64(local.Port()))
		}
		b = w.quoted(append(b, `,"remote_addr":"`...), remote.Addr())
		if remote.Port() != 0 {
			b = appendUint(append(b, `,"remote_port":`...), uint64(remote.Port()))
		}
		w.buf = b
		return
	}
	w.addrOn(`,"local_addr":`, local.Addr(), d)
	w.port(`,"local_port":`, local.Port())
	w.addrOn(`,"remote_addr":`, remote.Addr(), d)
	w.port(`,"remote_port":`, remote.Port())
	w.str(`,"iface":`, d.name, nameMax)
}

// addrZoned adds an address of a socket that may be bound to an interface.
func (w *encoder) addrZoned(key string, a netip.Addr, d device) {
	if d.index == 0 {
		w.addr(key, a)
		return
	}
	w.addrOn(key, a, d)
}

// addrOn adds an address of a socket that is bound to an interface. One that means
// something on that interface alone gets its name as the zone, or its number
// (RFC 4007, 11.2).
func (w *encoder) addrOn(key string, a netip.Addr, d device) {
	w.addr(key, a)
	if a.Zone() != "" || !hasZone(a) {
		return
	}
	w.buf[len(w.buf)-1] = '%' // in place of the quote
	if d.name != "" {
		w.escaped(d.name, nameMax)
	} else {
		w.buf = strconv.AppendUint(w.buf, uint64(d.index), 10)
	}
	w.buf = append(w.buf, '"')
}

// hasZone reports whether an address is of link-local scope.
func hasZone(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && (a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast())
}

// family adds the family of an address. A v4-mapped one is of an IPv6 socket.
func (w *line) family(a netip.Addr) {
	w.word(`,"family":`, familyName(a))
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "ipv4"
	}
	return "ipv6"
}

func (w *line) endpoint(addrKey, portKey string, a netip.AddrPort) {
	w.addr(addrKey, a.Addr())
	w.port(portKey, a.Port())
}

// addr adds an address as RFC 5952 spells it. A zone is the name of an
// interface, which may hold any byte but a slash, a colon and white space
// (dev_valid_name in net/core/dev.c, 6.12).
func (w *line) addr(key string, a netip.Addr) {
	w.buf = w.quoted(append(w.keyed(key), '"'), a)
}

// quoted appends an address and a quote to dst, which is the line with more at its end.
func (w *line) quoted(dst []byte, a netip.Addr) []byte {
	zone := a.Zone()
	if zone == "" {
		return append(a.AppendTo(dst), '"')
	}
	w.buf = append(a.WithZone("").AppendTo(dst), '%')
	w.escaped(zone, nameMax)
	return append(w.buf, '"')
}

// port adds a port. Port 0 says that there is none, or that it is not known.
func (w *line) port(key string, port uint16) {
	if port != 0 {
		w.uint(key, uint64(port))
	}
}

// state adds a TCP state; a number that is none is left out.
func (w *line) state(key string, s snapshot.State) {
	if s >= snapshot.Established && s <= snapshot.Closing {
		w.word(key, s.String())
	}
}

// errno adds an error, unless there is none. The kernel has numbers without names
// (include/linux/errno.h).
func (w *line) errno(e syscall.Errno) {
	if e == 0 {
		return
	}
	if name := unix.ErrnoName(e); name != "" {
		w.word(`,"errno":`, name)
	} else {
		w.id(`,"errno":`, uint64(e))
	}
}

func (w *encoder) user(uid uint32) {
	w.uint(`,"uid":`, uint64(uid))
	if w.opts.Users != nil {
		w.str(`,"user":`, w.opts.Users.User(uid), textMax)
	}
}

// cmdline adds a command line whose arguments are separated by NUL, with spaces
// between them.
func (w *encoder) cmdline(args string) {
	args = strings.TrimRight(args, "\x00")
	if args == "" || !w.open(`,"cmdline":`) {
		return
	}
	for more := true; more; {
		var arg string
		arg, args, more = strings.Cut(args, "\x00")
		if w.escaped(arg, w.room()-1) || more && w.escaped(" ", w.room()-1) {
			break
		}
	}
	w.buf = append(w.buf, '"')
}

// int adds a number that may be negative.
func (w *line) int(key string, v int64) {
	w.key(key)
	w.buf = strconv.AppendInt(w.buf, v, 10)
}

// nonzero adds an unsigned number of which 0 says that there is none.
func (w *line) nonzero(key string, v uint64) {
	if v != 0 {
		w.uint(key, v)
	}
}

// positive adds a number of which 0 says that there is none.
func (w *line) positive(key string, v int32) {
	if v > 0 {
		w.int(key, int64(v))
	}
}

// ticks adds a time in ticks of USER_HZ, 10 ms each, as milliseconds. It takes up
// to ticksMax of them.
func (w *line) ticks(key string, n uint64) { w.uint(key, n*10) }

const ticksMax = math.MaxUint64 / 10

// some adds a name of a table that has marks for none.
func (w *line) some(key, name string) {
	if name != "*" && name != "???" {
		w.str(key, name, textMax)
	}
}
