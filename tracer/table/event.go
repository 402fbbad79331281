package table

import (
	"net/netip"
	"syscall"

	"github.com/nettrace/nettrace/snapshot"
)

// EventKind says what the kernel reported.
type EventKind uint8

// The kinds of event, but for the last one numbered as in headers/event.h.
const (
	EventState         EventKind = 1 + iota // a transition of a full socket
	EventMissed                             // a transition that only sock_ops saw
	EventPort                               // the local port became known
	EventAccept                             // accept() returned the socket
	EventRelease                            // the last file of the socket was closed, without a transition
	EventMiniBorn                           // the timer of a request or timewait socket was started
	EventMiniGone                           // that timer was cancelled or fired
	EventMiniState                          // a timewait socket went FIN_WAIT2 -> TIME_WAIT
	EventFile                               // a process holds an open file of the socket
	EventProcess                            // a process is new or has changed; precedes the event that it caused
	EventExe                                // the executable of a new program; follows its EventProcess
	EventResetSent                          // a RST was sent; Old is TimeWait: for a timewait socket
	EventResetCame                          // a RST ended a timewait socket
	EventMiniExpired                        // the timer of a timewait socket fired in FIN_WAIT2
	EventConnectFailed                      // connect() failed at once; New is SynSent: an ICMP error came meanwhile
	EventStory                              // a connection ended whose transitions were kept; no event: see ApplyStory
	EventDropped                            // a request ended that never became a connection; see ApplyDropped
	EventRow                                // no event: a socket as a scan of the kernel's table found it
)

// Event is one report of the kernel. Fields that the kind does not carry are zero.
type Event struct {
	Kind     EventKind
	Old, New snapshot.State
	Mini     bool   // the row is a request or timewait socket
	Time     uint64 // CLOCK_MONOTONIC, ns
	After    uint64 // EventRow: it was read between this and Time
	Sock     uint64 // address of the socket; 0: not known
	Cookie   uint64 // 0: not known, or it has none yet
	Netns    uint32
	CPU      uint16 // where it was reported, counted from 1; 0: not known
	Task     uint32 // thread-group id in the first pid namespace; 0: no process made the call
	Known    uint64 // time of the EventProcess that says what Task is; 0: the latest one
	TID      uint32 // of the thread, where the tracer runs; 0: it has none there
	UID      uint32
	HasUID   bool // UID is known; else it is 0, which is root's
	Inode    uint32
	Device   uint32 // index of the interface that the socket is bound to; 0: none
	Local    netip.AddrPort
	Remote   netip.AddrPort
	Err      syscall.Errno
	CgroupID uint64
	Thread   [16]byte // EventFile: the name of the process
	Released bool     // of a transition: the last file of the socket is being closed

	RecvQ, SendQ uint32 // EventRow

	// EventState to Close, if HasStats:
	HasStats                 bool
	BytesSent, BytesRetrans  uint64 // BytesSent counts each transmission
	BytesOut                 uint64 // sent once or more, and the SYN of an active open
	BytesReceived            uint64 // without the FIN
	SegsOut, SegsIn, Retrans uint32
	RTT, MinRTT              uint32        // µs
	ErrSoft                  syscall.Errno // sk_err_soft
	SocketState              uint8         // of struct socket; 0: it has none
	RcvShutdown              bool          // sk_shutdown: close sets both before any transition
	SendShutdown             bool
	GotFIN                   bool
	AllSent, AllAcked        bool // all that was written was sent, and acknowledged; the FIN too
	Owned                    bool // a task owned the socket: it was no softirq of its own

	Listener uint64 // EventMiniBorn of a request: the key of the listener that can accept it; 0: not known

	Process *snapshot.Process // EventProcess; EventExe has Exe alone
	Exec    bool              // EventProcess: the program is new
	PID     uint32            // EventFile: of the process, where the tracer runs; 0: it has none there
	Start   uint64            // EventFile: when the process began, CLOCK_BOOTTIME, ns
	MPTCP   bool              // EventFile: of an MPTCP socket, whose subflows have this inode
}

// key identifies the socket: by its cookie, and by its address while it has none, on
// kernels where programs cannot ask for one. Addresses lie in the upper half, cookies
// count from 1.
func (e *Event) key() uint64 {
	if e.Cookie != 0 {
		return e.Cookie
	}
	return e.Sock
}
