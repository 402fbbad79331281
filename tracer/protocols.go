package tracer

import (
	"iter"

	"golang.org/x/sys/unix"

	"github.com/nettrace/nettrace/snapshot"
)

// Protocols is a set of protocols to trace.
type Protocols uint8

// The protocols, each at the place of its snapshot.Protocol.
const (
	TCP Protocols = 1 << iota
	UDP
	UDPLite
	Raw
	Unix
)

// inet are those of datagram and raw sockets.
const inet = UDP | UDPLite | Raw

// AllProtocols are all of them.
const AllProtocols = TCP | UDP | UDPLite | Raw | Unix

// Has reports whether one of some protocols is in the set.
func (p Protocols) Has(some Protocols) bool { return p&some != 0 }

// Covers reports whether a protocol is in the set.
func (p Protocols) Covers(one snapshot.Protocol) bool { return p&(1<<one) != 0 }

// Others are those that are not TCP.
func (p Protocols) Others() Protocols { return p &^ TCP }

// files yields each UDP or raw protocol of the set with each address family that is asked
// for (0: both), as each has a file of its own in /proc.
func (p Protocols) files(only uint16) iter.Seq2[snapshot.Protocol, uint8] {
	return func(yield func(snapshot.Protocol, uint8) bool) {
		for of := snapshot.UDP; of <= snapshot.Raw; of++ {
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				if !p.Covers(of) || only != 0 && only != uint16(family) {
					continue
				}
				if !yield(of, family) {
					return
				}
			}
		}
	}
}
