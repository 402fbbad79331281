package snapshot

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// InterfaceFlags are the flags of an interface (include/uapi/linux/if.h), as
// far as the interface ioctls tell them.
type InterfaceFlags uint16

// The flags that net-tools knows.
const (
	InterfaceUp InterfaceFlags = 1 << iota
	InterfaceBroadcast
	InterfaceDebug
	InterfaceLoopback
	InterfacePointToPoint
	InterfaceNoTrailers
	InterfaceRunning
	InterfaceNoARP
	InterfacePromisc
	InterfaceAllMulti
	InterfaceMaster
	InterfaceSlave
	InterfaceMulticast
	InterfacePortSel
	InterfaceAutoMedia
	InterfaceDynamic
)

// Interface is a network interface, or an IPv4 alias of one ("eth0:1").
type Interface struct {
	Name       string
	Flags      InterfaceFlags
	MTU        int32    // bytes
	HWType     uint16   // ARPHRD number (include/uapi/linux/if_arp.h)
	HWAddr     [14]byte // what SIOCGIFHWADDR tells, without a length
	TxQueueLen int32    // packets; -1: not known
	Map        InterfaceMap
	SLIP       // of a SLIP interface only

	// The IPv4 address and what belongs to it; the zero Addr where there is none.
	Addr, PeerAddr, Broadcast, Netmask netip.Addr
	Addrs4                             []netip.Prefix // all of IPv4; nil: not asked for
	Addrs6                             []InterfaceAddr6

	Counters *InterfaceCounters // nil: the interface has none, as an alias
}

// SLIP are the timers of a SLIP interface.
type SLIP struct {
	KeepAlive int32 // seconds
	OutFill   int32 // seconds
}

// InterfaceMap says which resources of the machine an interface uses.
type InterfaceMap struct {
	MemStart, MemEnd uint64
	BaseAddr         uint16
	IRQ, DMA, Port   uint8
}

// An InterfaceError says that what is to be known of an interface could not be
// asked: it went away meanwhile.
type InterfaceError struct {
	Name string
	Err  error
}

func (e *InterfaceError) Error() string {
	return fmt.Sprintf("interface %s: %v", e.Name, e.Err)
}

func (e *InterfaceError) Unwrap() error { return e.Err }

// InterfaceSource asks the kernel what /proc does not tell of interfaces.
// *Ioctl is the one for the namespace of the thread.
type InterfaceSource interface {
	// Addressed gives the names that have an IPv4 address, aliases too.
	Addressed() ([]string, error)
	// Query fills in everything but the name, counters and IPv6 addresses.
	Query(*Interface) error
}

// Interfaces yields all interfaces in the natural order of their names, with
// the counters of net/dev and the IPv6 addresses of net/if_inet6 below a proc
// root. Without net/dev the first element is its error, and only interfaces
// with an IPv4 address follow. An *InterfaceError is the last element.
func Interfaces(proc string, source InterfaceSource) iter.Seq2[Interface, error] {
	return func(yield func(Interface, error) bool) {
		counters := map[string]*InterfaceCounters{}
		file, err := readFile(proc, "net/dev")
		if err == nil {
			counters = ParseInterfaceCounters(file)
		} else if !yield(Interface{}, err) {
			return
		}
		names := slices.Collect(maps.Keys(counters))
		addressed, err := source.Addressed()
		if err != nil && !yield(Interface{}, err) {
			return
		}
		for _, name := range addressed {
			if counters[name] == nil {
				names = append(names, name)
			}
		}
		slices.SortFunc(names, compareInterfaceNames)
		names = slices.Compact(names)
		addrs6 := readInterfaceAddrs6(proc)
		for _, name := range names {
			i := Interface{Name: name, Counters: counters[name], Addrs6: addrs6[name]}
			if err := source.Query(&i); err != nil {
				yield(i, &InterfaceError{name, err})
				return
			}
			if !yield(i, nil) {
				return
			}
		}
	}
}

// compareInterfaceNames is the natural order of net-tools: by what stands
// before the number at the end of a name, by that number, by the whole name,
// and an interface before its aliases.
func compareInterfaceNames(a, b string) int {
	nameA, aliasA := splitAlias(a)
	nameB, aliasB := splitAlias(b)
	prefixA, prefixB := trimNumber(nameA), trimNumber(nameB)
	return cmp.Or(
		cmp.Compare(prefixA, prefixB),
		cmp.Compare(number(nameA[len(prefixA):], 0), number(nameB[len(prefixB):], 0)),
		cmp.Compare(nameA, nameB),
		cmp.Compare(number(aliasA, -1), number(aliasB, -1)),
		cmp.Compare(aliasA, aliasB),
	)
}

// splitAlias splits "eth0:1" into "eth0" and "1". An alias with other than
// digits belongs to the name.
func splitAlias(name string) (base, alias string) {
	digits := name[len(trimNumber(name)):]
	base, found := strings.CutSuffix(strings.TrimSuffix(name, digits), ":")
	if !found || digits == "" {
		return name, ""
	}
	return base, digits
}

// trimNumber cuts the digits at the end of a name.
func trimNumber(name string) string { return strings.TrimRight(name, "0123456789") }

// number gives the value of digits, and for none another one.
func number(digits string, none int64) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return none
	}
	return n
}
