package table

import (
	"slices"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// Direction says who opened a connection.
type Direction uint8

// The directions. It is unknown for a connection that was there before the tracer:
// a client may share its port with a listener (SO_REUSEPORT).
const (
	DirectionUnknown Direction = iota
	Outgoing
	Incoming
)

// historyMax bounds the states kept of one connection. The longest walk through
// the TCP state diagram (RFC 9293, 3.3.2) has 8.
const historyMax = 12

// History is the walk of states of one connection.
type History struct {
	states [historyMax]snapshot.State
	n      uint8
}

// States returns the states in order. The slice aliases the history.
func (h *History) States() []snapshot.State { return h.states[:h.n] }

// Add appends a state. A history that is full keeps its beginning.
func (h *History) Add(s snapshot.State) {
	if int(h.n) < len(h.states) {
		h.states[h.n] = s
		h.n++
	}
}

// has reports whether a state is among them.
func (h *History) has(s snapshot.State) bool { return slices.Contains(h.States(), s) }

// Conn is one connection or listener. Times are nanoseconds of CLOCK_MONOTONIC.
type Conn struct {
	snapshot.Head
	Start       uint64 // first seen
	Established uint64 // reached ESTABLISHED; 0 when that was not seen
	Direction   Direction
	StartKnown  bool // the connection began while it was traced
	HasUID      bool // UID is known; else it is 0, which is root's
	History     History
	ID          uint64 // the same from the first to the last record; unique per connection
}

// ChangeKind says what a Change reports.
type ChangeKind uint8

// The kinds of change.
const (
	ChangeState ChangeKind = iota // a TCP state transition
	ChangeClose                   // the connection ended; follows the transition that ended it
	ChangeOwner                   // whose the connection is was found out late, or is not known any more
)

// Change is what the table reports.
type Change struct {
	Kind     ChangeKind
	Time     uint64 // CLOCK_MONOTONIC, ns
	Old, New snapshot.State
	Inferred bool  // no event reported it: comparing with the kernel's table showed it
	Conn     *Conn // valid during the call only
	// Close is how the connection ended: of ChangeClose, and of the transition before
	// it that ended the connection. It is valid during the call only.
	Close *Closed
}

// Outcome says how a connection ended.
type Outcome uint8

// The outcomes.
const (
	OutcomeUnknown   Outcome = iota
	Finished                 // both sides sent a FIN
	ResetLocal               // RST by this side after ESTABLISHED
	ResetRemote              // RST by the other side after ESTABLISHED
	Refused                  // RST in answer to the SYN
	TimeoutConnect           // no answer to the SYN
	Unreachable              // no route, no neighbour, or ICMP unreachable
	AbortedConnect           // closed by this side before ESTABLISHED
	HandshakeDropped         // a request that never became a connection
	Timeout                  // no answer after ESTABLISHED
	Destroyed                // ended from outside (ss -K)
	NoLocalPort              // connect found no local address and port
	Rejected                 // by a firewall or a rule: ICMP port unreachable, or at once
	Outcomes                 // how many there are
)

// Failed reports whether an outcome is that of a connect that did not succeed.
// Unreachable and Rejected may come after ESTABLISHED too; the history says so.
func (o Outcome) Failed() bool {
	switch o {
	case Refused, TimeoutConnect, Unreachable, AbortedConnect, HandshakeDropped, NoLocalPort, Rejected:
		return true
	}
	return false
}

// Side names one end of a connection.
type Side uint8

// The sides.
const (
	SideUnknown Side = iota
	Local
	Remote
)

// Closed is what is known of a connection at its end.
type Closed struct {
	Outcome                  Outcome
	ClosedBy                 Side          // who sent FIN or RST first
	HasStats                 bool          // the counters below were read
	Errno                    syscall.Errno // the error that ended it; 0: none
	BytesSent, BytesReceived uint64        // of the programs' data, each byte once
	BytesRetrans             uint64        // sent again
	SegsOut, SegsIn, Retrans uint32
	RTT, MinRTT              uint32 // microseconds; MinRTT is ^0 when not measured
}
