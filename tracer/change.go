package tracer

import (
	"net/netip"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// Direction says who opened a connection.
type Direction uint8

// The directions. It is unknown for a connection that was there before the
// tracer and whose local port no listener holds.
const (
	DirectionUnknown Direction = iota
	Outgoing
	Incoming
)

// OwnerSource says how the owner of a socket is known, surest first.
type OwnerSource uint8

// The ways an owner is known.
const (
	OwnerUnknown  OwnerSource = iota
	OwnerSocket               // seen in the process at connect, accept or listen
	OwnerFiles                // found by its open files
	OwnerListener             // inherited from the listening socket, not accepted yet
	OwnerContext              // the task that ran when the event fired; may be another
)

// Process is a process as it was when it first touched a socket. It is
// immutable: an exec or a reused pid makes a new one.
type Process struct {
	PID     uint32 // thread-group id
	Comm    string // name of the thread-group leader, at most 15 bytes, raw
	Cmdline string // start of the command line, arguments separated by NUL, raw
	Exe     string // path of the executable; empty when the process was gone
}

// Owner is the process that a socket is attributed to.
type Owner struct {
	Process *Process // nil: not known
	TID     uint32   // thread that made the call; 0 when not known
	Thread  [16]byte // its name, NUL-terminated, where it differs from the process's
	Source  OwnerSource
}

// historyMax bounds the states kept of one connection. The longest walk through
// the TCP state diagram (RFC 9293, 3.3.2) has 8.
const historyMax = 12

// History is the walk of states of one connection.
type History struct {
	states [historyMax]snapshot.State
	n      uint8
}

// States gives the states in order. The slice aliases the history.
func (h *History) States() []snapshot.State { return h.states[:h.n] }

// Add appends a state. A history that is full keeps its beginning.
func (h *History) Add(s snapshot.State) {
	if int(h.n) < len(h.states) {
		h.states[h.n] = s
		h.n++
	}
}

// Conn is one connection or listener: a row of the table. Times are nanoseconds
// of CLOCK_MONOTONIC. The order of the fields leaves no gaps: a table may have
// hundreds of thousands of rows.
type Conn struct {
	ID          uint64 // the same from the first to the last record; unique per connection
	Cookie      uint64 // socket cookie; 0 on kernels that do not give it (before 5.12)
	Local       netip.AddrPort
	Remote      netip.AddrPort
	Inode       uint64
	CgroupID    uint64 // cgroup v2 id; 0 when not known
	Owner       Owner
	Start       uint64 // first seen
	Established uint64 // reached ESTABLISHED; 0 when that was not seen
	Netns       uint32 // inode of the network namespace
	UID         uint32
	RecvQ       uint32 // bytes queued, as the last pass over the kernel's table found them
	SendQ       uint32
	State       snapshot.State
	Direction   Direction
	StartKnown  bool // the connection began while it was traced
	History     History

	// What the table needs and nobody prints.
	key       uint64         // in Table.socks; 0: the full socket is gone
	mini      uint64         // address of the request or timewait socket; 0: none
	dying     uint64         // when the mini-socket's timer stopped; 0: it runs
	last      uint64         // time of the last event
	ended     *Closed        // the full socket's end, told when the mini-socket leaves FIN_WAIT2
	pass      uint32         // the last pass that saw it
	miniState snapshot.State // of the mini-socket
	firstSeen snapshot.State
	closedBy  Side
	loose     bool // in Table.loose: found by its addresses
	unclaimed bool // a timewait socket whose full socket is not known
	absent    bool // the pass before the last did not see it
	held      bool // its first transition waits for the local port
	queued    bool // in Table.dying
	dead      bool // ended while in Table.dying
	listed    bool // in the initial table
}

// ChangeKind tells the kinds of Change apart.
type ChangeKind uint8

// The kinds of change.
const (
	ChangeState ChangeKind = iota // a TCP state transition
	ChangeClose                   // the connection ended; follows the transition that ended it
)

// Change is what the table makes of an event: what the outputs print.
type Change struct {
	Kind     ChangeKind
	Time     uint64 // CLOCK_MONOTONIC, ns
	Old, New snapshot.State
	Inferred bool  // not told by an event but found by comparing with the kernel's table
	Conn     *Conn // valid during the call only
	Close    *Closed
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
	Unreachable              // ICMP unreachable or no route while connecting
	AbortedConnect           // closed by this side before ESTABLISHED
	HandshakeDropped         // a request that never became a connection
	Timeout                  // ETIMEDOUT after ESTABLISHED
	Destroyed                // ended from outside (ss -K)
)

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
	Errno                    syscall.Errno // sk_err; 0: none
	HasStats                 bool          // the counters below were read
	BytesSent, BytesReceived uint64
	SegsOut, SegsIn, Retrans uint32
	RTT, MinRTT              uint32 // microseconds; MinRTT is ^0 when not measured
}

// Lost is an interval in which events were not delivered.
type Lost struct {
	Stage string // "ringbuf": the kernel's ring was full
	Count uint64 // events not delivered in the interval
	Total uint64 // since the start
	Since uint64 // CLOCK_MONOTONIC ns: the last moment when nothing was missing
}
