package tracer

import "github.com/nettrace/nettrace/snapshot"

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

// others are those that are not TCP.
func (p Protocols) others() Protocols { return p &^ TCP }
