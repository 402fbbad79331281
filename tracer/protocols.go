package tracer

// Protocols is a set of protocols to trace.
type Protocols uint8

// The protocols.
const (
	TCP Protocols = 1 << iota
	UDP
	UDPLite
	Raw
	Unix
)

// Has reports whether one of some protocols is in the set.
func (p Protocols) Has(some Protocols) bool { return p&some != 0 }
